//! Vectors of `f32`: one trait, four widths of hardware. An algorithm is written once as a [`Kernel`], generic in its
//! [`Simd`]; `Isa::run` compiles it into a `#[target_feature]` shell for each instruction set.
//!
//! A `Simd` value is a token. The x86 tokens are made only inside the shells, which run only on a processor that has the
//! features, so holding one is the proof that its intrinsics may be called.

use half::{bf16, f16};

/// Lanes of the widest vector.
pub(crate) const MAX_LANES: usize = 16;

/// Rows and columns of a square, and pairs that one step multiplies: see [`Simd::has_squares`].
pub(crate) const SQUARE: usize = 16;

/// Values that begin on a cache line, as rows of squares had better.
#[repr(align(64))]
pub(crate) struct Lines<const N: usize>(pub(crate) [f32; N]);

/// Bytes that a prefetch brings: a line of the cache.
pub(crate) const CACHE_LINE: usize = 64;

/// An algorithm, generic in the instruction set. `run` must be `#[inline(always)]`, or it is compiled without the set.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Vectors of `LANES` f32 and what can be done with them.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// f32 values in a vector.
    const LANES: usize;
    /// Vectors in one row of a register tile: 6 rows of these, their operands and a broadcast fill the register file.
    const TILE_VECTORS: usize;
    type V: Copy;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `p` must be valid for reading `LANES` values; no alignment is needed.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `p` must be valid for writing `LANES` values; no alignment is needed.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_bf16(self, p: *const bf16) -> Self::V;
    /// Rounds to the nearest, ties to even; NaN stays NaN. What is smaller than the smallest normal number may become zero.
    ///
    /// # Safety
    /// As [`Simd::store`].
    unsafe fn store_bf16(self, p: *mut bf16, v: Self::V);
    /// The same with two vectors, one behind the other.
    ///
    /// # Safety
    /// `p` must be valid for writing `2 * LANES` values; no alignment is needed.
    #[inline(always)]
    unsafe fn store_bf16_two(self, p: *mut bf16, [first, second]: [Self::V; 2]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.store_bf16(p, first);
            self.store_bf16(p.add(Self::LANES), second);
        }
    }
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_f16(self, p: *const f16) -> Self::V;
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_i8(self, p: *const i8) -> Self::V;
    /// `LANES` numbers of four bits in two's complement, two a byte, the earlier in the lower half.
    ///
    /// # Safety
    /// `p` must be valid for reading `LANES / 2` bytes; no alignment is needed.
    unsafe fn load_i4(self, p: *const u8) -> Self::V;
    /// The first `LANES` or fewer values of `x`; missing lanes are 0.
    fn load_partial(self, x: &[f32]) -> Self::V;
    /// Stores the first `y.len()` lanes, at most `LANES`.
    fn store_partial(self, y: &mut [f32], v: Self::V);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the hardware can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Larger of the two; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Smaller of the two; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for integral `n` in -126..=127; 0 for -127.
    fn pow2(self, n: Self::V) -> Self::V;
    /// `yes` where `a < b`, else `no` (also where either is NaN).
    fn select_lt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// Two bf16 in each lane, as they would lie in memory, rounded as [`Simd::store_bf16`] rounds.
    fn pair(self, first: Self::V, second: Self::V) -> Self::V;
    /// `sum`, the products of the upper bf16 of each lane and those of the lower ones, added in this order where the processor
    /// keeps to it. What is smaller than the smallest normal number may be taken for zero.
    fn dot(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
    fn reduce_add(self, a: Self::V) -> f32;
    /// The sums of the first `LANES` vectors, one a lane. The lanes of each vector are added in the same order.
    fn sum_each(self, vectors: [Self::V; MAX_LANES]) -> Self::V;
    /// Largest lane; lanes that are NaN may be passed over.
    fn reduce_max(self, a: Self::V) -> f32;

    /// Loads a square of `LANES` by `LANES` values by columns: lane `i` of vector `j` is the value at `from + i * stride + j`. Of the
    /// vectors the first `LANES` count.
    ///
    /// # Safety
    /// `LANES` values must be readable at `from + i * stride`, for `i` in `0..LANES`.
    unsafe fn load_columns(self, from: *const f32, stride: usize) -> [Self::V; MAX_LANES];

    /// Transposes a square of `LANES` by `LANES` values: value `(i, j)` at `from + i * from_stride + j` goes to
    /// `to + j * to_stride + i`.
    ///
    /// # Safety
    /// `LANES` values must be readable at `from + i * from_stride` and writable at `to + i * to_stride`, for `i` in `0..LANES`.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller promises these places.
        let columns = unsafe { self.load_columns(from, from_stride) };
        for j in 0..Self::LANES {
            // SAFETY: as above.
            unsafe { self.store(to.add(j * to_stride), columns[j]) };
        }
    }

    /// Asks for the cache line at `p` to be brought near. `p` need not be valid.
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        let _ = p;
    }

    /// The same, but no nearer than the second-level cache: so much can be on its way that what is needed next keeps its place in the first.
    #[inline(always)]
    fn prefetch_second(self, p: *const f32) {
        let _ = p;
    }

    /// Whether the processor multiplies squares: tiles of 16 by 16 sums in registers of their own, as many as two by two of them, to
    /// which whole tiles of pairs are multiplied at once.
    #[inline(always)]
    fn has_squares(self) -> bool {
        false
    }
    /// Loads ROWS by COLS squares, 1 or 2 of each, from rows that lie `stride` values apart, or makes them zero.
    ///
    /// # Safety
    /// The processor must have squares. 16 COLS values must be readable at `from + i * stride`, for `i` in `0..16 * ROWS`.
    #[inline(always)]
    unsafe fn load_squares<const ROWS: usize, const COLS: usize>(self, from: Option<*const f32>, stride: usize) {
        let _ = (from, stride);
        unreachable!("no squares");
    }
    /// Adds the product of A `[16 ROWS, 16 steps]` and B `[16 steps, 16 COLS]`, both of pairs of bf16 or, if BYTES, of four signed
    /// bytes, whose sums are `i32`, to the squares. Each 16 rows of A begin at a place of their own.
    ///
    /// # Safety
    /// The processor must have squares, and [`Simd::load_squares`] have been called for as many. For `i` in `0..16`, 16 `steps` values
    /// must be readable `i * a_stride` values behind the first ROWS places of `a`, and 16 COLS values at `b + k * b_stride`, for `k` in
    /// `0..16 * steps`.
    #[inline(always)]
    unsafe fn multiply_squares<const ROWS: usize, const COLS: usize, const BYTES: bool>(
        self,
        a: [*const f32; 2],
        a_stride: usize,
        b: *const f32,
        b_stride: usize,
        steps: usize,
    ) {
        let _ = (a, a_stride, b, b_stride, steps);
        unreachable!("no squares");
    }
    /// Stores the squares in rows that lie `stride` values apart.
    ///
    /// # Safety
    /// As for [`Simd::load_squares`], with room for writing.
    #[inline(always)]
    unsafe fn store_squares<const ROWS: usize, const COLS: usize>(self, to: *mut f32, stride: usize) {
        let _ = (to, stride);
        unreachable!("no squares");
    }

    /// Lanes that hold an `i32`, as sums of bytes are, as floats. Only where there are squares.
    #[inline(always)]
    fn integers(self, v: Self::V) -> Self::V {
        let _ = v;
        unreachable!("no squares");
    }
    /// As [`Simd::call`], with squares if the processor has them.
    #[inline(always)]
    fn call_with_squares<K: Kernel>(self, kernel: K) -> K::Output {
        self.call(kernel)
    }

    /// Runs `kernel` as a function of its own, compiled for this instruction set: for bodies that are large and used from
    /// several places.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    /// `2^x` for `x` below 127: within 2 units in the last place down to -126; 0 below -126.5 (also for -inf), between them one or the
    /// other; NaN for NaN.
    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        // -127 becomes the exponent 0, which is the number 0.
        let x = self.max(self.splat(-127.0), x);
        let n = self.round(x);
        self.mul(self.exp2_of_fraction(self.sub(x, n)), self.pow2(n))
    }

    /// `2^r` within -0.5..=0.5.
    #[inline(always)]
    fn exp2_of_fraction(self, r: Self::V) -> Self::V {
        // (2^r - 1) / r interpolated at the Chebyshev nodes of -0.5..=0.5: within 5e-9, and 2^0 is 1 exactly.
        let mut p = self.splat(0.000_154_531_63);
        for c in [0.001_339_086_3, 0.009_618_083, 0.055_503_57, 0.240_226_5, std::f32::consts::LN_2, 1.0] {
            p = self.fma(p, r, self.splat(c));
        }
        p
    }

    /// `e^x`: within 2 units in the last place for x in -87..=88; 0 below (also for -inf), infinity above, NaN for NaN.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        let log2e = self.splat(std::f32::consts::LOG2_E);
        // Operand order keeps NaN: min and max give their second operand when one is NaN.
        let clamped = self.max(self.splat(-87.5), self.min(self.splat(88.5), x));
        let n = self.round(self.mul(clamped, log2e));
        // ln 2 in two parts, so that n * ln 2 is subtracted without losing the low bits.
        let r = self.fma(n, self.splat(-0.693_145_75), clamped);
        let r = self.fma(n, self.splat(-1.428_606_8e-6), r);
        let mut p = self.splat(1.0 / 5040.0);
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = self.fma(p, r, self.splat(c));
        }
        // 2^n in two halves: n may be 128, which one exponent cannot hold.
        let half = self.round(self.mul(n, self.splat(0.5)));
        let y = self.mul(self.mul(p, self.pow2(half)), self.pow2(self.sub(n, half)));
        let y = self.select_lt(x, self.splat(-87.336_55), self.splat(0.0), y);
        self.select_lt(self.splat(88.722_84), x, self.splat(f32::INFINITY), y)
    }
}

pub(crate) mod integer;
pub(crate) use portable::Portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{
    has_amx, is_intel, run_amx, run_avx2, run_avx512, run_avx512_beside_amx, run_avx512_bf16, run_integer_amx, run_integer_avx2,
    run_integer_vnni,
};

mod four;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;
