//! The processor's own fours against the plain ones, bit for bit.

use super::plain;
use half::{bf16, f16};

/// Ordinary numbers, and what is special to someone.
const VALUES: [f32; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.5,
    -2.5,
    0.1,
    -0.3,
    3e38,
    -3e38,
    1e-38,
    1e-45,
    -1e-45,
    65519.0,
    1.003_906_3,
    1.011_718_8,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
];

/// Of so many cases one is tried: an interpreter is slow.
const STEP: usize = if cfg!(miri) { 57 } else { 1 };

fn fours() -> impl Iterator<Item = [f32; 4]> {
    (0..400).step_by(STEP).map(|i| std::array::from_fn(|lane| VALUES[(7 * i + i / 20 * lane + lane * lane) % VALUES.len()]))
}

fn here(a: [f32; 4]) -> super::Four {
    // SAFETY: the array has four values.
    unsafe { super::load(a.as_ptr()) }
}

#[track_caller]
fn same(what: &str, got: super::Four, want: [f32; 4]) {
    let got = super::to_array(got);
    for i in 0..4 {
        let same = got[i].to_bits() == want[i].to_bits() || got[i].is_nan() && want[i].is_nan();
        assert!(same, "{what}, lane {i}: got {:e}, want {:e}", got[i], want[i]);
    }
}

#[test]
fn values_are_those_of_plain_loops() {
    for (a, b) in fours().zip(fours().skip(3)) {
        let what = format!("{a:?}, {b:?}");
        same(&format!("add {what}"), super::add(here(a), here(b)), plain::add(a, b));
        same(&format!("sub {what}"), super::sub(here(a), here(b)), plain::sub(a, b));
        same(&format!("mul {what}"), super::mul(here(a), here(b)), plain::mul(a, b));
        same(&format!("div {what}"), super::div(here(a), here(b)), plain::div(a, b));
        same(&format!("max {what}"), super::max(here(a), here(b)), plain::max(a, b));
        same(&format!("min {what}"), super::min(here(a), here(b)), plain::min(a, b));
        same(&format!("sqrt {what}"), super::sqrt(here(a)), plain::sqrt(a));
        same(&format!("pair {what}"), super::upper(super::pair(here(a), here(b))), plain::upper(plain::pair(a, b)));
        same(&format!("pair {what}"), super::lower(super::pair(here(a), here(b))), plain::lower(plain::pair(a, b)));
        let [yes, no] = [[1.0; 4], [2.0; 4]];
        same(&format!("select {what}"), super::select_lt(here(a), here(b), here(yes), here(no)), plain::select_lt(a, b, yes, no));
        let small = a.map(|x| x.clamp(-126.0, 127.0));
        // Zero may keep its sign or lose it.
        let rounded = super::add(super::round(here(small)), super::splat(0.0));
        same(&format!("round {what}"), rounded, plain::add(plain::round(small), plain::splat(0.0)));
        same(&format!("pow2 {what}"), super::pow2(here(small.map(f32::trunc))), plain::pow2(small.map(f32::trunc)));
        let square = [a, b, yes, no];
        for (got, want) in super::transpose(square.map(here)).into_iter().zip(plain::transpose(square)) {
            same(&format!("transpose {what}"), got, want);
        }
    }
}

#[test]
fn every_half_is_read_and_rounded_as_plain_loops_do() {
    for bits in (0..=u16::MAX).step_by(4).step_by(STEP).map(|first| [first, first + 1, first + 2, first + 3]) {
        let (halves, brain) = (bits.map(f16::from_bits), bits.map(bf16::from_bits));
        let bytes = bits.map(|bits| (bits >> 3) as i8);
        // SAFETY: each array has four values.
        unsafe {
            same("f16", super::load_f16(halves.as_ptr()), plain::load_f16(halves.as_ptr()));
            same("bf16", super::load_bf16(brain.as_ptr()), plain::load_bf16(brain.as_ptr()));
            same("i8", super::load_i8(bytes.as_ptr()), plain::load_i8(bytes.as_ptr()));
            // Between two neighbours: below the middle, in it, and above.
            for low in [0, 1, 0x7fff, 0x8000, 0x8001] {
                let between = bits.map(|bits| f32::from_bits(u32::from(bits) << 16 | low));
                let (mut got, mut want) = ([bf16::ZERO; 4], [bf16::ZERO; 4]);
                super::store_bf16(got.as_mut_ptr(), here(between));
                plain::store_bf16(want.as_mut_ptr(), between);
                for (got, want) in got.into_iter().zip(want) {
                    assert!(
                        got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                        "{between:?}: got {got}, want {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_moved_stays_as_it_is() {
    for a in fours() {
        let (mut got, mut want) = ([0.0; 4], [0.0; 4]);
        // SAFETY: each array has four values.
        unsafe {
            super::store(got.as_mut_ptr(), here(a));
            plain::store(want.as_mut_ptr(), plain::load(a.as_ptr()));
        }
        same("store", here(got), want);
        same("splat", super::splat(a[0]), plain::splat(a[0]));
        assert_eq!(super::to_array(here([1.0, 2.0, 3.0, 4.0])), plain::to_array([1.0, 2.0, 3.0, 4.0]));
    }
    // Exact in one rounding and in two.
    let [a, b, c] = [[3.0, -3.0, 0.5, 0.0], [4.0, 4.0, 4.0, f32::INFINITY], [5.0, 5.0, -2.0, 1.0]];
    same("fma", super::fma(here(a), here(b), here(c)), plain::fma(a, b, c));
}
