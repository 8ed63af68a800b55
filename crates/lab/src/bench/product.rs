//! Matrix products in f32: C `[m, n]` = A `[m, k]` times the transpose of B `[n, k]`, as in a linear layer.

use super::{Figure, limits, time, values};
use attendant_core::Processor;
use attendant_core::kernels::product::{Accumulate, MatrixMut, MatrixRef, product, product_scratch};
use std::time::Duration;

/// Shapes `m, n, k`: the layers of a small GPT, a square, and the few rows of decoding.
const SHAPES: [(usize, usize, usize); 6] =
    [(4096, 1536, 384), (4096, 384, 1536), (4096, 384, 384), (1024, 1024, 1024), (1, 4096, 4096), (8, 4096, 4096)];

/// All of them.
pub fn figures(processor: &Processor, budget: Duration, mut each: impl FnMut(Figure)) {
    for (m, n, k) in SHAPES {
        let (a, b, mut c) = (values(m * k), values(n * k), vec![0.0; m * n]);
        let machine = processor.machine();
        let mut scratch = vec![0.0; product_scratch(m, n, k, machine.executor.workers())];
        let before = limits::operations_per_second(processor);
        let timing = time(budget, || {
            let (a, b) = (MatrixRef::row_major(&a, m, k), MatrixRef::row_major(&b, n, k).transposed());
            product(machine, MatrixMut::row_major(&mut c, m, n), a, b, Accumulate::Store, &mut scratch);
        });
        let ceiling = before.max(limits::operations_per_second(processor));
        let figure = Figure::new(processor, "gemm", "f32", timing).operations((2 * m * n * k) as f64, ceiling);
        each(Figure { shape: Some(format!("{m}x{n}x{k}")), ..figure });
    }
}
