//! Products with packed weights, as in a decode step (one row, every weight from memory) and in a prompt (512 rows).
//!
//! One row goes round copies of the weights that no cache holds, and is a share of the rate of reading; many rows are a share of the
//! rate of multiply-adds in f32, which products of bytes may exceed. Many rows are rounded to bf16 where a tape does so.

use super::{Figure, Timing, limits, time, values, zeros};
use attendant_core::kernels::memory::Memory;
use attendant_core::kernels::product::{Accumulate, MatrixMut, MatrixRef};
use attendant_core::kernels::quant::{self, ActivationBlock, Format, Matrix};
use attendant_core::{Activations, Processor};
use std::time::{Duration, Instant};

/// Rows and widths of weights: the layers of a model of 135 million parameters, and its head. Widths grow to whole blocks of a format.
const SHAPES: [(usize, usize); 4] = [(576, 576), (1536, 576), (576, 1536), (49152, 576)];

/// Rows of a prompt.
const PROMPT: usize = 512;

/// Bytes of weights that one row goes round: more than any cache of the processors this is for.
const ROUND: usize = 96 << 20;

/// All of them.
pub fn figures(processor: &Processor, activations: Activations, budget: Duration, mut each: impl FnMut(Figure)) {
    let memory = values(limits::MEMORY / 4);
    for format in Format::ALL {
        for (rows, width) in SHAPES {
            let w = weights(processor, format, rows, width.next_multiple_of(format.block_columns()));
            each(one_row(processor, activations, budget, &w, &memory));
            each(many_rows(processor, activations, budget, &w));
        }
    }
}

/// Speed does not depend on the codes. Bytes such as these are ordinary scales wherever they are read as such.
fn weights(processor: &Processor, format: Format, rows: usize, width: usize) -> Matrix {
    let bytes = rows * format.row_bytes(width).expect("whole blocks");
    let bytes: Vec<u8> = (0..bytes).map(|i| 0x20 + (i * 7919 % 16) as u8).collect();
    Matrix::pack(processor.machine(), format, rows, width, &bytes).expect("as many bytes as the shape takes")
}

/// A product of `m` rows, which come as they are: quantising them counts.
struct Product<'a> {
    processor: &'a Processor,
    activations: Activations,
    m: usize,
    x: Memory<f32>,
    y: Memory<f32>,
    blocks: Vec<ActivationBlock>,
    scratch: Memory<f32>,
}

impl Product<'_> {
    fn new<'a>(processor: &'a Processor, activations: Activations, m: usize, w: &Matrix) -> Product<'a> {
        let workers = processor.machine().executor.workers();
        let scratch = [
            quant::product_scratch(m, w, workers),
            quant::product_exact_scratch(workers),
            quant::product_bf16_scratch(m, w, workers),
        ];
        let scratch = scratch.into_iter().max().unwrap_or(0);
        Product {
            processor,
            activations,
            m,
            x: values(m * w.width()),
            y: zeros(m * w.rows()),
            blocks: vec![ActivationBlock::default(); quant::Activations::blocks(m, w.width())],
            scratch: zeros(scratch),
        }
    }

    fn multiply(&mut self, w: &Matrix) {
        let rounds = quant::gains_by_bf16(self.processor.machine().isa, self.m, w);
        let (machine, x) = (self.processor.machine(), MatrixRef::row_major(&self.x, self.m, w.width()));
        let y = MatrixMut::row_major(&mut self.y, self.m, w.rows());
        match self.activations {
            Activations::F32 => quant::product_exact(machine, y, x, w, Accumulate::Store, &mut self.scratch),
            Activations::Int8 if rounds => quant::product_bf16(machine, y, x, w, Accumulate::Store, &mut self.scratch),
            Activations::Int8 => {
                let x = quant::Activations::quantise(machine, x, &mut self.blocks);
                quant::product(machine, y, x, w, Accumulate::Store, &mut self.scratch);
            }
        }
    }

    fn figure(&self, w: &Matrix, timing: Timing) -> Figure {
        let what = if self.activations == Activations::F32 { "exact" } else { "quant" };
        let figure = Figure::new(self.processor, what, w.format().name(), timing);
        Figure { shape: Some(format!("{}x{}x{}", self.m, w.rows(), w.width())), ..figure }
    }
}

fn one_row(processor: &Processor, activations: Activations, budget: Duration, w: &Matrix, memory: &[f32]) -> Figure {
    let copies = vec![w.clone(); (ROUND / w.bytes()).max(1)];
    let mut product = Product::new(processor, activations, 1, w);
    let before = limits::bytes_per_second(processor, memory);
    let (begin, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || begin.elapsed() < budget {
        let start = Instant::now();
        copies.iter().for_each(|w| product.multiply(w));
        seconds.push(start.elapsed().as_secs_f64() / copies.len() as f64);
    }
    let ceiling = before.max(limits::bytes_per_second(processor, memory));
    product.figure(w, Timing::of(seconds)).bytes(w.bytes() as f64, ceiling)
}

fn many_rows(processor: &Processor, activations: Activations, budget: Duration, w: &Matrix) -> Figure {
    let mut product = Product::new(processor, activations, PROMPT, w);
    let before = limits::operations_per_second(processor);
    let timing = time(budget, || product.multiply(w));
    let ceiling = before.max(limits::operations_per_second(processor));
    product.figure(w, timing).operations((2 * PROMPT * w.rows() * w.width()) as f64, ceiling)
}
