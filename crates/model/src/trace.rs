//! What goes on inside a model, written down for whoever compares.

use attendant_core::{Tape, Var};
use attendant_mech::observer::Observer;
use std::cell::RefCell;

/// What goes on inside a model in one call.
#[derive(Debug, Default)]
pub struct Trace(RefCell<Traced>);

/// What was written down.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    /// The rows `[N, d_model]` that enter the first layer and those that leave each layer, the last ones after the norm that ends
    /// the stack.
    pub hidden: Vec<Vec<f32>>,
    /// What each mechanism did, in their order.
    pub mixers: Vec<Observer>,
}

impl Trace {
    /// What was written down.
    pub fn into_inner(self) -> Traced {
        self.0.into_inner()
    }

    pub(crate) fn hidden(&self, tape: &Tape, x: Var) {
        self.0.borrow_mut().hidden.push(tape.value(x).to_vec());
    }

    pub(crate) fn mixer(&self, observer: Observer) {
        self.0.borrow_mut().mixers.push(observer);
    }
}
