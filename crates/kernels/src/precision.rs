//! What products multiply.

use crate::Machine;
use crate::product::{self, Accumulate, MatrixMut, MatrixRef, bf16};

/// What the operands of a product are rounded to on their way into it. Sums are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing is rounded.
    #[default]
    F32,
    /// The nearest bf16; see [`bf16`].
    Bf16,
}

impl Precision {
    /// C `[m, n]` = or += A `[m, k]` B `[k, n]`.
    ///
    /// # Panics
    /// If the shapes do not agree, or `scratch` is shorter than [`Precision::product_scratch`] says.
    pub fn product(
        self,
        machine: Machine<'_>,
        c: MatrixMut<'_>,
        a: MatrixRef<'_>,
        b: MatrixRef<'_>,
        accumulate: Accumulate,
        scratch: &mut [f32],
    ) {
        match self {
            Precision::F32 => product::product(machine, c, a, b, accumulate, scratch),
            Precision::Bf16 => bf16::product(machine, c, a, b, accumulate, scratch),
        }
    }

    /// Values of scratch that [`Precision::product`] needs.
    pub fn product_scratch(self, m: usize, n: usize, k: usize, workers: usize) -> usize {
        match self {
            Precision::F32 => product::product_scratch(m, k, workers),
            Precision::Bf16 => bf16::product_scratch(m, n, k, workers),
        }
    }
}
