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

impl<const FOURS: usize> Integers for Portable<FOURS> {
    type Floats = Self;
    type I = [[u32; 4]; FOURS];
    const CENTRED: bool = false;

    #[inline(always)]
    fn floats(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> Self::I {
        // SAFETY: the caller promises `4 * LANES` readable bytes; an unaligned read needs no more.
        unsafe { p.cast::<Self::I>().read_unaligned() }.map(|four| four.map(u32::from_le))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u8, v: Self::I) {
        // SAFETY: the caller promises `4 * LANES` writable bytes; an unaligned write needs no more.
        unsafe { p.cast::<Self::I>().write_unaligned(v.map(|four| four.map(u32::to_le))) }
    }
    #[inline(always)]
    fn splat(self, x: i32) -> Self::I {
        [[x.cast_unsigned(); 4]; FOURS]
    }
    #[inline(always)]
    fn and(self, a: Self::I, b: Self::I) -> Self::I {
        each(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: Self::I, b: Self::I) -> Self::I {
        each(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn up(self, a: Self::I, n: u32) -> Self::I {
        a.map(|four| four.map(|a| a << n))
    }
    #[inline(always)]
    fn down(self, a: Self::I, n: u32) -> Self::I {
        a.map(|four| four.map(|a| a >> n))
    }
    #[inline(always)]
    fn sub(self, a: Self::I, b: Self::I) -> Self::I {
        each(a, b, u32::wrapping_sub)
    }
    #[inline(always)]
    fn to_floats(self, a: Self::I) -> Floats<Self> {
        let floats = a.map(|four| four.map(|a| a.cast_signed() as f32));
        // SAFETY: the array has `LANES` values.
        unsafe { Simd::load(self, floats.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn load_u8(self, p: *const u8) -> Floats<Self> {
        // SAFETY: the caller promises `LANES` readable bytes.
        let floats = unsafe { p.cast::<[[u8; 4]; FOURS]>().read() }.map(|four| four.map(f32::from));
        // SAFETY: the array has `LANES` values.
        unsafe { Simd::load(self, floats.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, v: Floats<Self>) {
        let mut floats = [[0.0; 4]; FOURS];
        // SAFETY: the array has `LANES` values; the caller promises as many writable ones.
        unsafe {
            Simd::store(self, floats.as_mut_ptr().cast(), v);
            p.cast::<[[i8; 4]; FOURS]>().write(floats.map(|four: [f32; 4]| four.map(|v| v as i8)));
        }
    }

    #[inline(always)]
    unsafe fn dot<const BITS: usize, const N: usize, const T: usize>(
        self,
        mut sums: [Self::I; T],
        weights: [Self::I; N],
        activations: [*const i8; T],
    ) -> [Self::I; T] {
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
    ) -> [[Self::I; T]; V] {
        let mut sums = [[[[0; 4]; FOURS]; T]; V];
        for v in 0..V {
            let mut along = [[[0; 4]; FOURS]; N];
            for j in 0..N {
                // SAFETY: the caller promises `N * V` vectors.
                along[j] = unsafe { Integers::load(self, weights.add((j * V + v) * 16 * FOURS)) };
            }
            // SAFETY: the caller promises `4 * N` values.
            sums[v] = unsafe { Integers::dot::<BITS, N, T>(self, sums[v], along, activations) };
        }
        sums
    }
}

#[inline(always)]
fn each<const FOURS: usize>(a: [[u32; 4]; FOURS], b: [[u32; 4]; FOURS], f: impl Fn(u32, u32) -> u32) -> [[u32; 4]; FOURS] {
    std::array::from_fn(|i| std::array::from_fn(|lane| f(a[i][lane], b[i][lane])))
}

// Not inlined: unrolled in every kernel it would be most of what there is to compile.
#[inline(never)]
fn add_products<const FOURS: usize>(sums: &mut [[u32; 4]; FOURS], weights: &[[[u32; 4]; FOURS]], activations: &[[i8; 4]]) {
    for (weights, a) in weights.iter().zip(activations) {
        for (sum, weights) in sums.as_flattened_mut().iter_mut().zip(weights.as_flattened()) {
            let products = weights.to_le_bytes().into_iter().zip(a).map(|(w, a)| i32::from(w) * i32::from(*a));
            *sum = (sum.cast_signed() + products.sum::<i32>()).cast_unsigned();
        }
    }
}
