//! Random weights in every format.

use crate::check::Random;
use attendant_kernels::quant::{Format, Matrix};
use attendant_kernels::{Inline, Isa, Machine};
use half::f16;

/// Rows `[rows, width]` of any codes, with scales such that weights are of order one.
pub(crate) fn random_bytes(random: &mut Random, format: Format, rows: usize, width: usize) -> Vec<u8> {
    let size = format.block_bytes();
    let mut bytes = vec![0; rows * format.row_bytes(width).expect("whole blocks")];
    if format.is_float() {
        let values = random.values(rows * width);
        format.encode(&values, &mut bytes);
        return bytes;
    }
    bytes.fill_with(|| random.bits() as u8);
    for block in bytes.chunks_exact_mut(size) {
        // Mostly ordinary, some zero, some below the normal numbers of half precision, which are far below the others.
        let scale = match random.below(12) {
            0 => 0.0,
            1 => 3e-6,
            _ => 0.1 * random.value(),
        };
        let [scale, minimum] = match format {
            Format::Q8_0 => [scale / 8.0, 0.0],
            Format::Q4_1 => [scale, -7.5 * scale],
            Format::Q5_1 => [scale / 2.0, -7.5 * scale],
            Format::Q4K => [scale / 32.0, scale / 4.0],
            Format::Q5K => [scale / 64.0, scale / 4.0],
            Format::Q6K => [scale / 256.0, 0.0],
            _ => [scale, 0.0],
        }
        .map(|field| f16::from_f32(field).to_le_bytes());
        match format {
            Format::Q6K => block[208..].copy_from_slice(&scale),
            Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => block[..4].copy_from_slice(&[scale, minimum].concat()),
            _ => block[..2].copy_from_slice(&scale),
        }
    }
    bytes
}

pub(crate) fn pack(format: Format, rows: usize, width: usize, bytes: &[u8]) -> Matrix {
    let machine = Machine { isa: Isa::SCALAR, executor: &Inline };
    Matrix::pack(machine, format, rows, width, bytes).expect("a matrix")
}

pub(crate) fn random_matrix(random: &mut Random, format: Format, rows: usize, width: usize) -> Matrix {
    pack(format, rows, width, &random_bytes(random, format, rows, width))
}

/// All rows, decoded.
pub(crate) fn decoded(w: &Matrix) -> Vec<f32> {
    let mut values = vec![f32::NAN; w.rows() * w.width()];
    for (i, row) in values.chunks_exact_mut(w.width()).enumerate() {
        w.row(i, row);
    }
    values
}
