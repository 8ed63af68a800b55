use crate::product::{Accumulate, MatrixMut, MatrixRef};
use half::bf16;

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`.
pub fn product(c: MatrixMut<'_>, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate) {
    sum(c, a, b, accumulate, f64::from);
}

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`, both rounded to bf16, denormals not taken for zero.
pub fn product_bf16(c: MatrixMut<'_>, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate) {
    sum(c, a, b, accumulate, |x| bf16::from_f32(x).to_f64());
}

fn sum(mut c: MatrixMut<'_>, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate, rounded: impl Fn(f32) -> f64) {
    let [left, right] = [a, b].map(|matrix| -> Vec<f64> {
        let places = (0..matrix.rows()).flat_map(|i| (0..matrix.cols()).map(move |j| (i, j)));
        places.map(|(i, j)| rounded(matrix.at(i, j))).collect()
    });
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let mut sum = match accumulate {
                Accumulate::Store => 0.0,
                Accumulate::Add => f64::from(c.row(i)[j]),
            };
            for k in 0..a.cols() {
                sum += left[i * a.cols() + k] * right[k * b.cols() + j];
            }
            c.row_mut(i)[j] = sum as f32;
        }
    }
}
