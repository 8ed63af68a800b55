//! Products with parameters.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::elementwise;
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef, Steps, product_batched, product_scratch};

struct Linear {
    x: Var,
    weight: Var,
    bias: Option<Var>,
}

impl Tape {
    /// x `[N, in]`, weight `[out, in]`, bias `[out]` -> x weight^T + bias `[N, out]`. x, weight and, going backward, the gradient of
    /// the product are rounded as [`Tape::precision`] says.
    ///
    /// # Panics
    /// If the widths do not agree.
    pub fn linear(&mut self, x: Var, weight: Var, bias: Option<Var>) -> Var {
        let (n, inner, outer) = (self.rows(x), self.width(x), self.rows(weight));
        assert_eq!(self.width(weight), inner, "linear: weight width against input width");
        if self.packed(weight).is_some() {
            return self.packed_linear(x, weight, bias);
        }
        let inputs = [x, weight, bias.unwrap_or(x)];
        self.operation(&inputs, n, outer, Linear { x, weight, bias }, |tape, y, buffers| {
            let (machine, precision) = (tape.processor().machine(), tape.precision());
            let mut scratch = buffers.take(precision.product_scratch(n, outer, inner, machine.executor.workers()));
            let (a, w) = (MatrixRef::row_major(tape.value(x), n, inner), MatrixRef::row_major(tape.value(weight), outer, inner));
            precision.product(machine, MatrixMut::row_major(y, n, outer), a, w.transposed(), Accumulate::Store, &mut scratch);
            buffers.give(scratch);
            if let Some(bias) = bias {
                elementwise::add_bias(machine, y, tape.value(bias));
            }
        })
    }
}

impl Op for Linear {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let (n, inner, outer) = (pass.rows(self.x), pass.width(self.x), pass.rows(self.weight));
        let (workers, precision) = (pass.machine().executor.workers(), pass.precision());
        let len = precision.product_scratch(n, inner, outer, workers).max(precision.product_scratch(outer, inner, n, workers));
        let mut scratch = pass.scratch(len.max(elementwise::sum_rows_scratch(n, outer)));
        let d_y = MatrixRef::row_major(gradient, n, outer);
        if let Some(mut d_x) = pass.gradient_or_fresh(self.x) {
            let mode = if d_x.fresh { Accumulate::Store } else { Accumulate::Add };
            let weight = MatrixRef::row_major(pass.value(self.weight), outer, inner);
            precision.product(pass.machine(), MatrixMut::row_major(d_x.values(), n, inner), d_y, weight, mode, &mut scratch);
            pass.put(d_x);
        }
        if let Some(mut d_weight) = pass.gradient_or_fresh(self.weight) {
            let mode = if d_weight.fresh { Accumulate::Store } else { Accumulate::Add };
            let x = MatrixRef::row_major(pass.value(self.x), n, inner);
            let d_w = MatrixMut::row_major(d_weight.values(), outer, inner);
            precision.product(pass.machine(), d_w, d_y.transposed(), x, mode, &mut scratch);
            pass.put(d_weight);
        }
        if let Some(mut d_bias) = self.bias.and_then(|bias| pass.gradient(bias)) {
            elementwise::sum_rows(pass.machine(), d_bias.values(), gradient, &mut scratch);
            pass.put(d_bias);
        }
        pass.give(scratch);
    }
}

/// One matrix for each head, inside a weight of `H * stride` rows: head `h` owns rows `h * stride + first ..` of it.
#[derive(Clone, Copy, Debug)]
pub struct HeadMatrix {
    /// Heads, `H`.
    pub heads: usize,
    /// Rows of the weight that a head owns in all.
    pub stride: usize,
    /// First row used.
    pub first: usize,
    /// Rows used.
    pub rows: usize,
    /// Multiply by the transpose: `width -> rows` instead of `rows -> width`.
    pub transposed: bool,
}

struct HeadLinear {
    x: Var,
    weight: Var,
    spec: HeadMatrix,
}

impl Tape {
    /// x `[N, H * a]`, one matrix M `[rows, width]` a head -> `[N, H * b]`: x_h M_h, or x_h M_h^T if transposed.
    ///
    /// # Panics
    /// If the widths do not agree, or the weight is packed.
    pub fn head_linear(&mut self, x: Var, weight: Var, spec: HeadMatrix) -> Var {
        let (n, inner, outer) = spec.extents(self, x, weight);
        self.operation(&[x, weight], n, spec.heads * outer, HeadLinear { x, weight, spec }, |tape, y, buffers| {
            let machine = tape.processor().machine();
            let mut scratch = buffers.take(product_scratch(n, inner, machine.executor.workers()));
            let c = MatrixMut::strided(y, n, outer, spec.heads * outer);
            let a = MatrixRef::strided(tape.value(x), n, inner, spec.heads * inner, 1);
            let (b, step) = spec.matrix(tape.value(weight), tape.width(weight));
            let steps = Steps { c: outer, a: inner, b: step };
            product_batched(machine, spec.heads, steps, c, a, b, Accumulate::Store, &mut scratch);
            buffers.give(scratch);
        })
    }
}

impl HeadMatrix {
    fn extents(&self, tape: &Tape, x: Var, weight: Var) -> (usize, usize, usize) {
        let width = tape.width(weight);
        let (inner, outer) = if self.transposed { (width, self.rows) } else { (self.rows, width) };
        assert_eq!(tape.rows(weight), self.heads * self.stride, "head_linear: rows of the weight");
        assert_eq!(tape.width(x), self.heads * inner, "head_linear: width of the input");
        (tape.rows(x), inner, outer)
    }

    /// Head 0's matrix as the right operand, and how far the next head's lies.
    fn matrix<'a>(&self, weight: &'a [f32], width: usize) -> (MatrixRef<'a>, usize) {
        let matrix = MatrixRef::strided(&weight[self.first * width..], self.rows, width, width, 1);
        (if self.transposed { matrix.transposed() } else { matrix }, self.stride * width)
    }
}

impl Op for HeadLinear {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let HeadMatrix { heads, stride, first, rows, transposed } = self.spec;
        let (n, width) = (pass.rows(self.x), pass.width(self.weight));
        let (inner, outer) = if transposed { (width, rows) } else { (rows, width) };
        let workers = pass.machine().executor.workers();
        let largest = [(n, outer), (inner, n), (outer, n)].map(|(m, k)| product_scratch(m, k, workers));
        let mut scratch = pass.scratch(largest[0].max(largest[1]).max(largest[2]));
        let d_y = MatrixRef::strided(gradient, n, outer, heads * outer, 1);
        if let Some(mut d_x) = pass.gradient(self.x) {
            let (matrix, step) = self.spec.matrix(pass.value(self.weight), width);
            let steps = Steps { c: inner, a: outer, b: step };
            let c = MatrixMut::strided(d_x.values(), n, inner, heads * inner);
            product_batched(pass.machine(), heads, steps, c, d_y, matrix.transposed(), Accumulate::Add, &mut scratch);
            pass.put(d_x);
        }
        if let Some(mut d_weight) = pass.gradient(self.weight) {
            let x = MatrixRef::strided(pass.value(self.x), n, inner, heads * inner, 1);
            let c = MatrixMut::strided(&mut d_weight.values()[first * width..], rows, width, width);
            let (a, b, steps) = if transposed {
                (d_y, x, Steps { c: stride * width, a: outer, b: inner })
            } else {
                (x, d_y, Steps { c: stride * width, a: inner, b: outer })
            };
            product_batched(pass.machine(), heads, steps, c, a.transposed(), b, Accumulate::Add, &mut scratch);
            pass.put(d_weight);
        }
        pass.give(scratch);
    }
}
