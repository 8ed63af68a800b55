//! AVX2 with FMA, and AVX-512.
//!
//! Every `unsafe` block below that calls a value intrinsic rests on one fact: the token (`Avx2`, `Avx512`) is private to
//! this module and made only by the shells `run_*`, whose callers have checked the processor.

use super::{Kernel, MAX_LANES, Simd};
use core::arch::x86_64::*;
use half::{bf16, f16};
use pairs::{Dots, Pairs, Widened};

pub(crate) use integer::{run_integer_amx, run_integer_avx2, run_integer_vnni};
pub(crate) use squares::available as has_amx;

mod integer;
mod pairs;
mod squares;

/// Whether Intel made the processor.
pub(crate) fn is_intel() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx] == [*b"Genu", *b"ineI", *b"ntel"].map(u32::from_le_bytes)
}

#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// AVX-512, and how it multiplies pairs of bf16.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<P>(P);

/// Runs `kernel` compiled with AVX2, FMA and F16C.
///
/// # Safety
/// The processor must have avx2, fma and f16c.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Runs `kernel` compiled with AVX-512.
///
/// # Safety
/// The processor must have avx512f, avx2, fma and f16c.
pub(crate) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { run_widened(Widened { squares: false }, kernel) }
}

/// As [`run_avx512`], where kernels may call others with squares.
///
/// # Safety
/// As [`run_amx`].
pub(crate) unsafe fn run_avx512_beside_amx<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { run_widened(Widened { squares: true }, kernel) }
}

/// The shell of both.
///
/// # Safety
/// As theirs, as the flag of `widened` says.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn run_widened<K: Kernel>(widened: Widened, kernel: K) -> K::Output {
    kernel.run(Avx512(widened))
}

/// Runs `kernel` compiled with AVX-512 and its instructions for bf16.
///
/// # Safety
/// The processor must have avx512f, avx512bw, avx512dq, avx512bf16, avx2, fma and f16c.
pub(crate) unsafe fn run_avx512_bf16<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { run_dots(Dots { squares: false }, kernel) }
}

/// Runs `kernel` compiled with AVX-512 and its instructions for bf16, beside those of AMX.
///
/// # Safety
/// As [`run_avx512_bf16`], and [`has_amx`] must have said so.
pub(crate) unsafe fn run_amx<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe {
        squares::configure();
        let output = run_dots(Dots { squares: true }, kernel);
        squares::release();
        output
    }
}

/// The shell of both.
///
/// # Safety
/// As theirs, as the flag of `dots` says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn run_dots<K: Kernel>(dots: Dots, kernel: K) -> K::Output {
    kernel.run(Avx512(dots))
}

/// Value intrinsics as trait methods.
macro_rules! value_operations {
    ($($name:ident($($arg:ident),+) = $intrinsic:expr;)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: Self::V),+) -> Self::V {
                // SAFETY: the token proves the features (see the head of this file).
                unsafe { $intrinsic }
            }
        )+
    };
}

/// Lane masks for `_mm256_maskload_ps`: reading eight values from position 8 - n enables the first n lanes.
static LANE_MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Avx2 {
    #[inline(always)]
    fn mask(self, lanes: usize) -> __m256i {
        let start = &LANE_MASK[8 - lanes.min(8)..];
        // SAFETY: `start` has at least eight entries since it begins at position 8 or before; the token proves avx.
        unsafe { _mm256_loadu_si256(start.as_ptr().cast()) }
    }
}

/// Columns 0 to 3 of eight rows.
///
/// # Safety
/// The processor must have avx. Four values must be readable at `from + i * stride`, for `i` in `0..8`.
#[inline(always)]
unsafe fn load_columns_8x4(from: *const f32, stride: usize) -> [__m256; 4] {
    // SAFETY: all promised by the caller.
    unsafe {
        // Row i beside row i + 4 in one register, so that what is left to do stays within 128-bit halves.
        let mut pairs = [_mm256_setzero_ps(); 4];
        for i in 0..4 {
            let upper = _mm256_castps128_ps256(_mm_loadu_ps(from.add(i * stride)));
            pairs[i] = _mm256_insertf128_ps::<1>(upper, _mm_loadu_ps(from.add((i + 4) * stride)));
        }
        let [r0, r1, r2, r3] = pairs;
        let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
        let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(a, c),
            _mm256_shuffle_ps::<0b11_10_11_10>(a, c),
            _mm256_shuffle_ps::<0b01_00_01_00>(b, d),
            _mm256_shuffle_ps::<0b11_10_11_10>(b, d),
        ]
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_VECTORS: usize = 2;
    type V = __m256;

    #[inline(always)]
    unsafe fn load_columns(self, from: *const f32, stride: usize) -> [__m256; MAX_LANES] {
        let mut all = [self.splat(0.0); MAX_LANES];
        for part in [0, 4] {
            // SAFETY: halves of what the caller promises; the token proves avx.
            let four = unsafe { load_columns_8x4(from.add(part), stride) };
            all[part..part + 4].copy_from_slice(&four);
        }
        all
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch never faults; the token proves sse.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    fn prefetch_second(self, p: *const f32) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token proves avx2, fma and f16c.
        unsafe { run_avx2(kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves avx.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the caller promises eight readable values; the token proves avx.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the caller promises eight writable values; the token proves avx.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m256 {
        // SAFETY: the caller promises eight readable values; the token proves avx2.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, v: __m256) {
        // SAFETY: the caller promises eight writable values; the token proves avx2.
        unsafe {
            let bits = _mm256_srli_epi32::<16>(pairs::round_256(v));
            // Packing works within halves, and leaves theirs in the first and third quarter.
            let packed = _mm256_permute4x64_epi64::<0b10_00>(_mm256_packus_epi32(bits, bits));
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(packed));
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const f16) -> __m256 {
        // SAFETY: the caller promises eight readable values; the token proves f16c.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m256 {
        // SAFETY: the caller promises eight readable values; the token proves avx2.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i4(self, p: *const u8) -> __m256 {
        // SAFETY: the caller promises four readable bytes; the token proves avx2.
        unsafe {
            let all = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
            // Each number to the top of its lane, and down again with its sign.
            let up = _mm256_sllv_epi32(all, _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0));
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<28>(up))
        }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> __m256 {
        // SAFETY: the mask enables at most `x.len()` lanes and a masked lane is not read; the token proves avx.
        unsafe { _mm256_maskload_ps(x.as_ptr(), self.mask(x.len())) }
    }
    #[inline(always)]
    fn store_partial(self, y: &mut [f32], v: __m256) {
        // SAFETY: the mask enables at most `y.len()` lanes and a masked lane is not written; the token proves avx.
        unsafe { _mm256_maskstore_ps(y.as_mut_ptr(), self.mask(y.len()), v) }
    }

    value_operations! {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        div(a, b) = _mm256_div_ps(a, b);
        fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
        max(a, b) = _mm256_max_ps(a, b);
        min(a, b) = _mm256_min_ps(a, b);
        sqrt(a) = _mm256_sqrt_ps(a);
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        pow2(n) = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127))));
        select_lt(a, b, yes, no) = _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        pair(first, second) = _mm256_castsi256_ps(_mm256_blend_epi16::<0b1010_1010>(
            _mm256_srli_epi32::<16>(pairs::round_256(first)),
            pairs::round_256(second),
        ));
        dot(a, b, sum) = {
            let sum = _mm256_fmadd_ps(pairs::upper_256(a), pairs::upper_256(b), sum);
            _mm256_fmadd_ps(pairs::lower_256(a), pairs::lower_256(b), sum)
        };
    }

    #[inline(always)]
    fn reduce_add(self, a: __m256) -> f32 {
        // SAFETY: the token proves avx.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
    #[inline(always)]
    fn sum_each(self, vectors: [__m256; MAX_LANES]) -> __m256 {
        // SAFETY: the token proves avx.
        unsafe {
            // Four vectors become one of their sums within each 128-bit half.
            let mut fours = [_mm256_setzero_ps(); 2];
            for i in 0..2 {
                let [a, b, c, d] = [vectors[4 * i], vectors[4 * i + 1], vectors[4 * i + 2], vectors[4 * i + 3]];
                let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                fours[i] = _mm256_add_ps(_mm256_shuffle_ps::<0b01_00_01_00>(ab, cd), _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
            }
            let [a, b] = fours;
            _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        }
    }
    #[inline(always)]
    fn reduce_max(self, a: __m256) -> f32 {
        // SAFETY: the token proves avx.
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
}

impl<P: Pairs> Avx512<P> {
    #[inline(always)]
    fn mask(self, lanes: usize) -> __mmask16 {
        ((1u32 << lanes.min(16)) - 1) as __mmask16
    }
}

impl<P: Pairs> Simd for Avx512<P> {
    const LANES: usize = 16;
    const TILE_VECTORS: usize = 4;
    type V = __m512;

    #[inline(always)]
    unsafe fn load_columns(self, from: *const f32, stride: usize) -> [__m512; MAX_LANES] {
        let mut all = [self.splat(0.0); MAX_LANES];
        for part in [0, 4, 8, 12] {
            // SAFETY: parts of what the caller promises; the token proves avx and avx512f.
            unsafe {
                let upper = load_columns_8x4(from.add(part), stride);
                let lower = load_columns_8x4(from.add(8 * stride + part), stride);
                for j in 0..4 {
                    let upper = _mm512_castpd256_pd512(_mm256_castps_pd(upper[j]));
                    let both = _mm512_insertf64x4::<1>(upper, _mm256_castps_pd(lower[j]));
                    all[part + j] = _mm512_castpd_ps(both);
                }
            }
        }
        all
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch never faults; the token proves sse.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    fn prefetch_second(self, p: *const f32) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token proves what the shell that made it takes.
        unsafe { self.0.run(kernel) }
    }
    #[inline(always)]
    fn call_with_squares<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: as above.
        unsafe { self.0.run_with_squares(kernel) }
    }
    #[inline(always)]
    fn integers(self, v: __m512) -> __m512 {
        // SAFETY: the token proves avx512f.
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(v)) }
    }
    #[inline(always)]
    fn has_squares(self) -> bool {
        self.0.squares()
    }
    #[inline(always)]
    unsafe fn load_squares<const ROWS: usize, const COLS: usize>(self, from: Option<*const f32>, stride: usize) {
        // SAFETY: the caller's promise; a token with squares is made only while they are configured.
        unsafe { squares::load::<ROWS, COLS>(from, stride) }
    }
    #[inline(always)]
    unsafe fn multiply_squares<const ROWS: usize, const COLS: usize, const BYTES: bool>(
        self,
        a: [*const f32; 2],
        a_stride: usize,
        b: *const f32,
        b_stride: usize,
        steps: usize,
    ) {
        // SAFETY: as above.
        unsafe { squares::multiply::<ROWS, COLS, BYTES>(a, a_stride, b, b_stride, steps) }
    }
    #[inline(always)]
    unsafe fn store_squares<const ROWS: usize, const COLS: usize>(self, to: *mut f32, stride: usize) {
        // SAFETY: as above.
        unsafe { squares::store::<ROWS, COLS>(to, stride) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves avx512f.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller promises sixteen readable values; the token proves avx512f.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller promises sixteen writable values; the token proves avx512f.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m512 {
        // SAFETY: the caller promises sixteen readable values; the token proves avx512f.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, v: __m512) {
        // SAFETY: the caller promises sixteen writable values; the token proves what its kind of pairs takes.
        unsafe { _mm256_storeu_si256(p.cast(), P::round(v)) }
    }
    #[inline(always)]
    unsafe fn store_bf16_two(self, p: *mut bf16, v: [__m512; 2]) {
        // SAFETY: the caller promises 32 writable values; the token proves what its kind of pairs takes.
        unsafe { _mm512_storeu_si512(p.cast(), P::round_two(v)) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const f16) -> __m512 {
        // SAFETY: the caller promises sixteen readable values; the token proves avx512f.
        unsafe { _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512 {
        // SAFETY: the caller promises sixteen readable values; the token proves avx512f.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i4(self, p: *const u8) -> __m512 {
        // SAFETY: the caller promises eight readable bytes; the token proves avx512f.
        unsafe {
            let all = _mm512_set1_epi64(p.cast::<i64>().read_unaligned());
            let order = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
            let shift = _mm512_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
            // Each number to the top of its lane, and down again with its sign.
            let up = _mm512_sllv_epi32(_mm512_permutexvar_epi32(order, all), shift);
            _mm512_cvtepi32_ps(_mm512_srai_epi32::<28>(up))
        }
    }
    #[inline(always)]
    fn exp2(self, x: __m512) -> __m512 {
        // SAFETY: the token proves avx512f and what its kind of pairs takes.
        unsafe {
            let n = P::nearest(x);
            let power = _mm512_scalef_ps(self.exp2_of_fraction(_mm512_sub_ps(x, n)), n);
            // Smaller numbers are not normal, and slow. What is not below may be NaN.
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(-126.0)), power)
        }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> __m512 {
        // SAFETY: the mask enables at most `x.len()` lanes and a masked lane is not read; the token proves avx512f.
        unsafe { _mm512_maskz_loadu_ps(self.mask(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, y: &mut [f32], v: __m512) {
        // SAFETY: the mask enables at most `y.len()` lanes and a masked lane is not written; the token proves avx512f.
        unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), self.mask(y.len()), v) }
    }

    value_operations! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        max(a, b) = _mm512_max_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        sqrt(a) = _mm512_sqrt_ps(a);
        round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(a);
        pow2(n) = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127))));
        select_lt(a, b, yes, no) = _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes);
        pair(first, second) = P::pair(first, second);
        dot(a, b, sum) = P::dot(a, b, sum);
    }

    #[inline(always)]
    fn reduce_add(self, a: __m512) -> f32 {
        // SAFETY: the token proves avx512f.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn sum_each(self, vectors: [__m512; MAX_LANES]) -> __m512 {
        // SAFETY: the token proves avx512f.
        unsafe {
            // Four vectors become one of their sums within each 128-bit quarter, then quarters are added.
            let mut fours = [_mm512_setzero_ps(); 4];
            for i in 0..4 {
                let [a, b, c, d] = [vectors[4 * i], vectors[4 * i + 1], vectors[4 * i + 2], vectors[4 * i + 3]];
                let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                fours[i] = _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(ab, cd), _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd));
            }
            let [a, b, c, d] = fours;
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d));
            _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd))
        }
    }
    #[inline(always)]
    fn reduce_max(self, a: __m512) -> f32 {
        // SAFETY: the token proves avx512f.
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
