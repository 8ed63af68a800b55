//! Sums and products of rows.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::elementwise;

impl Tape {
    /// a + b, of the same shape.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        let (rows, width) = self.same_shape(a, b);
        self.operation(&[a, b], rows, width, Add { a, b }, |tape, y, _| {
            elementwise::add(tape.processor().machine(), y, tape.value(a), tape.value(b));
        })
    }

    /// a * b, value by value, of the same shape.
    pub fn multiply(&mut self, a: Var, b: Var) -> Var {
        let (rows, width) = self.same_shape(a, b);
        self.operation(&[a, b], rows, width, Multiply { a, b }, |tape, y, _| {
            elementwise::multiply(tape.processor().machine(), y, tape.value(a), tape.value(b));
        })
    }

    /// x * factor.
    pub fn scale(&mut self, x: Var, factor: f32) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], rows, width, Scale { x, factor }, |tape, y, _| {
            elementwise::scale(tape.processor().machine(), y, tape.value(x), factor);
        })
    }

    /// x `[N, width]` with every row divided by its own entry of `divisor` `[N, 1]`.
    pub fn divide_rows(&mut self, x: Var, divisor: Var) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        assert_eq!((self.rows(divisor), self.width(divisor)), (rows, 1), "divide_rows: shape of the divisor");
        self.operation(&[x, divisor], rows, width, DivideRows { x, divisor }, |tape, y, _| {
            let rows = y.chunks_exact_mut(width).zip(tape.value(x).chunks_exact(width));
            for ((y, x), d) in rows.zip(tape.value(divisor)) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = x / d);
            }
        })
    }

    /// x `[N, width]` with every row multiplied by its own entry of `factor` `[N, 1]`.
    pub fn scale_rows(&mut self, x: Var, factor: Var) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        assert_eq!((self.rows(factor), self.width(factor)), (rows, 1), "scale_rows: shape of the factor");
        self.operation(&[x, factor], rows, width, ScaleRows { x, factor }, |tape, y, _| {
            let rows = y.chunks_exact_mut(width).zip(tape.value(x).chunks_exact(width));
            for ((y, x), factor) in rows.zip(tape.value(factor)) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = x * factor);
            }
        })
    }

    /// x `[N, width]`, weight and bias `[width]` -> x * weight + bias, column by column.
    pub fn scale_columns(&mut self, x: Var, weight: Var, bias: Option<Var>) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        let fits = [Some(weight), bias].into_iter().flatten().all(|var| self.rows(var) * self.width(var) == width);
        assert!(fits, "scale_columns: weight and bias of {width} columns");
        let inputs = [x, weight, bias.unwrap_or(x)];
        self.operation(&inputs, rows, width, ScaleColumns { x, weight, bias }, |tape, y, _| {
            for (y, x) in y.chunks_exact_mut(width).zip(tape.value(x).chunks_exact(width)) {
                y.iter_mut().zip(x).zip(tape.value(weight)).for_each(|((y, x), weight)| *y = x * weight);
            }
            if let Some(bias) = bias {
                elementwise::add_bias(tape.processor().machine(), y, tape.value(bias));
            }
        })
    }

    fn same_shape(&self, a: Var, b: Var) -> (usize, usize) {
        let shape = (self.rows(a), self.width(a));
        assert_eq!(shape, (self.rows(b), self.width(b)), "shapes of two operands");
        shape
    }
}

struct Add {
    a: Var,
    b: Var,
}

impl Op for Add {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        pass.add(self.a, gradient);
        pass.add(self.b, gradient);
    }
}

struct Multiply {
    a: Var,
    b: Var,
}

impl Op for Multiply {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        for (to, other) in [(self.a, self.b), (self.b, self.a)] {
            if let Some(mut d) = pass.gradient(to) {
                elementwise::multiply_add(pass.machine(), d.values(), gradient, pass.value(other));
                pass.put(d);
            }
        }
    }
}

struct Scale {
    x: Var,
    factor: f32,
}

impl Op for Scale {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        if let Some(mut d) = pass.gradient(self.x) {
            elementwise::scale_add(pass.machine(), d.values(), gradient, self.factor);
            pass.put(d);
        }
    }
}

struct DivideRows {
    x: Var,
    divisor: Var,
}

impl Op for DivideRows {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let width = pass.width(self.x);
        if let Some(mut d_x) = pass.gradient(self.x) {
            let rows = d_x.values().chunks_exact_mut(width).zip(gradient.chunks_exact(width));
            for ((d_x, d_y), d) in rows.zip(pass.value(self.divisor)) {
                d_x.iter_mut().zip(d_y).for_each(|(d_x, d_y)| *d_x += d_y / d);
            }
            pass.put(d_x);
        }
        if let Some(mut d_divisor) = pass.gradient(self.divisor) {
            let rows = gradient.chunks_exact(width).zip(pass.value(output).chunks_exact(width));
            for ((to, (d_y, y)), d) in d_divisor.values().iter_mut().zip(rows).zip(pass.value(self.divisor)) {
                *to -= d_y.iter().zip(y).map(|(d_y, y)| d_y * y).sum::<f32>() / d;
            }
            pass.put(d_divisor);
        }
    }
}

struct ScaleRows {
    x: Var,
    factor: Var,
}

impl Op for ScaleRows {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let width = pass.width(self.x);
        if let Some(mut d_x) = pass.gradient(self.x) {
            let rows = d_x.values().chunks_exact_mut(width).zip(gradient.chunks_exact(width));
            for ((d_x, d_y), factor) in rows.zip(pass.value(self.factor)) {
                d_x.iter_mut().zip(d_y).for_each(|(d_x, d_y)| *d_x += d_y * factor);
            }
            pass.put(d_x);
        }
        if let Some(mut d_factor) = pass.gradient(self.factor) {
            let rows = gradient.chunks_exact(width).zip(pass.value(self.x).chunks_exact(width));
            for (to, (d_y, x)) in d_factor.values().iter_mut().zip(rows) {
                *to += d_y.iter().zip(x).map(|(d_y, x)| d_y * x).sum::<f32>();
            }
            pass.put(d_factor);
        }
    }
}

struct ScaleColumns {
    x: Var,
    weight: Var,
    bias: Option<Var>,
}

impl Op for ScaleColumns {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let width = pass.width(self.x);
        if let Some(mut d_x) = pass.gradient(self.x) {
            for (d_x, d_y) in d_x.values().chunks_exact_mut(width).zip(gradient.chunks_exact(width)) {
                d_x.iter_mut().zip(d_y).zip(pass.value(self.weight)).for_each(|((d_x, d_y), weight)| *d_x += d_y * weight);
            }
            pass.put(d_x);
        }
        if let Some(mut d_weight) = pass.gradient(self.weight) {
            for (d_y, x) in gradient.chunks_exact(width).zip(pass.value(self.x).chunks_exact(width)) {
                d_weight.values().iter_mut().zip(d_y).zip(x).for_each(|((to, d_y), x)| *to += d_y * x);
            }
            pass.put(d_weight);
        }
        if let Some(mut d_bias) = self.bias.and_then(|bias| pass.gradient(bias)) {
            for d_y in gradient.chunks_exact(width) {
                d_bias.values().iter_mut().zip(d_y).for_each(|(to, d_y)| *to += d_y);
            }
            pass.put(d_bias);
        }
    }
}
