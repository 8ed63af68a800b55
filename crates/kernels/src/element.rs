//! Types that rows are stored in, each widened to f32 in a register on its way into a product.

use crate::simd::{MAX_LANES, Simd};
use half::{bf16, f16};

/// A type that a vector of f32 can be loaded from.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// # Safety
    /// `p` must be valid for reading `LANES` values; no alignment beyond the type's is needed.
    unsafe fn load<S: Simd>(simd: S, p: *const Self) -> S::V;

    /// As [`Element::load`], of `LANES` or fewer values; missing lanes are 0.
    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, x: &[Self]) -> S::V {
        let mut lanes = [Self::default(); MAX_LANES];
        lanes[..x.len()].copy_from_slice(x);
        // SAFETY: `lanes` has MAX_LANES values, and no vector has more.
        unsafe { Self::load(simd, lanes.as_ptr()) }
    }

    /// Writes the values of `from` to as many places.
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
            simd.store_partial(to, Self::load_partial(simd, from));
        }
    }
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, p: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load(p) }
    }
    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, x: &[f32]) -> S::V {
        simd.load_partial(x)
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, p: *const bf16) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load_bf16(p) }
    }
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, p: *const f16) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load_f16(p) }
    }
}

impl Element for i8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, p: *const i8) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load_i8(p) }
    }
}
