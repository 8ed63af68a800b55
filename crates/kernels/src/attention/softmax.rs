//! The online softmax: rows of scores become weights, relative to the largest score so far. All in base 2: scores come
//! multiplied by log2(e).

use super::Attention;
use crate::activation::tanh;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::TILE_ROWS;
use crate::vector::{self, load, store};
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// What queries are multiplied by, so that their dot products with keys are scores in base 2, or are ready for [`soft_cap`].
pub(super) fn query_factor(spec: &Attention<'_>) -> f32 {
    spec.softcap.map_or(spec.scale * LOG2_E, |cap| spec.scale / cap)
}

/// States of some rows: the largest score so far, and relative to it the sum of weights by lanes and the weighted sum of values.
pub(super) struct States<'a> {
    pub(super) max: &'a mut [f32],
    /// `[rows, MAX_LANES]`
    pub(super) sums: &'a mut [f32],
    /// `[rows, out_stride]`
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
}

impl States<'_> {
    /// Turns the scores of every row, whole vectors in `columns` of rows `stride` apart, into weights, and makes the states
    /// relative to the new maxima. A score of minus infinity has weight zero.
    ///
    /// Rows go through each step together, at most [`TILE_ROWS`] of them: a row alone would wait for its own results.
    #[inline(always)]
    pub(super) fn absorb<S: Simd>(self, simd: S, scores: &mut [f32], stride: usize, columns: Range<usize>) {
        let rows = self.max.len();
        let mut tops = [f32::NEG_INFINITY; TILE_ROWS];
        for i in 0..rows {
            tops[i] = vector::max(simd, &scores[i * stride..][columns.clone()]).max(self.max[i]);
        }
        let mut shrink = [1.0; MAX_LANES];
        let gap = simd.sub(load(simd, self.max), load(simd, &tops[..rows]));
        store(simd, &mut shrink[..rows], simd.exp2(gap));
        for i in 0..rows {
            // A row that saw nothing before has nothing to make smaller.
            if tops[i] != self.max[i] && self.max[i] != f32::NEG_INFINITY {
                let shrink = simd.splat(shrink[i]);
                each_vector(simd, &mut self.sums[i * MAX_LANES..][..S::LANES], |sum| simd.mul(sum, shrink));
                each_vector(simd, &mut self.out[i * self.out_stride..][..self.out_stride], |out| simd.mul(out, shrink));
            }
            self.max[i] = tops[i];
        }
        for i in 0..rows {
            // Before the first visible key there is nothing to be relative to.
            let shift = simd.splat(if tops[i] == f32::NEG_INFINITY { 0.0 } else { tops[i] });
            let sums = &mut self.sums[i * MAX_LANES..][..S::LANES];
            let mut sum = load(simd, sums);
            each_vector(simd, &mut scores[i * stride..][columns.clone()], |score| {
                let weight = simd.exp2(simd.sub(score, shift));
                sum = simd.add(sum, weight);
                weight
            });
            store(simd, sums, sum);
        }
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
