//! The online softmax: rows of scores become weights, relative to the largest score so far. All in base 2: scores come
//! multiplied by log2(e).

use super::Attention;
use crate::activation::tanh;
use crate::simd::Simd;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// What queries are multiplied by, so that their dot products with keys are scores in base 2, or are ready for [`soft_cap`].
pub(super) fn query_factor(spec: &Attention<'_>) -> f32 {
    spec.softcap.map_or(spec.scale * LOG2_E, |cap| spec.scale / cap)
}

/// One row's state: the largest score so far, the sum of weights by lanes, and the weighted sum of values, both relative to it.
pub(super) struct Row<'a> {
    pub(super) max: &'a mut f32,
    pub(super) sums: &'a mut [f32],
    pub(super) out: &'a mut [f32],
}

impl Row<'_> {
    /// Turns `scores`, whole vectors, into weights, and makes the state relative to the new maximum. A score of minus infinity
    /// has weight zero.
    #[inline(always)]
    pub(super) fn absorb<S: Simd>(self, simd: S, scores: &mut [f32]) {
        let mut top = simd.splat(*self.max);
        each_vector(simd, scores, |score| {
            top = simd.max(score, top);
            score
        });
        let max = simd.reduce_max(top);
        if max != *self.max {
            let shrink = simd.exp2(simd.splat(*self.max - max));
            each_vector(simd, self.sums, |sum| simd.mul(sum, shrink));
            each_vector(simd, self.out, |out| simd.mul(out, shrink));
            *self.max = max;
        }
        // Before the first visible key there is nothing to be relative to.
        let shift = simd.splat(if max == f32::NEG_INFINITY { 0.0 } else { max });
        let mut sum = simd.splat(0.0);
        each_vector(simd, scores, |score| {
            let weight = simd.exp2(simd.sub(score, shift));
            sum = simd.add(sum, weight);
            weight
        });
        each_vector(simd, &mut self.sums[..S::LANES], |old| simd.add(old, sum));
    }
}

/// Replaces each vector of `values`, which are whole vectors.
///
/// # Panics
/// If they are not.
#[inline(always)]
pub(super) fn each_vector<S: Simd>(simd: S, values: &mut [f32], mut f: impl FnMut(S::V) -> S::V) {
    assert!(values.len().is_multiple_of(S::LANES), "{} values are not whole vectors", values.len());
    for i in (0..values.len()).step_by(S::LANES) {
        // SAFETY: `i + LANES <= len`, since `len` and `i` are multiples of LANES.
        unsafe {
            let p = values.as_mut_ptr().add(i);
            simd.store(p, f(simd.load(p)));
        }
    }
}

/// Replaces the values in `within` that are in none of the `visible` ranges, which ascend and lie within it.
#[inline(always)]
pub(super) fn hide(values: &mut [f32], within: Range<usize>, visible: &[Range<usize>; 2], by: f32) {
    let mut shown = within.start;
    for range in visible.iter().filter(|range| !range.is_empty()) {
        values[shown..range.start].fill(by);
        shown = range.end;
    }
    values[shown..within.end].fill(by);
}

/// What a row's sums come to.
pub(super) struct Finished {
    /// What the weighted sum of values is multiplied by.
    pub(super) factor: f32,
    /// Log-sum-exp of the scores, in base e.
    pub(super) lse: f32,
}

/// Ends a row whose weights, relative to `max`, add to `sum`. `sink` is in base e.
pub(super) fn finish(max: f32, sum: f32, sink: Option<f32>) -> Finished {
    let Some(sink) = sink else {
        let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
        return Finished { factor, lse: max * LN_2 + sum.ln() };
    };
    let sink = sink * LOG2_E;
    let top = max.max(sink);
    let shrink = (max - top).exp2();
    let sum = sum * shrink + (sink - top).exp2();
    Finished { factor: shrink / sum, lse: top * LN_2 + sum.ln() }
}

/// `cap * tanh(x)`, for scores that come divided by the cap.
#[inline(always)]
pub(super) fn soft_cap<S: Simd>(simd: S, cap: S::V, x: S::V) -> S::V {
    simd.mul(cap, tanh(simd, x))
}
