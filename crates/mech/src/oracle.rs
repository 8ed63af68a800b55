//! What the oracles multiply with: plain loops, which no forward uses.

use attendant_core::{Real, Rows};

pub(crate) fn dot<S: Real>(a: &[S], b: &[S]) -> S {
    a.iter().zip(b).fold(S::from(0.0), |sum, (&a, &b)| sum + a * b)
}

/// One row of x weight^T + bias.
pub(crate) fn product<S: Real>(x: &[S], weight: &Rows<S>, bias: Option<&Rows<S>>) -> Vec<S> {
    head(x, weight, bias, 0, weight.rows())
}

/// The same, of one head of `width` values.
pub(crate) fn head<S: Real>(x: &[S], weight: &Rows<S>, bias: Option<&Rows<S>>, head: usize, width: usize) -> Vec<S> {
    let start = |row: usize| bias.map_or(S::from(0.0), |bias| bias[0][row]);
    (head * width..(head + 1) * width).map(|row| start(row) + dot(x, &weight[row])).collect()
}

/// x weight^T + bias.
pub(crate) fn multiply<S: Real>(x: &Rows<S>, weight: &Rows<S>, bias: Option<&Rows<S>>) -> Rows<S> {
    let mut y = Rows::zeros(x.rows(), weight.rows());
    (0..x.rows()).for_each(|row| y[row].copy_from_slice(&product(&x[row], weight, bias)));
    y
}
