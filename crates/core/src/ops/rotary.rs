//! Rotary positions.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::rope::{Rope, rope, rope_backward};

impl Tape {
    /// x `[N, heads * d_head]`, table `[N, rotary]` (a row's cosines, then its sines) -> the rotated rows (Su et al. 2021,
    /// 2104.09864). No gradient flows to the table.
    pub fn rope(&mut self, x: Var, table: Var, spec: Rope) -> Var {
        let (rows, width) = (self.rows(x), self.width(x));
        self.operation(&[x], rows, width, Rotate { x, table, spec }, |tape, y, _| {
            rope(tape.processor().machine(), y, tape.value(x), tape.value(table), &spec);
        })
    }
}

struct Rotate {
    x: Var,
    table: Var,
    spec: Rope,
}

impl Op for Rotate {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        if let Some(mut d_x) = pass.gradient(self.x) {
            rope_backward(pass.machine(), d_x.values(), gradient, pass.value(self.table), &self.spec);
            pass.put(d_x);
        }
    }
}
