//! Activations.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::activation::{self, Gelu, Unary};
use std::ops::RangeInclusive;

impl Tape {
    /// silu(gate) * up (Shazeer 2020, 2002.05202).
    pub fn swiglu(&mut self, gate: Var, up: Var) -> Var {
        let (rows, width) = (self.rows(gate), self.width(gate));
        self.operation(&[gate, up], rows, width, SwiGlu { gate, up }, |tape, y, _| {
            activation::swiglu(tape.processor().machine(), y, tape.value(gate), tape.value(up));
        })
    }

    /// Gaussian error linear unit (Hendrycks and Gimpel 2016, 1606.08415).
    pub fn gelu(&mut self, x: Var, kind: Gelu) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], rows, width, GeluOf { x, kind }, |tape, y, _| {
            activation::gelu(tape.processor().machine(), y, tape.value(x), kind);
        })
    }

    /// A function of each value alone.
    pub fn unary(&mut self, x: Var, kind: Unary) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], rows, width, UnaryOf { x, kind }, |tape, y, _| {
            activation::unary(tape.processor().machine(), y, tape.value(x), kind);
        })
    }

    /// x within a range: what lies outside becomes the nearer end, and gets no gradient.
    pub fn clamp(&mut self, x: Var, range: RangeInclusive<f32>) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        let (low, high) = (*range.start(), *range.end());
        self.operation(&[x], rows, width, Clamp { x, range }, |tape, y, _| {
            y.iter_mut().zip(tape.value(x)).for_each(|(y, x)| *y = x.clamp(low, high));
        })
    }

    /// `cap * tanh(x / cap)`
    pub fn softcap(&mut self, x: Var, cap: f32) -> Var {
        let x = self.scale(x, cap.recip());
        let x = self.unary(x, Unary::Tanh);
        self.scale(x, cap)
    }
}

struct SwiGlu {
    gate: Var,
    up: Var,
}

impl Op for SwiGlu {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let mut scratch = pass.scratch(2 * gradient.len());
        let (spare_gate, spare_up) = scratch.split_at_mut(gradient.len());
        let (mut d_gate, mut d_up) = (pass.gradient(self.gate), pass.gradient(self.up));
        activation::swiglu_backward(
            pass.machine(),
            d_gate.as_mut().map_or(spare_gate, |d| d.values()),
            d_up.as_mut().map_or(spare_up, |d| d.values()),
            gradient,
            pass.value(self.gate),
            pass.value(self.up),
        );
        d_gate.into_iter().chain(d_up).for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}

struct GeluOf {
    x: Var,
    kind: Gelu,
}

impl Op for GeluOf {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        if let Some(mut d_x) = pass.gradient(self.x) {
            activation::gelu_backward(pass.machine(), d_x.values(), gradient, pass.value(self.x), self.kind);
            pass.put(d_x);
        }
    }
}

struct UnaryOf {
    x: Var,
    kind: Unary,
}

impl Op for UnaryOf {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        if let Some(mut d_x) = pass.gradient(self.x) {
            let (x, y) = (pass.value(self.x), pass.value(output));
            activation::unary_backward(pass.machine(), d_x.values(), gradient, x, y, self.kind);
            pass.put(d_x);
        }
    }
}

struct Clamp {
    x: Var,
    range: RangeInclusive<f32>,
}

impl Op for Clamp {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        if let Some(mut d_x) = pass.gradient(self.x) {
            let values = gradient.iter().zip(pass.value(self.x));
            for (d_x, (d_y, x)) in d_x.values().iter_mut().zip(values) {
                if self.range.contains(x) {
                    *d_x += d_y;
                }
            }
            pass.put(d_x);
        }
    }
}
