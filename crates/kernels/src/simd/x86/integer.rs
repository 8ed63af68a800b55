//! Products of bytes on AVX2, and on AVX-512 with VNNI.
//!
//! As in the parent, every `unsafe` block that calls a value intrinsic rests on the token, which is made only by a shell whose
//! caller has checked the processor.

use super::pairs::{Dots, Pairs, Widened};
use super::{Avx2, Avx512, squares};
use crate::simd::integer::{IntegerKernel, Integers};
use core::arch::x86_64::*;

/// AVX-512 with the instructions for bytes.
#[derive(Clone, Copy)]
pub(crate) struct Vnni<P>(Avx512<P>);

/// Runs `kernel` compiled with AVX2, FMA and F16C.
///
/// # Safety
/// The processor must have avx2, fma and f16c.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run_integer_avx2<K: IntegerKernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Runs `kernel` compiled with AVX-512 and VNNI.
///
/// # Safety
/// The processor must have avx512f, avx512vnni, avx2, fma and f16c.
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma,f16c")]
pub(crate) unsafe fn run_integer_vnni<K: IntegerKernel>(kernel: K) -> K::Output {
    kernel.run(Vnni(Avx512(Widened { squares: false })))
}

/// Runs `kernel` compiled with AVX-512, VNNI and the instructions for bf16, beside those of AMX.
///
/// # Safety
/// As [`super::run_amx`], and the processor must have avx512vnni.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16,avx512vnni,avx2,fma,f16c")]
pub(crate) unsafe fn run_integer_amx<K: IntegerKernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe {
        squares::configure();
        let output = kernel.run(Vnni(Avx512(Dots { squares: true })));
        squares::release();
        output
    }
}

/// The four bytes at `p`, for all lanes.
///
/// # Safety
/// Four bytes must be readable at `p`.
#[inline(always)]
unsafe fn four(p: *const i8) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<i32>().read_unaligned() }
}

/// The same, in the order in which the source asks: the compiler, free to choose, brings a tile's activations long before they are used and
/// spills for it, which takes a fifth more time.
///
/// # Safety
/// Four bytes must be readable at `p`, which is a multiple of four bytes.
#[inline(always)]
unsafe fn four_in_order(p: *const i8) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<i32>().read_volatile() }
}

/// Value intrinsics as trait methods.
macro_rules! value_operations {
    ($($name:ident($($arg:ident: $type:ty),+) -> $result:ty = $intrinsic:expr;)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: $type),+) -> $result {
                // SAFETY: the token proves the features (see the head of this file).
                unsafe { $intrinsic }
            }
        )+
    };
}

/// How many vectors of products, each two a 16-bit lane, fit in one before they are widened.
const fn depth(bits: usize) -> usize {
    let pair = 2 * ((1 << bits) - 1) * 127;
    if bits == 8 { 1 } else { i16::MAX as usize / pair }
}

/// Products of bytes, two a lane of 16 bits.
///
/// # Safety
/// The processor must have avx2.
#[inline(always)]
unsafe fn products_of_bytes<const BITS: usize>(w: __m256i, a: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        if BITS < 8 {
            return _mm256_maddubs_epi16(w, a);
        }
        // Two products of unsigned bytes of 8 bits leave 16: the sign goes to the other side instead.
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w))
    }
}

impl Integers for Avx2 {
    type Floats = Self;
    type I = __m256i;
    const CENTRED: bool = true;

    #[inline(always)]
    fn floats(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> __m256i {
        // SAFETY: the caller promises 32 readable bytes; the token proves avx.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u8, v: __m256i) {
        // SAFETY: the caller promises 32 writable bytes; the token proves avx.
        unsafe { _mm256_storeu_si256(p.cast(), v) }
    }
    value_operations! {
        splat(x: i32) -> __m256i = _mm256_set1_epi32(x);
        and(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        up(a: __m256i, n: u32) -> __m256i = _mm256_sll_epi32(a, _mm_cvtsi32_si128(n.cast_signed()));
        down(a: __m256i, n: u32) -> __m256i = _mm256_srl_epi32(a, _mm_cvtsi32_si128(n.cast_signed()));
        sub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        to_floats(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
    }
    #[inline(always)]
    unsafe fn load_u8(self, p: *const u8) -> __m256 {
        // SAFETY: the caller promises eight readable bytes; the token proves avx2.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, v: __m256) {
        // SAFETY: the caller promises eight writable values; the token proves avx2.
        unsafe {
            let v = _mm256_cvtps_epi32(v);
            let v = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storel_epi64(p.cast(), _mm_packs_epi16(v, v));
        }
    }

    #[inline(always)]
    unsafe fn dot<const BITS: usize, const N: usize, const T: usize>(
        self,
        mut sums: [__m256i; T],
        weights: [__m256i; N],
        activations: [*const i8; T],
    ) -> [__m256i; T] {
        // SAFETY: the token proves avx2; the caller promises `4 * N` readable values.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let together = const { if depth(BITS) < N { depth(BITS) } else { N } };
            for part in 0..N / together {
                let mut pairs = [_mm256_setzero_si256(); T];
                for j in part * together..(part + 1) * together {
                    for t in 0..T {
                        let a = _mm256_set1_epi32(four(activations[t].add(4 * j)));
                        pairs[t] = _mm256_add_epi16(pairs[t], products_of_bytes::<BITS>(weights[j], a));
                    }
                }
                for t in 0..T {
                    sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(pairs[t], ones));
                }
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn dots<const BITS: usize, const N: usize, const V: usize, const T: usize>(
        self,
        weights: *const u8,
        activations: [*const i8; T],
    ) -> [[__m256i; T]; V] {
        let mut sums = [[self.splat(0); T]; V];
        // SAFETY: the token proves avx2; the caller promises `N * V` vectors and `4 * N` values, both aligned.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let weights = weights.cast::<__m256i>();
            let together = const { if depth(BITS) < N { depth(BITS) } else { N } };
            for part in 0..N / together {
                let mut pairs = [[_mm256_setzero_si256(); T]; V];
                for j in part * together..(part + 1) * together {
                    let mut w = [self.splat(0); V];
                    for v in 0..V {
                        w[v] = weights.add(j * V + v).read_volatile();
                    }
                    for t in 0..T {
                        let a = _mm256_set1_epi32(four_in_order(activations[t].add(4 * j)));
                        for v in 0..V {
                            pairs[v][t] = _mm256_add_epi16(pairs[v][t], products_of_bytes::<BITS>(w[v], a));
                        }
                    }
                }
                for v in 0..V {
                    for t in 0..T {
                        sums[v][t] = _mm256_add_epi32(sums[v][t], _mm256_madd_epi16(pairs[v][t], ones));
                    }
                }
            }
        }
        sums
    }
}

impl<P: Pairs> Integers for Vnni<P> {
    type Floats = Avx512<P>;
    type I = __m512i;
    const CENTRED: bool = false;

    #[inline(always)]
    fn floats(self) -> Avx512<P> {
        self.0
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> __m512i {
        // SAFETY: the caller promises 64 readable bytes; the token proves avx512f.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u8, v: __m512i) {
        // SAFETY: the caller promises 64 writable bytes; the token proves avx512f.
        unsafe { _mm512_storeu_si512(p.cast(), v) }
    }
    value_operations! {
        splat(x: i32) -> __m512i = _mm512_set1_epi32(x);
        and(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        or(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        up(a: __m512i, n: u32) -> __m512i = _mm512_sll_epi32(a, _mm_cvtsi32_si128(n.cast_signed()));
        down(a: __m512i, n: u32) -> __m512i = _mm512_srl_epi32(a, _mm_cvtsi32_si128(n.cast_signed()));
        sub(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        to_floats(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
    }
    #[inline(always)]
    unsafe fn load_u8(self, p: *const u8) -> __m512 {
        // SAFETY: the caller promises sixteen readable bytes; the token proves avx512f.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, v: __m512) {
        // SAFETY: the caller promises sixteen writable values; the token proves avx512f.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }

    #[inline(always)]
    unsafe fn dot<const BITS: usize, const N: usize, const T: usize>(
        self,
        mut sums: [__m512i; T],
        weights: [__m512i; N],
        activations: [*const i8; T],
    ) -> [__m512i; T] {
        for j in 0..N {
            for t in 0..T {
                // SAFETY: the token proves avx512vnni; the caller promises `4 * N` readable values.
                sums[t] = unsafe {
                    let a = _mm512_set1_epi32(four(activations[t].add(4 * j)));
                    _mm512_dpbusd_epi32(sums[t], weights[j], a)
                };
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn dots<const BITS: usize, const N: usize, const V: usize, const T: usize>(
        self,
        weights: *const u8,
        activations: [*const i8; T],
    ) -> [[__m512i; T]; V] {
        let mut sums = [[self.splat(0); T]; V];
        // SAFETY: the token proves avx512vnni; the caller promises `N * V` vectors and `4 * N` values, both aligned.
        unsafe {
            let weights = weights.cast::<__m512i>();
            for j in 0..N {
                let mut w = [self.splat(0); V];
                for v in 0..V {
                    w[v] = weights.add(j * V + v).read_volatile();
                }
                for t in 0..T {
                    let a = _mm512_set1_epi32(four_in_order(activations[t].add(4 * j)));
                    for v in 0..V {
                        sums[v][t] = _mm512_dpbusd_epi32(sums[v][t], w[v], a);
                    }
                }
            }
        }
        sums
    }
}
