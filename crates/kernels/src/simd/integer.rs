//! Products of bytes: one trait beside [`Simd`], for kernels whose weights are small integers.
//!
//! As there, a value is a token that proves the features. It holds the token of the floats that go with it, whose lanes are
//! its own: a vector of integers has four bytes, or one `i32`, in each lane of a vector of floats.

use super::{Portable, Simd};

/// An algorithm over bytes, generic in the instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait IntegerKernel {
    type Output;
    fn run<S: Integers>(self, simd: S) -> Self::Output;
}

/// Values of the floats that go with `S`.
pub(crate) type Floats<S> = <<S as Integers>::Floats as Simd>::V;

/// Vectors of four bytes, or of one `i32`, in each lane, and what can be done with them.
pub(crate) trait Integers: Copy + Send + Sync + 'static {
    type Floats: Simd;
    type I: Copy;

    /// Lanes of both.
    const LANES: usize = Self::Floats::LANES;
    /// Whether [`Integers::dot`] of 8 bits takes 128 off every weight by itself, since unsigned ones would be too large for it.
    const CENTRED: bool;

    fn floats(self) -> Self::Floats;

    /// # Safety
    /// `p` must be valid for reading `4 * LANES` bytes; no alignment is needed.
    unsafe fn load(self, p: *const u8) -> Self::I;
    /// # Safety
    /// `p` must be valid for writing `4 * LANES` bytes; no alignment is needed.
    unsafe fn store(self, p: *mut u8, v: Self::I);
    fn splat(self, x: i32) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    /// Every lane, `n` bits up.
    fn up(self, a: Self::I, n: u32) -> Self::I;
    /// Every lane, `n` bits down, zeros following.
    fn down(self, a: Self::I, n: u32) -> Self::I;
    fn sub(self, a: Self::I, b: Self::I) -> Self::I;
    fn to_floats(self, a: Self::I) -> Floats<Self>;

    /// `LANES` bytes as floats.
    ///
    /// # Safety
    /// `p` must be valid for reading `LANES` bytes.
    unsafe fn load_u8(self, p: *const u8) -> Floats<Self>;
    /// Stores integers within -127..=127, in place of NaN anything.
    ///
    /// # Safety
    /// `p` must be valid for writing `LANES` values.
    unsafe fn store_i8(self, p: *mut i8, v: Floats<Self>);

    /// `sums[t] += ` the products of weights with `activations[t]`, summed along `N` groups of four: a lane's weights are four bytes
    /// of each vector, and the activations are the same for all lanes. Weights are unsigned and have `BITS` bits; activations are
    /// within -127..=127. Exact.
    ///
    /// # Safety
    /// `4 * N` values must be readable at each of `activations`.
    unsafe fn dot<const BITS: usize, const N: usize, const T: usize>(
        self,
        sums: [Self::I; T],
        weights: [Self::I; N],
        activations: [*const i8; T],
    ) -> [Self::I; T];

    /// The same sums from zero on, for `V` vectors of weights in memory: group of four `j` of vector `v` is the `V * j + v`th vector from
    /// `weights` on, aligned to its size.
    ///
    /// # Safety
    /// `N * V` vectors must be readable at `weights`, `4 * N` values at each of `activations`.
    unsafe fn dots<const BITS: usize, const N: usize, const V: usize, const T: usize>(
        self,
        weights: *const u8,
        activations: [*const i8; T],
    ) -> [[Self::I; T]; V];
}

impl<const LANES: usize> Integers for Portable<LANES> {
    type Floats = Self;
    type I = [u32; LANES];
    const CENTRED: bool = false;

    #[inline(always)]
    fn floats(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> [u32; LANES] {
        // SAFETY: the caller promises `4 * LANES` readable bytes; an unaligned read needs no more.
        unsafe { p.cast::<[u32; LANES]>().read_unaligned() }.map(u32::from_le)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u8, v: [u32; LANES]) {
        // SAFETY: the caller promises `4 * LANES` writable bytes; an unaligned write needs no more.
        unsafe { p.cast::<[u32; LANES]>().write_unaligned(v.map(u32::to_le)) }
    }
    #[inline(always)]
    fn splat(self, x: i32) -> [u32; LANES] {
        [x.cast_unsigned(); LANES]
    }
    #[inline(always)]
    fn and(self, a: [u32; LANES], b: [u32; LANES]) -> [u32; LANES] {
        std::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or(self, a: [u32; LANES], b: [u32; LANES]) -> [u32; LANES] {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn up(self, a: [u32; LANES], n: u32) -> [u32; LANES] {
        a.map(|a| a << n)
    }
    #[inline(always)]
    fn down(self, a: [u32; LANES], n: u32) -> [u32; LANES] {
        a.map(|a| a >> n)
    }
    #[inline(always)]
    fn sub(self, a: [u32; LANES], b: [u32; LANES]) -> [u32; LANES] {
        std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    fn to_floats(self, a: [u32; LANES]) -> [f32; LANES] {
        a.map(|a| a.cast_signed() as f32)
    }
    #[inline(always)]
    unsafe fn load_u8(self, p: *const u8) -> [f32; LANES] {
        // SAFETY: the caller promises `LANES` readable bytes.
        unsafe { p.cast::<[u8; LANES]>().read() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, v: [f32; LANES]) {
        // SAFETY: the caller promises `LANES` writable values.
        unsafe { p.cast::<[i8; LANES]>().write(v.map(|v| v as i8)) }
    }

    #[inline(always)]
    unsafe fn dot<const BITS: usize, const N: usize, const T: usize>(
        self,
        mut sums: [[u32; LANES]; T],
        weights: [[u32; LANES]; N],
        activations: [*const i8; T],
    ) -> [[u32; LANES]; T] {
        for t in 0..T {
            // SAFETY: the caller promises `4 * N` readable values.
            let activations = unsafe { activations[t].cast::<[[i8; 4]; N]>().read() };
            add_products(&mut sums[t], &weights, &activations);
        }
        sums
    }

    #[inline(always)]
    unsafe fn dots<const BITS: usize, const N: usize, const V: usize, const T: usize>(
        self,
        weights: *const u8,
        activations: [*const i8; T],
    ) -> [[[u32; LANES]; T]; V] {
        let mut sums = [[[0; LANES]; T]; V];
        for v in 0..V {
            let mut along = [[0; LANES]; N];
            for j in 0..N {
                // SAFETY: the caller promises `N * V` vectors.
                along[j] = unsafe { Integers::load(self, weights.add((j * V + v) * 4 * LANES)) };
            }
            // SAFETY: the caller promises `4 * N` values.
            sums[v] = unsafe { Integers::dot::<BITS, N, T>(self, sums[v], along, activations) };
        }
        sums
    }
}

// Not inlined: unrolled in every kernel it would be most of what there is to compile.
#[inline(never)]
fn add_products<const LANES: usize>(sums: &mut [u32; LANES], weights: &[[u32; LANES]], activations: &[[i8; 4]]) {
    for (weights, a) in weights.iter().zip(activations) {
        for i in 0..LANES {
            let w = weights[i].to_le_bytes();
            let mut sum = sums[i].cast_signed();
            for k in 0..4 {
                sum += i32::from(w[k]) * i32::from(a[k]);
            }
            sums[i] = sum.cast_unsigned();
        }
    }
}
