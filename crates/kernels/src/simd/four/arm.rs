//! NEON, which is part of Arm64: that is what every `unsafe` block below that calls a value intrinsic rests on.

use core::arch::aarch64::*;
use half::{bf16, f16};

pub(in crate::simd) type Four = float32x4_t;

value_operations! {
    add(a, b) = vaddq_f32(a, b);
    sub(a, b) = vsubq_f32(a, b);
    mul(a, b) = vmulq_f32(a, b);
    div(a, b) = vdivq_f32(a, b);
    fma(a, b, c) = vfmaq_f32(c, a, b);
    // The instructions of that name give NaN where either is.
    max(a, b) = vbslq_f32(vcgtq_f32(a, b), a, b);
    min(a, b) = vbslq_f32(vcltq_f32(a, b), a, b);
    sqrt(a) = vsqrtq_f32(a);
    round(a) = vrndnq_f32(a);
    pow2(n) = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127))));
    select_lt(a, b, yes, no) = vbslq_f32(vcltq_f32(a, b), yes, no);
    upper(a) = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0xffff_0000)));
    lower(a) = vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(a)));
    pair(first, second) = vreinterpretq_f32_u32(vsriq_n_u32::<16>(rounded(second), rounded(first)));
}

/// Each lane rounded to bf16, in its upper half; the lower half is anything.
#[inline(always)]
fn rounded(a: Four) -> uint32x4_t {
    // SAFETY: Arm64 has NEON.
    unsafe {
        let bits = vreinterpretq_u32_f32(a);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let even = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
        // A number equals itself, NaN does not.
        vbslq_u32(vceqq_f32(a, a), even, vorrq_u32(bits, vdupq_n_u32(0x40_0000)))
    }
}

#[inline(always)]
pub(in crate::simd) fn splat(x: f32) -> Four {
    // SAFETY: Arm64 has NEON.
    unsafe { vdupq_n_f32(x) }
}

#[inline(always)]
pub(in crate::simd) fn to_array(a: Four) -> [f32; 4] {
    let mut lanes = [0.0; 4];
    // SAFETY: the array has four values.
    unsafe { store(lanes.as_mut_ptr(), a) };
    lanes
}

/// # Safety
/// `p` must be valid for reading four values.
#[inline(always)]
pub(in crate::simd) unsafe fn load(p: *const f32) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe { vld1q_f32(p) }
}

/// # Safety
/// `p` must be valid for writing four values.
#[inline(always)]
pub(in crate::simd) unsafe fn store(p: *mut f32, a: Four) {
    // SAFETY: the caller promises four writable values.
    unsafe { vst1q_f32(p, a) }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_bf16(p: *const bf16) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(p.cast())))) }
}

/// # Safety
/// As [`store`].
#[inline(always)]
pub(in crate::simd) unsafe fn store_bf16(p: *mut bf16, a: Four) {
    // SAFETY: the caller promises four writable values.
    unsafe { vst1_u16(p.cast(), vshrn_n_u32::<16>(rounded(a))) }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_f16(p: *const f16) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe {
        let bits = vmovl_u16(vld1_u16(p.cast()));
        let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
        let magnitude = vandq_u32(bits, vdupq_n_u32(0x7fff));
        // Exponent and mantissa where an f32 has them, times 2^112, the difference of the biases: also right below the normal numbers.
        let moved = vreinterpretq_f32_u32(vshlq_n_u32::<13>(magnitude));
        let scaled = vreinterpretq_u32_f32(vmulq_f32(moved, vdupq_n_f32(f32::from_bits((112 + 127) << 23))));
        // Infinity and NaN keep the largest exponent.
        let special = vandq_u32(vcgtq_u32(magnitude, vdupq_n_u32(0x7bff)), vdupq_n_u32(0x7f80_0000));
        vreinterpretq_f32_u32(vorrq_u32(scaled, vorrq_u32(sign, special)))
    }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_i8(p: *const i8) -> Four {
    // SAFETY: the caller promises four readable bytes.
    unsafe {
        let bytes = vcreate_s8(u64::from(p.cast::<u32>().read_unaligned()));
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
    }
}

/// The lanes `c` of all four, for `c` in 0..4.
#[inline(always)]
pub(in crate::simd) fn transpose([a, b, c, d]: [Four; 4]) -> [Four; 4] {
    // SAFETY: Arm64 has NEON.
    unsafe {
        let pairs = [vtrn1q_f32(a, b), vtrn2q_f32(a, b), vtrn1q_f32(c, d), vtrn2q_f32(c, d)];
        let [ab_even, ab_odd, cd_even, cd_odd] = pairs.map(|pair| vreinterpretq_f64_f32(pair));
        let columns =
            [vtrn1q_f64(ab_even, cd_even), vtrn1q_f64(ab_odd, cd_odd), vtrn2q_f64(ab_even, cd_even), vtrn2q_f64(ab_odd, cd_odd)];
        columns.map(|column| vreinterpretq_f32_f64(column))
    }
}
