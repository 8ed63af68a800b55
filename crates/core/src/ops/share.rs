//! Rows whose values add up to one.

use crate::tape::{Backward, Op, Tape, Var};

impl Tape {
    /// x `[N, width]` -> the softmax of every row.
    pub fn softmax(&mut self, x: Var) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], rows, width, Softmax { x }, |tape, y, _| {
            for (y, x) in y.chunks_exact_mut(width).zip(tape.value(x).chunks_exact(width)) {
                let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - most).exp());
                divide(y);
            }
        })
    }

    /// x `[N, width]` -> every row divided by its sum.
    pub fn divide_by_sum(&mut self, x: Var) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], rows, width, DivideBySum { x }, |tape, y, _| {
            y.copy_from_slice(tape.value(x));
            y.chunks_exact_mut(width).for_each(divide);
        })
    }
}

fn divide(row: &mut [f32]) {
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

struct Softmax {
    x: Var,
}

impl Op for Softmax {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let width = pass.width(output);
        if let Some(mut d_x) = pass.gradient(self.x) {
            let rows = gradient.chunks_exact(width).zip(pass.value(output).chunks_exact(width));
            for (d_x, (d_y, y)) in d_x.values().chunks_exact_mut(width).zip(rows) {
                let mean = dot(d_y, y);
                (0..width).for_each(|i| d_x[i] += y[i] * (d_y[i] - mean));
            }
            pass.put(d_x);
        }
    }
}

struct DivideBySum {
    x: Var,
}

impl Op for DivideBySum {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let width = pass.width(output);
        if let Some(mut d_x) = pass.gradient(self.x) {
            let rows = gradient.chunks_exact(width).zip(pass.value(output).chunks_exact(width));
            let sums = pass.value(self.x).chunks_exact(width).map(|x| x.iter().sum::<f32>());
            for ((d_x, (d_y, y)), sum) in d_x.values().chunks_exact_mut(width).zip(rows).zip(sums) {
                let mean = dot(d_y, y);
                (0..width).for_each(|i| d_x[i] += (d_y[i] - mean) / sum);
            }
            pass.put(d_x);
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
