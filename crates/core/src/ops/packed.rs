//! Packed weights: products with them, and rows of them. They are read, not trained.

use crate::buffer::Buffers;
use crate::tape::{Activations, Backward, Op, Tape, Var};
use attendant_kernels::elementwise;
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef};
use attendant_kernels::quant::{self, ActivationBlock};

impl Tape {
    /// As [`Tape::linear`], which has checked the widths.
    pub(super) fn packed_linear(&mut self, x: Var, weight: Var, bias: Option<Var>) -> Var {
        let (n, outer) = (self.rows(x), self.rows(weight));
        self.operation(&[], n, outer, Unrecorded, |tape, y, buffers| {
            tape.multiply_packed(x, weight, y, buffers);
            if let Some(bias) = bias {
                elementwise::add_bias(tape.processor().machine(), y, tape.value(bias));
            }
        })
    }

    fn multiply_packed(&self, x: Var, weight: Var, y: &mut [f32], buffers: &mut Buffers) {
        let (machine, matrix) = (self.processor().machine(), self.packed(weight).expect("packed weights"));
        let (n, inner, workers) = (self.rows(x), self.width(x), machine.executor.workers());
        let (x, y) = (MatrixRef::row_major(self.value(x), n, inner), MatrixMut::row_major(y, n, matrix.rows()));
        if self.activations() == Activations::F32 || matrix.format().is_float() {
            let mut scratch = buffers.take(quant::product_exact_scratch(workers));
            quant::product_exact(machine, y, x, matrix, Accumulate::Store, &mut scratch);
            return buffers.give(scratch);
        }
        if quant::gains_by_bf16(machine.isa, n, matrix) {
            let mut scratch = buffers.take(quant::product_bf16_scratch(n, matrix, workers));
            quant::product_bf16(machine, y, x, matrix, Accumulate::Store, &mut scratch);
            return buffers.give(scratch);
        }
        let mut scratch = buffers.take(quant::product_scratch(n, matrix, workers));
        let mut blocks = std::mem::take(&mut buffers.blocks);
        let wanted = quant::Activations::blocks(n, inner);
        blocks.resize(blocks.len().max(wanted), ActivationBlock::default());
        let x = quant::Activations::quantise(machine, x, &mut blocks);
        quant::product(machine, y, x, matrix, Accumulate::Store, &mut scratch);
        buffers.blocks = blocks;
        buffers.give(scratch);
    }

    /// As [`Tape::embedding`], which has checked the ids.
    pub(super) fn packed_embedding(&mut self, table: Var, ids: &[u32]) -> Var {
        let width = self.width(table);
        self.operation(&[], ids.len(), width, Unrecorded, |tape, y, _| {
            let matrix = tape.packed(table).expect("packed weights");
            y.chunks_exact_mut(width).zip(ids).for_each(|(row, &id)| matrix.row(id as usize, row));
        })
    }
}

/// [`Tape::parameter`] refuses packed weights while the tape records.
struct Unrecorded;

impl Op for Unrecorded {
    fn backward(&self, _: &mut Backward<'_>, _: Var, _: &[f32]) {
        unreachable!("a product with packed weights was recorded");
    }
}
