//! Parts of rows, and rows put together.

use crate::tape::{Backward, Op, Tape, Var};
use std::ops::Range;

impl Tape {
    /// x `[N, width]` -> columns `range` of it.
    ///
    /// # Panics
    /// If the range goes past the width.
    pub fn columns(&mut self, x: Var, range: Range<usize>) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        assert!(range.start < range.end && range.end <= width, "columns {range:?} of {width}");
        self.operation(&[x], rows, range.len(), Columns { x, start: range.start }, |tape, y, _| {
            for (y, x) in y.chunks_exact_mut(range.len()).zip(tape.value(x).chunks_exact(width)) {
                y.copy_from_slice(&x[range.clone()]);
            }
        })
    }

    /// a `[N, p]`, b `[N, q]` -> `[N, p + q]`.
    pub fn join_columns(&mut self, a: Var, b: Var) -> Var {
        let (rows, left, right) = (self.rows(a), self.width(a), self.width(b));
        assert_eq!(self.rows(b), rows, "join_columns: rows of the operands");
        self.operation(&[a, b], rows, left + right, JoinColumns { a, b }, |tape, y, _| {
            let parts = tape.value(a).chunks_exact(left).zip(tape.value(b).chunks_exact(right));
            for (y, (a, b)) in y.chunks_exact_mut(left + right).zip(parts) {
                y[..left].copy_from_slice(a);
                y[left..].copy_from_slice(b);
            }
        })
    }

    /// Rows `[N_i, width]` one after the other.
    ///
    /// # Panics
    /// If there are none, or their widths differ.
    pub fn join_rows(&mut self, parts: &[Var]) -> Var {
        let width = self.width(parts[0]);
        assert!(parts.iter().all(|&part| self.width(part) == width), "join_rows: widths of the parts");
        let rows = parts.iter().map(|&part| self.rows(part)).sum();
        self.operation(parts, rows, width, JoinRows { parts: parts.to_vec() }, |tape, y, _| {
            let mut at = 0;
            for &part in parts {
                let value = tape.value(part);
                y[at..at + value.len()].copy_from_slice(value);
                at += value.len();
            }
        })
    }
}

impl Tape {
    /// x `[N, width]` -> `[width, N]`.
    pub fn transpose(&mut self, x: Var) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], width, rows, Transpose { x }, |tape, y, _| {
            for (row, x) in tape.value(x).chunks_exact(width).enumerate() {
                x.iter().enumerate().for_each(|(column, &x)| y[column * rows + row] = x);
            }
        })
    }
}

struct Transpose {
    x: Var,
}

impl Op for Transpose {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let (rows, width) = (pass.rows(self.x), pass.width(self.x));
        if let Some(mut d) = pass.gradient(self.x) {
            for (row, d_x) in d.values().chunks_exact_mut(width).enumerate() {
                d_x.iter_mut().enumerate().for_each(|(column, d_x)| *d_x += gradient[column * rows + row]);
            }
            pass.put(d);
        }
    }
}

struct Columns {
    x: Var,
    start: usize,
}

impl Op for Columns {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let (width, part) = (pass.width(self.x), pass.width(output));
        if let Some(mut d) = pass.gradient(self.x) {
            for (d_x, d_y) in d.values().chunks_exact_mut(width).zip(gradient.chunks_exact(part)) {
                d_x[self.start..self.start + part].iter_mut().zip(d_y).for_each(|(d_x, d_y)| *d_x += d_y);
            }
            pass.put(d);
        }
    }
}

struct JoinColumns {
    a: Var,
    b: Var,
}

impl Op for JoinColumns {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let (width, left) = (pass.width(output), pass.width(self.a));
        for (var, range) in [(self.a, 0..left), (self.b, left..width)] {
            if let Some(mut d) = pass.gradient(var) {
                for (d_x, d_y) in d.values().chunks_exact_mut(range.len()).zip(gradient.chunks_exact(width)) {
                    d_x.iter_mut().zip(&d_y[range.clone()]).for_each(|(d_x, d_y)| *d_x += d_y);
                }
                pass.put(d);
            }
        }
    }
}

struct JoinRows {
    parts: Vec<Var>,
}

impl Op for JoinRows {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let mut at = 0;
        for &part in &self.parts {
            let len = pass.rows(part) * pass.width(part);
            pass.add(part, &gradient[at..at + len]);
            at += len;
        }
    }
}
