//! Operations of every instruction set against plain arithmetic.

use super::{Kernel, MAX_LANES, Simd};
use crate::isa::Isa;
use half::bf16;

/// Applies an operation to some vectors of values, on every instruction set, with pairs of bf16 and without.
fn on_every_isa<K: Kernel<Output = Vec<f32>> + Copy>(kernel: K) -> Vec<(String, Vec<f32>)> {
    let runs = |isa: Isa| [(format!("{isa:?}"), isa.run(kernel)), (format!("{isa:?} with pairs"), isa.run_pairs(kernel))];
    Isa::available().into_iter().flat_map(runs).collect()
}

#[derive(Clone, Copy)]
struct Powers<'a>(&'a [f32]);

impl Kernel for Powers<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut powers = vec![f32::NAN; self.0.len()];
        for (x, y) in self.0.chunks_exact(S::LANES).zip(powers.chunks_exact_mut(S::LANES)) {
            // SAFETY: both are whole vectors.
            unsafe { simd.store(y.as_mut_ptr(), simd.exp2(simd.load(x.as_ptr()))) };
        }
        powers
    }
}

#[test]
fn powers_of_two_are_within_two_units() {
    let step = if cfg!(miri) { 7.31 } else { 0.0137 };
    let mut x: Vec<f32> = (0..).map(|i| -140.0 + i as f32 * step).take_while(|x| *x < 127.0).collect();
    x.extend([0.0, -0.0, 1.0, -126.0, -126.6, -127.0, -1e4, f32::MIN, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7fc0_0001)]);
    x.resize(x.len().next_multiple_of(MAX_LANES), 0.5);
    for (isa, powers) in on_every_isa(Powers(&x)) {
        for (x, got) in x.iter().zip(powers) {
            let want = f64::from(*x).exp2();
            let off = (f64::from(got) - want).abs() / f64::from(f32::EPSILON) / want;
            let fits = match *x {
                x if x.is_nan() => got.is_nan(),
                x if x < -126.5 => got == 0.0,
                x if x < -126.0 => got == 0.0 || off <= 2.0,
                _ => off <= 2.0,
            };
            assert!(fits, "2^{x} on {isa}: got {got:e}, want {want:e}");
        }
    }
}

/// Pairs of neighbours, once as lanes and once as two vectors in a row.
#[derive(Clone, Copy)]
struct Rounded<'a>(&'a [f32]);

impl Kernel for Rounded<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut all = Vec::new();
        for x in self.0.chunks_exact(2 * S::LANES) {
            let (mut in_turn, mut in_a_row) = ([bf16::ZERO; 2 * MAX_LANES], [bf16::ZERO; 2 * MAX_LANES]);
            // SAFETY: two whole vectors are read, and as many values have room.
            unsafe {
                let (first, second) = (simd.load(x.as_ptr()), simd.load(x.as_ptr().add(S::LANES)));
                simd.store(in_turn.as_mut_ptr().cast(), simd.pair(first, second));
                simd.store_bf16_two(in_a_row.as_mut_ptr(), [first, second]);
            }
            for lane in 0..S::LANES {
                assert_eq!(in_turn[2 * lane].to_bits(), in_a_row[lane].to_bits(), "first of lane {lane} of {x:?}");
                assert_eq!(
                    in_turn[2 * lane + 1].to_bits(),
                    in_a_row[S::LANES + lane].to_bits(),
                    "second of lane {lane} of {x:?}"
                );
            }
            all.extend(in_a_row[..2 * S::LANES].iter().map(|x| x.to_f32()));
        }
        all
    }
}

#[test]
fn pairs_are_rounded_to_the_nearest() {
    let mut x: Vec<f32> = (0..200u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x1357)).collect();
    // Ties, which go to even, and what overflows.
    x.extend([0x3f80_8000, 0x3f81_8000, 0xbf80_8000, 0x7f7f_ffff, 0xff7f_8000].map(f32::from_bits));
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7f80_0001)]);
    x.resize(x.len().next_multiple_of(2 * MAX_LANES), -1.0);
    for (isa, rounded) in on_every_isa(Rounded(&x)) {
        for (x, got) in x.iter().zip(rounded) {
            let want = bf16::from_f32(*x).to_f32();
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{x:e} on {isa}: got {got:e}, want {want:e}"
            );
        }
    }
}
