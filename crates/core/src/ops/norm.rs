//! Normalisation of rows.

use super::target::Target;
use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::norm;

impl Tape {
    /// x `[N, width]`, weight `[width]` -> x / rms(x) * weight (Zhang and Sennrich 2019, 1910.07467). To normalise heads,
    /// [`reshape`](Tape::reshape) first.
    pub fn rms_norm(&mut self, x: Var, weight: Option<Var>, eps: f32) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        let op = Norm { x, weight, bias: None, eps, centred: false };
        self.operation(&[x, weight.unwrap_or(x)], rows, width, op, |tape, y, _| {
            let weight = weight.map(|weight| tape.value(weight));
            norm::rms_norm(tape.processor().machine(), y, tape.value(x), weight, width, eps);
        })
    }

    /// x `[N, width]`, weight `[width]` or 1, bias `[width]` or 0 -> (x - mean) / deviation * weight + bias (Ba et al. 2016, 1607.06450).
    pub fn layer_norm(&mut self, x: Var, weight: Option<Var>, bias: Option<Var>, eps: f32) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        let inputs = [x, weight.unwrap_or(x), bias.unwrap_or(x)];
        let op = Norm { x, weight, bias, eps, centred: true };
        self.operation(&inputs, rows, width, op, |tape, y, _| {
            let [weight, bias] = [weight, bias].map(|var| var.map(|var| tape.value(var)));
            norm::layer_norm(tape.processor().machine(), y, tape.value(x), weight, bias, width, eps);
        })
    }
}

struct Norm {
    x: Var,
    weight: Option<Var>,
    bias: Option<Var>,
    eps: f32,
    /// Whether rows lose their mean first: a layer norm.
    centred: bool,
}

impl Op for Norm {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let (rows, width) = (pass.rows(self.x), pass.width(self.x));
        let mut scratch = pass.scratch(norm::norm_backward_scratch(rows, width));
        let mut target = Target::new(pass, self.x);
        let mut extras = [self.weight, self.bias].map(|var| var.and_then(|var| pass.gradient(var)));
        let (machine, d_x, x) = (pass.machine(), target.values(), pass.value(self.x));
        let [d_weight, d_bias] = extras.each_mut().map(|extra| extra.as_mut().map(|d| d.values()));
        let weight = self.weight.map(|weight| pass.value(weight));
        if self.centred {
            norm::layer_norm_backward(machine, d_x, d_weight, d_bias, gradient, x, weight, width, self.eps, &mut scratch);
        } else {
            norm::rms_norm_backward(machine, d_x, d_weight, gradient, x, weight, width, self.eps, &mut scratch);
        }
        target.put(pass);
        extras.into_iter().flatten().for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}
