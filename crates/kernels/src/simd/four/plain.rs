//! An array of four, for processors whose vectors are not named here. The compiler turns the loops into whatever they have.

use half::{bf16, f16};

pub(in crate::simd) type Four = [f32; 4];

#[inline(always)]
fn each(a: Four, b: Four, f: impl Fn(f32, f32) -> f32) -> Four {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
pub(in crate::simd) fn add(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a + b)
}

#[inline(always)]
pub(in crate::simd) fn sub(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a - b)
}

#[inline(always)]
pub(in crate::simd) fn mul(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a * b)
}

#[inline(always)]
pub(in crate::simd) fn div(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a / b)
}

/// Two roundings: without hardware that has one, it is a call into libm for each lane.
#[inline(always)]
pub(in crate::simd) fn fma(a: Four, b: Four, c: Four) -> Four {
    add(mul(a, b), c)
}

#[inline(always)]
pub(in crate::simd) fn max(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if a > b { a } else { b })
}

#[inline(always)]
pub(in crate::simd) fn min(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if a < b { a } else { b })
}

#[inline(always)]
pub(in crate::simd) fn sqrt(a: Four) -> Four {
    a.map(f32::sqrt)
}

#[inline(always)]
pub(in crate::simd) fn round(a: Four) -> Four {
    // Adding and taking away 1.5 * 2^23 rounds to even and needs no library call; callers stay below 2^22.
    const MAGIC: f32 = 12_582_912.0;
    a.map(|x| (x + MAGIC) - MAGIC)
}

#[inline(always)]
pub(in crate::simd) fn pow2(n: Four) -> Four {
    n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
}

#[inline(always)]
pub(in crate::simd) fn select_lt(a: Four, b: Four, yes: Four, no: Four) -> Four {
    std::array::from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
}

#[inline(always)]
pub(in crate::simd) fn upper(a: Four) -> Four {
    a.map(|x| f32::from_bits(x.to_bits() & 0xffff_0000))
}

#[inline(always)]
pub(in crate::simd) fn lower(a: Four) -> Four {
    a.map(|x| f32::from_bits(x.to_bits() << 16))
}

#[inline(always)]
pub(in crate::simd) fn pair(first: Four, second: Four) -> Four {
    each(first, second, |first, second| bytemuck::cast([first, second].map(bf16::from_f32)))
}

#[inline(always)]
pub(in crate::simd) fn splat(x: f32) -> Four {
    [x; 4]
}

#[inline(always)]
pub(in crate::simd) fn to_array(a: Four) -> [f32; 4] {
    a
}

/// # Safety
/// `p` must be valid for reading four values.
#[inline(always)]
pub(in crate::simd) unsafe fn load(p: *const f32) -> Four {
    // SAFETY: the caller promises four readable values; an unaligned read needs no more.
    unsafe { p.cast::<Four>().read_unaligned() }
}

/// # Safety
/// `p` must be valid for writing four values.
#[inline(always)]
pub(in crate::simd) unsafe fn store(p: *mut f32, a: Four) {
    // SAFETY: the caller promises four writable values; an unaligned write needs no more.
    unsafe { p.cast::<Four>().write_unaligned(a) }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_bf16(p: *const bf16) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe { p.cast::<[bf16; 4]>().read() }.map(bf16::to_f32)
}

/// # Safety
/// As [`store`].
#[inline(always)]
pub(in crate::simd) unsafe fn store_bf16(p: *mut bf16, a: Four) {
    // SAFETY: the caller promises four writable values.
    unsafe { p.cast::<[bf16; 4]>().write(a.map(bf16::from_f32)) }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_f16(p: *const f16) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe { p.cast::<[f16; 4]>().read() }.map(f16::to_f32_const)
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub(in crate::simd) unsafe fn load_i8(p: *const i8) -> Four {
    // SAFETY: the caller promises four readable values.
    unsafe { p.cast::<[i8; 4]>().read() }.map(f32::from)
}

/// The lanes `c` of all four, for `c` in 0..4.
#[inline(always)]
pub(in crate::simd) fn transpose(all: [Four; 4]) -> [Four; 4] {
    std::array::from_fn(|c| all.map(|a| a[c]))
}
