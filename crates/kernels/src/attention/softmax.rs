//! The online softmax: rows of scores become weights, relative to the largest score so far. All in base 2: scores come
//! multiplied by log2(e).

use super::Attention;
use crate::activation::tanh;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::TILE_ROWS;
use crate::vector::{self, Map, apply, load, store};
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// What queries are multiplied by, so that their dot products with keys are scores in base 2, or are ready for [`SoftCap`].
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
                let shrink = Scale(shrink[i]);
                apply(simd, shrink, [&mut self.sums[i * MAX_LANES..][..S::LANES]], []);
                apply(simd, shrink, [&mut self.out[i * self.out_stride..][..self.out_stride]], []);
            }
            self.max[i] = tops[i];
        }
        for i in 0..rows {
            // Before the first visible key there is nothing to be relative to.
            let shift = simd.splat(if tops[i] == f32::NEG_INFINITY { 0.0 } else { tops[i] });
            let sums = &mut self.sums[i * MAX_LANES..][..S::LANES];
            let mut sum = load(simd, sums);
            for scores in scores[i * stride..][columns.clone()].chunks_exact_mut(S::LANES) {
                let weight = simd.exp2(simd.sub(load(simd, scores), shift));
                sum = simd.add(sum, weight);
                store(simd, scores, weight);
            }
            store(simd, sums, sum);
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

/// `y *= factor`
///
/// Not a closure: what a closure calls is compiled without the instruction set unless the closure happens to be inlined.
#[derive(Clone, Copy)]
pub(super) struct Scale(pub(super) f32);

impl Map<1, 0> for Scale {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [y]: [S::V; 1], _: [S::V; 0]) -> [S::V; 1] {
        [simd.mul(y, simd.splat(self.0))]
    }
}

/// `y = cap * tanh(y)`, for scores that come divided by the cap.
#[derive(Clone, Copy)]
pub(super) struct SoftCap(pub(super) f32);

impl Map<1, 0> for SoftCap {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [y]: [S::V; 1], _: [S::V; 0]) -> [S::V; 1] {
        [simd.mul(simd.splat(self.0), tanh(simd, y))]
    }
}
