//! What goes between the layers, written down for whoever compares.

use attendant_core::{Tape, Var};
use std::cell::RefCell;

/// The rows that enter the first layer and those that leave each layer, the last ones after the norm that ends the stack.
#[derive(Debug, Default)]
pub struct Trace {
    hidden: RefCell<Vec<Vec<f32>>>,
}

impl Trace {
    /// The rows `[N, d_model]` at each place.
    pub fn into_hidden(self) -> Vec<Vec<f32>> {
        self.hidden.into_inner()
    }

    pub(crate) fn write(&self, tape: &Tape, x: Var) {
        self.hidden.borrow_mut().push(tape.value(x).to_vec());
    }
}
