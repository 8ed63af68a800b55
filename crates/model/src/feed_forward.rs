//! Feed-forward parts, going forward.

use crate::assembly::DensePlace;
use crate::decoder::BoundModel;
use crate::plan::{Activation, Form};
use attendant_core::ops::{Gelu, Unary};
use attendant_core::{Tape, Var};

impl DensePlace {
    pub(crate) fn apply(&self, tape: &mut Tape, bound: &BoundModel, x: Var) -> Var {
        let gate = self.gate.map(|gate| gate.apply(tape, bound, x));
        let up = self.up.apply(tape, bound, x);
        let inner = match (self.plan.form, gate) {
            (Form::Gated(Activation::Silu), Some(gate)) => tape.swiglu(gate, up),
            (Form::Gated(activation), Some(gate)) => {
                let gate = activation.apply(tape, gate);
                tape.multiply(gate, up)
            }
            (Form::Clamped { limit, alpha }, Some(gate)) => clamped(tape, gate, up, limit, alpha),
            (Form::Plain(activation) | Form::Gated(activation), None) => activation.apply(tape, up),
            _ => unreachable!("the form decides whether there is a gate"),
        };
        self.down.apply(tape, bound, inner)
    }
}

fn clamped(tape: &mut Tape, gate: Var, up: Var, limit: f32, alpha: f32) -> Var {
    let gate = tape.clamp(gate, f32::NEG_INFINITY..=limit);
    let up = tape.clamp(up, -limit..=limit);
    let steep = tape.scale(gate, alpha);
    let share = tape.unary(steep, Unary::Sigmoid);
    let gate = tape.multiply(gate, share);
    // gate * (up + 1)
    let product = tape.multiply(gate, up);
    tape.add(product, gate)
}

impl Activation {
    pub(crate) fn apply(self, tape: &mut Tape, x: Var) -> Var {
        match self {
            Activation::Silu => tape.unary(x, Unary::Silu),
            Activation::Gelu => tape.gelu(x, Gelu::Erf),
            Activation::GeluTanh => tape.gelu(x, Gelu::Tanh),
            Activation::Relu => tape.unary(x, Unary::Relu),
            Activation::ReluSquared => {
                let x = tape.unary(x, Unary::Relu);
                tape.multiply(x, x)
            }
        }
    }
}
