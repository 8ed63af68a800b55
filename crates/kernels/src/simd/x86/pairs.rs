//! Pairs of bf16 in the lanes of a vector: rounding to them, and multiplying them with the instructions for it or without.

use super::{run_amx, run_dots, run_widened};
use crate::simd::Kernel;
use core::arch::x86_64::*;

/// How AVX-512 rounds to bf16 and multiplies it.
pub(crate) trait Pairs: Copy + Send + Sync + 'static {
    /// Runs `kernel` in the shell that makes tokens of this kind.
    ///
    /// # Safety
    /// The processor must have what that shell takes, as for all that follows.
    unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output;
    /// The same with squares, if the processor has them.
    ///
    /// # Safety
    /// As for [`Pairs::run`].
    #[inline(always)]
    unsafe fn run_with_squares<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller's promise.
        unsafe { self.run(kernel) }
    }
    /// Whether there are squares.
    fn squares(self) -> bool;
    /// The nearest bf16 of each lane.
    unsafe fn round(v: __m512) -> __m256i;
    /// The nearest bf16 of each lane of the first, then of the second.
    unsafe fn round_two(v: [__m512; 2]) -> __m512i;
    /// The same in turn: a pair in each lane.
    unsafe fn pair(first: __m512, second: __m512) -> __m512;
    /// The nearest integer, ties to even.
    unsafe fn nearest(x: __m512) -> __m512;
    /// `sum` and the products of the halves, the upper ones first.
    unsafe fn dot(a: __m512, b: __m512, sum: __m512) -> __m512;
}

/// Without instructions for bf16: halves become f32, whose products are exact.
#[derive(Clone, Copy)]
pub(crate) struct Widened {
    /// Whether the processor has squares, whose tiles are not configured.
    pub(super) squares: bool,
}

/// With them, and perhaps with AMX, whose tiles are configured while a kernel runs. A flag and not a type, since all but the
/// product of two panels is the same code.
#[derive(Clone, Copy)]
pub(crate) struct Dots {
    pub(super) squares: bool,
}

impl Pairs for Widened {
    #[inline(always)]
    unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller's promise.
        unsafe { run_widened(self, kernel) }
    }
    #[inline(always)]
    unsafe fn run_with_squares<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller's promise; the flag is set only where there is AMX.
        unsafe { if self.squares { run_amx(kernel) } else { self.run(kernel) } }
    }
    #[inline(always)]
    fn squares(self) -> bool {
        false
    }
    #[inline(always)]
    unsafe fn round(v: __m512) -> __m256i {
        // SAFETY: the caller promises avx512f.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(HALF)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(QUIET));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, rounded, quiet)))
        }
    }
    #[inline(always)]
    unsafe fn round_two([first, second]: [__m512; 2]) -> __m512i {
        // SAFETY: the caller promises avx512f.
        unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(Self::round(first)), Self::round(second)) }
    }
    #[inline(always)]
    unsafe fn pair(first: __m512, second: __m512) -> __m512 {
        // SAFETY: the caller promises avx512f.
        unsafe {
            let (first, second) = (_mm512_cvtepu16_epi32(Self::round(first)), _mm512_cvtepu16_epi32(Self::round(second)));
            _mm512_castsi512_ps(_mm512_or_si512(first, _mm512_slli_epi32::<16>(second)))
        }
    }
    #[inline(always)]
    unsafe fn nearest(x: __m512) -> __m512 {
        // SAFETY: the caller promises avx512f.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(x) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the caller promises avx512f.
        unsafe {
            let sum = _mm512_fmadd_ps(upper_512(a), upper_512(b), sum);
            _mm512_fmadd_ps(lower_512(a), lower_512(b), sum)
        }
    }
}

impl Pairs for Dots {
    #[inline(always)]
    unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller's promise.
        unsafe { run_dots(self, kernel) }
    }
    #[inline(always)]
    fn squares(self) -> bool {
        self.squares
    }
    #[inline(always)]
    unsafe fn round(v: __m512) -> __m256i {
        // SAFETY: the caller promises avx512bf16; both are 32 bytes in which any bits are a value.
        unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)) }
    }
    #[inline(always)]
    unsafe fn round_two([first, second]: [__m512; 2]) -> __m512i {
        // SAFETY: the caller promises avx512bf16; both are 64 bytes in which any bits are a value.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
    }
    #[inline(always)]
    unsafe fn pair(first: __m512, second: __m512) -> __m512 {
        // SAFETY: the caller promises avx512bf16 and avx512bw.
        unsafe { _mm512_castsi512_ps(_mm512_permutexvar_epi16(in_turn(), Self::round_two([first, second]))) }
    }
    #[inline(always)]
    unsafe fn nearest(x: __m512) -> __m512 {
        // SAFETY: the caller promises avx512dq. What is left of a number is found in half the time that the integer takes.
        unsafe { _mm512_sub_ps(x, _mm512_reduce_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(x)) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the caller promises avx512bf16; both are 64 bytes in which any bits are a value.
        unsafe {
            let [a, b] = [a, b].map(|v| std::mem::transmute::<__m512, __m512bh>(v));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}

/// The upper halves as f32. Not a closure: what a closure calls is compiled without the instruction set unless it happens to be inlined.
///
/// # Safety
/// The processor must have avx512f.
#[inline(always)]
unsafe fn upper_512(v: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(UPPER))) }
}

/// The lower halves as f32.
///
/// # Safety
/// The processor must have avx512f.
#[inline(always)]
unsafe fn lower_512(v: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v))) }
}

/// Where the first and the second sixteen words come from that stand in turn.
///
/// # Safety
/// The processor must have avx512f.
#[inline(always)]
unsafe fn in_turn() -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_or_si512(lanes, _mm512_slli_epi32::<16>(_mm512_add_epi32(lanes, _mm512_set1_epi32(16))))
    }
}

/// What is added before the lower half is cut off, and one more where the upper half is odd: so ties go to even.
const HALF: i32 = 0x7fff;

/// The bit that makes a NaN quiet, and keeps one whose other bits are all cut off a NaN.
const QUIET: i32 = 0x0040_0000;

const UPPER: i32 = 0xffff_0000_u32.cast_signed();

/// The nearest bf16 of each lane in its upper half; the lower half is anything.
///
/// # Safety
/// The processor must have avx2.
#[inline(always)]
pub(super) unsafe fn round_256(v: __m256) -> __m256i {
    // SAFETY: the caller promises avx2.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(HALF)));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(QUIET));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        _mm256_blendv_epi8(rounded, quiet, nan)
    }
}

/// The upper halves as f32.
///
/// # Safety
/// The processor must have avx2.
#[inline(always)]
pub(super) unsafe fn upper_256(v: __m256) -> __m256 {
    // SAFETY: the caller promises avx2.
    unsafe { _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(UPPER))) }
}

/// The lower halves as f32.
///
/// # Safety
/// The processor must have avx2.
#[inline(always)]
pub(super) unsafe fn lower_256(v: __m256) -> __m256 {
    // SAFETY: the caller promises avx2.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v))) }
}
