//! Matrix products, all by one function over strided views: a linear layer, both its gradients, and products per head.
//!
//! Every entry of C is one accumulator: the products are added in ascending `k`, whatever the shape of C, the place
//! of the entry in it and the number of threads. So a row's result does not depend on which rows share the call.

mod matrix;

pub use matrix::{MatrixMut, MatrixRef};

use crate::Machine;

/// What becomes of the values that C holds before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// They are overwritten without being read.
    Store,
    /// They are where the sums start.
    Add,
}

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`.
///
/// A linear layer over W `[out, in]` is `product(y, x, w.transposed())`; its gradients are `product(dx, dy, w)` and
/// `product(dw, dy.transposed(), x)`.
///
/// # Panics
/// If the shapes do not agree, or `scratch` is shorter than [`product_scratch`] says.
pub fn product(
    machine: Machine<'_>,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    let (m, n, k) = (c.rows(), c.cols(), a.cols());
    assert!(
        a.rows() == m && b.rows() == k && b.cols() == n,
        "product: want [{m}, {k}] x [{k}, {n}], got [{}, {}] x [{}, {}]",
        a.rows(),
        k,
        b.rows(),
        b.cols()
    );
    let want = product_scratch(m, n, k, machine.executor.workers());
    assert!(scratch.len() >= want, "scratch of product: want {want}, got {}", scratch.len());
    crate::naive::product(c, a, b, accumulate);
}

/// Values of scratch that [`product`] needs.
pub fn product_scratch(m: usize, n: usize, k: usize, workers: usize) -> usize {
    let _ = (m, n, k, workers);
    0
}
