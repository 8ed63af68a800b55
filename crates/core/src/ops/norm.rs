//! Normalisation of rows.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::norm;

impl Tape {
    /// x `[N, width]`, weight `[width]` -> x / rms(x) * weight (Zhang and Sennrich 2019, 1910.07467). To normalise heads,
    /// [`reshape`](Tape::reshape) first.
    pub fn rms_norm(&mut self, x: Var, weight: Option<Var>, eps: f32) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x, weight.unwrap_or(x)], rows, width, RmsNorm { x, weight, eps }, |tape, y, _| {
            let weight = weight.map(|weight| tape.value(weight));
            norm::rms_norm(tape.processor().machine(), y, tape.value(x), weight, width, eps);
        })
    }

    /// x `[N, width]`, weight `[width]` or 1, bias `[width]` or 0 -> (x - mean) / deviation * weight + bias (Ba et al. 2016, 1607.06450).
    pub fn layer_norm(&mut self, x: Var, weight: Option<Var>, bias: Option<Var>, eps: f32) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        let inputs = [x, weight.unwrap_or(x), bias.unwrap_or(x)];
        self.operation(&inputs, rows, width, LayerNorm { x, weight, bias, eps }, |tape, y, _| {
            let [weight, bias] = [weight, bias].map(|var| var.map(|var| tape.value(var)));
            norm::layer_norm(tape.processor().machine(), y, tape.value(x), weight, bias, width, eps);
        })
    }
}

struct RmsNorm {
    x: Var,
    weight: Option<Var>,
    eps: f32,
}

impl Op for RmsNorm {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let (rows, width) = (pass.rows(self.x), pass.width(self.x));
        let mut scratch = pass.scratch(norm::norm_backward_scratch(rows, width) + rows * width);
        let (spare, work) = scratch.split_at_mut(rows * width);
        let mut d_x = pass.gradient(self.x);
        let mut d_weight = self.weight.and_then(|weight| pass.gradient(weight));
        norm::rms_norm_backward(
            pass.machine(),
            d_x.as_mut().map_or(spare, |d| d.values()),
            d_weight.as_mut().map(|d| d.values()),
            gradient,
            pass.value(self.x),
            self.weight.map(|weight| pass.value(weight)),
            width,
            self.eps,
            work,
        );
        d_x.into_iter().chain(d_weight).for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}

struct LayerNorm {
    x: Var,
    weight: Option<Var>,
    bias: Option<Var>,
    eps: f32,
}

impl Op for LayerNorm {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let (rows, width) = (pass.rows(self.x), pass.width(self.x));
        let mut scratch = pass.scratch(norm::norm_backward_scratch(rows, width) + rows * width);
        let (spare, work) = scratch.split_at_mut(rows * width);
        let mut d_x = pass.gradient(self.x);
        let [mut d_weight, mut d_bias] = [self.weight, self.bias].map(|var| var.and_then(|var| pass.gradient(var)));
        norm::layer_norm_backward(
            pass.machine(),
            d_x.as_mut().map_or(spare, |d| d.values()),
            d_weight.as_mut().map(|d| d.values()),
            d_bias.as_mut().map(|d| d.values()),
            gradient,
            pass.value(self.x),
            self.weight.map(|weight| pass.value(weight)),
            width,
            self.eps,
            work,
        );
        d_x.into_iter().chain(d_weight).chain(d_bias).for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}
