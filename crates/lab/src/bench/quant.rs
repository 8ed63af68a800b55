//! Products with weights of few bits, as in a decode step (one row, every weight from memory) and in a prompt (512 rows).
//!
//! One row goes round copies of the weights that no cache holds, and is a share of the rate of reading; many rows are a share of the
//! rate of multiply-adds in f32, which products of bytes may exceed.

use super::{Figure, Timing, limits, time, values};
use attendant_core::Processor;
use attendant_core::kernels::product::{Accumulate, MatrixMut, MatrixRef};
use attendant_core::kernels::quant::{ActivationBlock, Activations, Format, Matrix, product, product_scratch};
use std::time::{Duration, Instant};

/// Rows and widths of weights: the layers of a model of 135 million parameters, and its head. Widths grow to whole blocks of a format.
const SHAPES: [(usize, usize); 4] = [(576, 576), (1536, 576), (576, 1536), (49152, 576)];

/// Rows of a prompt.
const PROMPT: usize = 512;

/// Bytes of weights that one row goes round: more than any cache of the processors this is for.
const ROUND: usize = 96 << 20;

/// All of them.
pub fn figures(processor: &Processor, budget: Duration, mut each: impl FnMut(Figure)) {
    let memory = values(limits::MEMORY / 4);
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        for (rows, width) in SHAPES {
            let w = weights(processor, format, rows, width.next_multiple_of(format.block_columns()));
            each(one_row(processor, budget, &w, &memory));
            each(many_rows(processor, budget, &w));
        }
    }
}

/// Speed does not depend on the codes. Bytes such as these are ordinary scales wherever they are read as such.
fn weights(processor: &Processor, format: Format, rows: usize, width: usize) -> Matrix {
    let bytes = rows * format.row_bytes(width).expect("whole blocks");
    let bytes: Vec<u8> = (0..bytes).map(|i| 0x20 + (i * 7919 % 16) as u8).collect();
    Matrix::pack(processor.machine(), format, rows, width, &bytes).expect("as many bytes as the shape takes")
}

fn one_row(processor: &Processor, budget: Duration, w: &Matrix, memory: &[f32]) -> Figure {
    let copies = vec![w.clone(); (ROUND / w.bytes()).max(1)];
    let (x, mut y) = (values(w.width()), vec![0.0; w.rows()]);
    let mut blocks = vec![ActivationBlock::default(); Activations::blocks(1, w.width())];
    let before = limits::bytes_per_second(processor, memory);
    let (begin, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || begin.elapsed() < budget {
        let start = Instant::now();
        for w in &copies {
            let x = MatrixRef::row_major(&x, 1, w.width());
            let x = Activations::quantise(processor.machine(), x, &mut blocks);
            product(processor.machine(), MatrixMut::row_major(&mut y, 1, w.rows()), x, w, Accumulate::Store, &mut []);
        }
        seconds.push(start.elapsed().as_secs_f64() / copies.len() as f64);
    }
    let ceiling = before.max(limits::bytes_per_second(processor, memory));
    let figure = Figure::new(processor, "quant", w.format().name(), Timing::of(seconds)).bytes(w.bytes() as f64, ceiling);
    Figure { shape: Some(format!("1x{}x{}", w.rows(), w.width())), ..figure }
}

fn many_rows(processor: &Processor, budget: Duration, w: &Matrix) -> Figure {
    let (x, mut y) = (values(PROMPT * w.width()), vec![0.0; PROMPT * w.rows()]);
    let mut blocks = vec![ActivationBlock::default(); Activations::blocks(PROMPT, w.width())];
    let mut scratch = vec![0.0; product_scratch(PROMPT, w, processor.machine().executor.workers())];
    let before = limits::operations_per_second(processor);
    let timing = time(budget, || {
        let x = Activations::quantise(processor.machine(), MatrixRef::row_major(&x, PROMPT, w.width()), &mut blocks);
        product(processor.machine(), MatrixMut::row_major(&mut y, PROMPT, w.rows()), x, w, Accumulate::Store, &mut scratch);
    });
    let ceiling = before.max(limits::operations_per_second(processor));
    let operations = (2 * PROMPT * w.rows() * w.width()) as f64;
    let figure = Figure::new(processor, "quant", w.format().name(), timing).operations(operations, ceiling);
    Figure { shape: Some(format!("{PROMPT}x{}x{}", w.rows(), w.width())), ..figure }
}
