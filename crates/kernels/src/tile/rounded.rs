//! Operands of bf16 that are multiplied as f32.

use super::{Operand, Single};
use crate::isa::Isa;
use crate::product::MatrixRef;
use crate::simd::{Kernel, Simd};

/// One bf16, widened where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Rounded;

impl Operand for Rounded {
    const VALUES: usize = 1;
    const PARTS: usize = 1;
    type InPlace = Rounded;

    #[inline]
    fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
        isa.run_pairs(kernel)
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        simd.fma(a, b, sum)
    }
    /// The upper half of a pair with zero.
    #[inline(always)]
    fn nearest<S: Simd>(simd: S, x: S::V) -> S::V {
        simd.pair(simd.splat(0.0), x)
    }
    #[inline(always)]
    fn pack<S: Simd>(simd: S, b: MatrixRef<'_>, panels: &mut [f32], depth: usize, at: usize) {
        Single::pack(simd, b, panels, depth, at);
    }
    fn left_scratch(m: usize, k: usize) -> usize {
        Single::left_scratch(m, k)
    }
    #[inline(always)]
    fn round<S: Simd>(_: S, _: MatrixRef<'_>, _: &mut [f32]) {}
    #[inline(always)]
    fn store_left<S: Simd, const N: usize>(simd: S, mut v: [S::V; N], lie: &mut [f32], row: &mut [f32], at: usize) {
        for i in 0..N {
            v[i] = Rounded::nearest(simd, v[i]);
        }
        Single::store_left(simd, v, lie, row, at);
    }
    #[inline(always)]
    fn left<'a, S: Simd>(simd: S, a: MatrixRef<'a>, scratch: &'a [f32]) -> MatrixRef<'a> {
        Single::left(simd, a, scratch)
    }
}
