//! Plain twins of [`crate::quant`].

use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::quant::{BLOCK, Matrix};
use half::bf16;

/// `y [m, rows] = ` or `+= x [m, width]` times the transpose of `w [rows, width]`, activations quantised by blocks of 32.
pub fn product(y: MatrixMut<'_>, x: MatrixRef<'_>, w: &Matrix, accumulate: Accumulate) {
    let rounded: Vec<f64> = (0..x.rows()).flat_map(|i| x.row(i).chunks(BLOCK).flat_map(quantised)).collect();
    multiply(y, &rounded, w, accumulate, f64::from);
}

/// `y [m, rows] = ` or `+= x [m, width]` times the transpose of `w [rows, width]`.
pub fn product_exact(y: MatrixMut<'_>, x: MatrixRef<'_>, w: &Matrix, accumulate: Accumulate) {
    let x: Vec<f64> = (0..x.rows()).flat_map(|i| x.row(i)).map(|x| f64::from(*x)).collect();
    multiply(y, &x, w, accumulate, f64::from);
}

/// `y [m, rows] = ` or `+= x [m, width]` times the transpose of `w [rows, width]`, both rounded to bf16, denormals not taken for zero.
pub fn product_bf16(y: MatrixMut<'_>, x: MatrixRef<'_>, w: &Matrix, accumulate: Accumulate) {
    let rounded = |x: f32| bf16::from_f32(x).to_f64();
    let x: Vec<f64> = (0..x.rows()).flat_map(|i| x.row(i)).map(|x| rounded(*x)).collect();
    multiply(y, &x, w, accumulate, rounded);
}

/// What the activations of a block are taken for.
fn quantised(block: &[f32]) -> Vec<f64> {
    let largest = block.iter().map(|x| x.abs()).fold(0.0, f32::max);
    if !block.iter().all(|x| x.is_finite()) {
        return vec![f64::NAN; block.len()];
    }
    if largest < 127.0 * f32::MIN_POSITIVE {
        return vec![0.0; block.len()];
    }
    let (scale, inverse) = (largest / 127.0, 127.0 / largest);
    block.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(scale)).collect()
}

fn multiply(mut y: MatrixMut<'_>, x: &[f64], w: &Matrix, accumulate: Accumulate, taken: impl Fn(f32) -> f64) {
    let mut weights = vec![0.0; w.width()];
    for j in 0..w.rows() {
        w.row(j, &mut weights);
        for i in 0..y.rows() {
            let start = if accumulate == Accumulate::Add { f64::from(y.row(i)[j]) } else { 0.0 };
            let x = &x[i * w.width()..(i + 1) * w.width()];
            y.row_mut(i)[j] = x.iter().zip(&weights).fold(start, |sum, (x, w)| sum + x * taken(*w)) as f32;
        }
    }
}
