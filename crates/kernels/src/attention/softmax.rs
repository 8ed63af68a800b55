//! The online softmax: rows of scores become weights, relative to the largest score so far. All in base 2: scores come
//! multiplied by log2(e).

use super::Attention;
use crate::activation::tanh;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Operand, TILE_ROWS};
use crate::vector::{self, Map, apply, load, store};
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// What queries are multiplied by, so that their dot products with keys are scores in base 2, or are ready for [`SoftCap`].
pub(super) fn query_factor(spec: &Attention<'_>) -> f32 {
    spec.softcap.map_or(spec.scale * LOG2_E, |cap| spec.scale / cap)
}

/// How far scores may exceed what weights are relative to, before that is raised and all sums are made smaller. A weight is then at
/// most 256.
pub(crate) const SLACK: f32 = 8.0;

/// States of some rows: a score that none exceeds by more than [`SLACK`], and relative to it the sum of weights by lanes and the weighted sum of values.
pub(super) struct States<'a> {
    pub(super) max: &'a mut [f32],
    /// `[rows, MAX_LANES]`
    pub(super) sums: &'a mut [f32],
    /// `[rows, out_stride]`
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
}

/// Where the weights go as a left operand, if they do not lie as such where the scores were.
pub(super) struct Left<'a> {
    pub(super) rows: &'a mut [f32],
    pub(super) stride: usize,
    /// The column of the first weight of a row.
    pub(super) first: usize,
}

impl States<'_> {
    /// Turns the scores of every row, whole vectors in `columns` of rows `stride` apart, into weights, and makes the states
    /// relative to larger scores where there are any. A score of minus infinity has weight zero.
    ///
    /// Rows go through each step together, at most [`TILE_ROWS`] of them: a row alone would wait for its own results.
    #[inline(always)]
    pub(super) fn absorb<O: Operand, S: Simd>(
        self,
        simd: S,
        scores: &mut [f32],
        stride: usize,
        columns: Range<usize>,
        left: Left<'_>,
    ) {
        let rows = self.max.len();
        let mut tops = [f32::NEG_INFINITY; TILE_ROWS];
        for i in 0..rows {
            let top = vector::max(simd, &scores[i * stride..][columns.clone()]);
            tops[i] = if top > self.max[i] + SLACK { top } else { self.max[i] };
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
            let (scores, left_row) = (&mut scores[i * stride..], left.rows.get_mut(i * left.stride..).unwrap_or(&mut []));
            let mut column = columns.start;
            while column < columns.end {
                let (scores, at) = (&mut scores[column..columns.end], column - left.first);
                if scores.len() >= 2 * S::LANES {
                    weights::<O, S, 2>(simd, scores, shift, &mut sum, left_row, at);
                    column += 2 * S::LANES;
                } else {
                    weights::<O, S, 1>(simd, scores, shift, &mut sum, left_row, at);
                    column += S::LANES;
                }
            }
            store(simd, sums, sum);
        }
    }
}

/// Makes the first N vectors of some scores of a row into weights, and adds them to its sum.
#[inline(always)]
fn weights<O: Operand, S: Simd, const N: usize>(
    simd: S,
    scores: &mut [f32],
    shift: S::V,
    sum: &mut S::V,
    left_row: &mut [f32],
    at: usize,
) {
    let mut weights = [shift; N];
    for i in 0..N {
        weights[i] = simd.exp2(simd.sub(load(simd, &scores[i * S::LANES..]), shift));
        *sum = simd.add(*sum, weights[i]);
    }
    O::store_left(simd, weights, scores, left_row, at);
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
