//! SSE2, which is part of x86-64: that is what every `unsafe` block below that calls a value intrinsic rests on.

use core::arch::x86_64::*;
use half::{bf16, f16};

pub(in crate::simd) type Four = __m128;

value_operations! {
    add(a, b) = _mm_add_ps(a, b);
    sub(a, b) = _mm_sub_ps(a, b);
    mul(a, b) = _mm_mul_ps(a, b);
    div(a, b) = _mm_div_ps(a, b);
    // Two roundings: one would be a call into libm for each lane.
    fma(a, b, c) = _mm_add_ps(_mm_mul_ps(a, b), c);
    max(a, b) = _mm_max_ps(a, b);
    min(a, b) = _mm_min_ps(a, b);
    sqrt(a) = _mm_sqrt_ps(a);
    // Adding and taking away 1.5 * 2^23 rounds to even; callers stay below 2^22.
    round(a) = _mm_sub_ps(_mm_add_ps(a, _mm_set1_ps(12_582_912.0)), _mm_set1_ps(12_582_912.0));
    pow2(n) = _mm_castsi128_ps(_mm_slli_epi32::<23>(_mm_add_epi32(_mm_cvttps_epi32(n), _mm_set1_epi32(127))));
    select_lt(a, b, yes, no) = choose(_mm_cmplt_ps(a, b), yes, no);
    upper(a) = _mm_and_ps(a, _mm_castsi128_ps(_mm_set1_epi32(UPPER)));
    lower(a) = _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_castps_si128(a)));
    pair(first, second) = _mm_or_ps(
        _mm_castsi128_ps(_mm_srli_epi32::<16>(rounded(first))),
        upper(_mm_castsi128_ps(rounded(second))),
    );
}

/// The half of a lane that a bf16 keeps.
const UPPER: i32 = !0xffff;

/// `yes` where the lane of `mask` is all ones, `no` where it is zero.
#[inline(always)]
fn choose(mask: Four, yes: Four, no: Four) -> Four {
    // SAFETY: x86-64 has SSE2.
    unsafe { _mm_or_ps(_mm_and_ps(mask, yes), _mm_andnot_ps(mask, no)) }
}

/// Each lane rounded to bf16, in its upper half; the lower half is anything.
#[inline(always)]
fn rounded(a: Four) -> __m128i {
    // SAFETY: x86-64 has SSE2.
    unsafe {
        let bits = _mm_castps_si128(a);
        let odd = _mm_and_si128(_mm_srli_epi32::<16>(bits), _mm_set1_epi32(1));
        let even = _mm_add_epi32(_mm_add_epi32(bits, _mm_set1_epi32(0x7fff)), odd);
        let quiet = _mm_or_si128(bits, _mm_set1_epi32(0x40_0000));
        _mm_castps_si128(choose(_mm_cmpunord_ps(a, a), _mm_castsi128_ps(quiet), _mm_castsi128_ps(even)))
    }
}

#[inline(always)]
pub(in crate::simd) fn splat(x: f32) -> Four {
    // SAFETY: x86-64 has SSE2.
    unsafe { _mm_set1_ps(x) }
}

#[inline(always)]
pub(in crate::simd) fn to_array(a: Four) -> [f32; 4] {
    bytemuck::cast(a)
}

/// # Safety
/// `p` must be valid for reading four values.
#[inline(always)]
pub(in crate::simd) unsafe fn load(p: *const f32) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe { _mm_loadu_ps(p) }
}

/// # Safety
/// `p` must be valid for writing four values.
#[inline(always)]
pub(in crate::simd) unsafe fn store(p: *mut f32, a: Four) {
    // SAFETY: the caller promises four writable values.
    unsafe { _mm_storeu_ps(p, a) }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_bf16(p: *const bf16) -> Four {
    // SAFETY: the caller promises four readable values, eight bytes.
    unsafe { _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64(p.cast()))) }
}

/// # Safety
/// As [`store`].
#[inline(always)]
pub(in crate::simd) unsafe fn store_bf16(p: *mut bf16, a: Four) {
    // SAFETY: the caller promises four writable values, eight bytes.
    unsafe {
        // Shifted down with the sign, so that packing, which saturates, changes nothing.
        let bits = _mm_srai_epi32::<16>(rounded(a));
        _mm_storel_epi64(p.cast(), _mm_packs_epi32(bits, bits));
    }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_f16(p: *const f16) -> Four {
    // SAFETY: the caller promises four readable values, eight bytes.
    unsafe {
        let bits = _mm_unpacklo_epi16(_mm_loadl_epi64(p.cast()), _mm_setzero_si128());
        let sign = _mm_slli_epi32::<16>(_mm_and_si128(bits, _mm_set1_epi32(0x8000)));
        let magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fff));
        // Exponent and mantissa where an f32 has them, times 2^112, the difference of the biases: also right below the normal numbers.
        let scaled =
            _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32::<13>(magnitude)), _mm_set1_ps(f32::from_bits((112 + 127) << 23)));
        // Infinity and NaN keep the largest exponent.
        let special = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff)), _mm_set1_epi32(0x7f80_0000));
        _mm_or_ps(scaled, _mm_castsi128_ps(_mm_or_si128(sign, special)))
    }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_i8(p: *const i8) -> Four {
    // SAFETY: the caller promises four readable bytes.
    unsafe {
        let bytes = _mm_cvtsi32_si128(p.cast::<i32>().read_unaligned());
        // Each byte to the top of its lane, and down again with its sign.
        let twice = _mm_unpacklo_epi8(bytes, bytes);
        _mm_cvtepi32_ps(_mm_srai_epi32::<24>(_mm_unpacklo_epi16(twice, twice)))
    }
}

/// The lanes `c` of all four, for `c` in 0..4.
#[inline(always)]
pub(in crate::simd) fn transpose([a, b, c, d]: [Four; 4]) -> [Four; 4] {
    // SAFETY: x86-64 has SSE2.
    unsafe {
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab), _mm_movelh_ps(ab_high, cd_high), _mm_movehl_ps(cd_high, ab_high)]
    }
}
