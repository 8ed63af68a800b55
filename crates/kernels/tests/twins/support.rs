//! Inputs, runs on every machine, and differences.

use crate::check::{LONG, ODD, Random, TWO, assert_close_at, assert_same_bits, instruction_sets};
use attendant_kernels::{Inline, Isa, Machine};
use std::ops::Range;

/// Slices of odd lengths, one after the other, and at last one that is cut into several work items. A kernel is run on each,
/// and compared on all of them together: roundings of one value alone are no measure.
pub(crate) fn pieces() -> Vec<Range<usize>> {
    let mut end = 0;
    let mut next = |len: usize| {
        end += len;
        end - len..end
    };
    ODD.iter().copied().chain([0, LONG]).map(&mut next).collect()
}

/// Values in all [`pieces`].
pub(crate) fn pieces_len() -> usize {
    pieces().last().map_or(0, |last| last.end)
}

/// Uniform in `range`.
pub(crate) fn within(random: &mut Random, n: usize, range: Range<f32>) -> Vec<f32> {
    let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32;
    (0..n).map(|_| range.start + (range.end - range.start) * unit(random.bits())).collect()
}

/// Uniform in -1..1.
pub(crate) fn signed(random: &mut Random, n: usize) -> Vec<f32> {
    within(random, n, -1.0..1.0)
}

/// What gradients are added to: large enough that no sum nearly cancels, which would show roundings as errors.
pub(crate) fn present(random: &mut Random, n: usize) -> Vec<f32> {
    within(random, n, 2.0..3.0)
}

/// Ascending sequences of the given lengths, with a row that belongs to none before each.
pub(crate) fn sequences(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let mut next = |len: usize| {
        let start = end + 1;
        end = start + len;
        start..end
    };
    lengths.iter().map(|len| next(*len)).collect()
}

/// The twins ignore the machine.
pub(crate) fn any() -> Machine<'static> {
    Machine { isa: Isa::SCALAR, executor: &Inline }
}

/// Runs `kernel` on every instruction set, with one and with two threads: the outputs must be the same bits for both, and
/// within `bound` of what the twin gave. Inputs are of order one: an output far below is one value, or two, of terms that cancel.
pub(crate) fn hold<const N: usize>(what: &str, bound: f64, twin: [Vec<f32>; N], kernel: impl Fn(Machine<'_>) -> [Vec<f32>; N]) {
    for isa in instruction_sets() {
        let one = kernel(Machine { isa, executor: &Inline });
        let two = kernel(Machine { isa, executor: &*TWO });
        for (i, twin) in twin.iter().enumerate() {
            assert_close_at(&format!("{what}, output {i}, {isa:?}"), &one[i], twin, 0.1, bound);
            assert_same_bits(&format!("{what}, output {i}, {isa:?}, two threads"), &two[i], &one[i]);
        }
    }
}

/// The derivatives of `f` at `x`, by central differences. `f` rounds to single precision, so these are good to about 1e-4.
pub(crate) fn differences<const N: usize>(x: [&[f32]; N], f: impl Fn(&[Vec<f32>; N]) -> f64) -> [Vec<f32>; N] {
    std::array::from_fn(|k| {
        let slope = |i: usize| {
            let mut moved = x.map(<[f32]>::to_vec);
            let (up, down) = (x[k][i] + 0.01, x[k][i] - 0.01);
            moved[k][i] = up;
            let above = f(&moved);
            moved[k][i] = down;
            ((above - f(&moved)) / (f64::from(up) - f64::from(down))) as f32
        };
        (0..x[k].len()).map(slope).collect()
    })
}

/// What [`differences`] are good to, by the metric of [`assert_close`].
pub(crate) const DIFFERENCE: f64 = 1e-3;

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
