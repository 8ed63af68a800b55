use crate::product::{Accumulate, MatrixMut, MatrixRef};

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`.
pub fn product(mut c: MatrixMut<'_>, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate) {
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let mut sum = match accumulate {
                Accumulate::Store => 0.0,
                Accumulate::Add => f64::from(c.row(i)[j]),
            };
            for k in 0..a.cols() {
                sum += f64::from(a.at(i, k)) * f64::from(b.at(k, j));
            }
            c.row_mut(i)[j] = sum as f32;
        }
    }
}
