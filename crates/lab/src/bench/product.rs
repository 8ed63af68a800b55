//! Matrix products: C `[m, n]` = A `[m, k]` times the transpose of B `[n, k]`, as in a linear layer. In f32 as they lie; in bf16 with
//! weights that were packed before, and rows that are rounded in every call.

use super::{Figure, limits, time, values, zeros};
use attendant_core::Processor;
use attendant_core::kernels::product::{Accumulate, MatrixMut, MatrixRef, bf16, product, product_scratch};
use std::time::Duration;

/// Shapes `m, n, k`: the layers of a small GPT, a square, and the few rows of decoding.
const SHAPES: [(usize, usize, usize); 6] =
    [(4096, 1536, 384), (4096, 384, 1536), (4096, 384, 384), (1024, 1024, 1024), (1, 4096, 4096), (8, 4096, 4096)];

/// All of them.
pub fn figures(processor: &Processor, budget: Duration, mut each: impl FnMut(Figure)) {
    let machine = processor.machine();
    let workers = machine.executor.workers();
    for (m, n, k) in SHAPES {
        let (a, b, mut c) = (values(m * k), values(n * k), zeros(m * n));
        let (a, b) = (MatrixRef::row_major(&a, m, k), MatrixRef::row_major(&b, n, k).transposed());
        let mut measure = |dtype, limit: fn(&Processor) -> f64, call: &mut dyn FnMut(MatrixMut<'_>)| {
            let before = limit(processor);
            let timing = time(budget, || call(MatrixMut::row_major(&mut c, m, n)));
            let figure = Figure::new(processor, "gemm", dtype, timing);
            let figure = figure.operations((2 * m * n * k) as f64, before.max(limit(processor)));
            each(Figure { shape: Some(format!("{m}x{n}x{k}")), ..figure });
        };
        let mut scratch = zeros(product_scratch(m, k, workers));
        measure("f32", limits::operations_per_second, &mut |c| product(machine, c, a, b, Accumulate::Store, &mut scratch));
        let packed = bf16::Packed::new(machine, b);
        let mut scratch = zeros(bf16::product_packed_scratch(m, n, k, workers));
        measure("bf16", limits::bf16_operations_per_second, &mut |c| {
            bf16::product_packed(machine, c, a, &packed, Accumulate::Store, &mut scratch);
        });
    }
}
