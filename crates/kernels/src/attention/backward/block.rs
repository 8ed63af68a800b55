//! A block of keys by a block of queries of one head.

use super::{KEYS, QUERIES};
use crate::attention::reach::Reach;
use crate::attention::softmax::{SoftCap, hide};
use crate::attention::{Attention, DistanceBias};
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::Simd;
use crate::tile::{MAX_PANEL, Operand, hull, multiply_panel, multiply_strips, panel_width};
use crate::vector::{apply, load, store};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Distance between rows of scores: an odd number of cache lines, so that a column of them does not crowd into few sets of the
/// first-level cache.
const STRIDE: usize = QUERIES + 16;

/// Distances between a query and a key of one block, and a vector more.
const DISTANCES: usize = QUERIES + KEYS + 16;

/// Values of scratch for one item of at most `keys` keys.
pub(super) fn scratch<O: Operand>(spec: &Attention<'_>, keys: usize) -> usize {
    let Attention { d_qk, d_v, .. } = *spec;
    let left = O::left_scratch(keys, d_qk) + O::left_scratch(keys, d_v) + left_of_scores::<O>();
    let (qk_panels, v_panels) = (d_qk.next_multiple_of(MAX_PANEL), d_v.next_multiple_of(MAX_PANEL));
    let of_queries = QUERIES * (2 * d_qk + d_v + qk_panels + v_panels + 2);
    left + of_queries + keys * (d_qk + d_v + qk_panels) + 2 * KEYS * STRIDE + 2 * DISTANCES
}

/// Values of scratch for a block of scores as a left operand, by rows or by columns.
fn left_of_scores<O: Operand>() -> usize {
    O::left_scratch(KEYS, QUERIES).max(O::left_scratch(QUERIES, KEYS))
}

/// Scratch of an item, divided.
pub(super) struct Operands<'a> {
    /// `[queries, d_qk]`: queries times what makes the scores ready for the softmax or the cap.
    pub(super) scaled: &'a mut [f32],
    /// The same as columns: panels of `[d_qk, queries]`.
    pub(super) q_columns: &'a mut [f32],
    /// Panels of `[d_v, queries]`.
    pub(super) d_out_columns: &'a mut [f32],
    /// Panels of `[queries, d_qk]`.
    pub(super) q_rows: &'a mut [f32],
    /// Panels of `[queries, d_v]`.
    pub(super) d_out_rows: &'a mut [f32],
    /// Log-sum-exp of each query, in base 2.
    pub(super) lse: &'a mut [f32],
    /// Output times its gradient, summed, of each query.
    pub(super) delta: &'a mut [f32],
    /// `[keys, d_qk]`, all of the span's.
    pub(super) keys: &'a mut [f32],
    /// `[keys, d_v]`, all of the span's.
    pub(super) values: &'a mut [f32],
    /// Keys, values, and scores of the block at hand, as left operands, where they do not lie as such.
    pub(super) left_keys: &'a mut [f32],
    pub(super) left_values: &'a mut [f32],
    pub(super) left_scores: &'a mut [f32],
    /// Panels of `[keys, d_qk]`, block by block.
    pub(super) key_rows: &'a mut [f32],
    /// `[KEYS, STRIDE]`: scores, then probabilities.
    pub(super) probs: &'a mut [f32],
    /// `[KEYS, STRIDE]`: gradients of probabilities, then of dot products.
    pub(super) d_scores: &'a mut [f32],
    /// Bias by distance, the largest distance of the block first, in base 2.
    pub(super) distances: &'a mut [f32],
    /// Gradient of the bias in the same order.
    pub(super) d_distances: &'a mut [f32],
}

impl<'a> Operands<'a> {
    pub(super) fn new<O: Operand>(spec: &Attention<'_>, keys: usize, mut scratch: &'a mut [f32]) -> Self {
        let Attention { d_qk, d_v, .. } = *spec;
        let mut take = |n| scratch.split_off_mut(..n).expect("as much as `scratch` says");
        Operands {
            scaled: take(QUERIES * d_qk),
            q_columns: take(QUERIES * d_qk),
            d_out_columns: take(QUERIES * d_v),
            q_rows: take(QUERIES * d_qk.next_multiple_of(MAX_PANEL)),
            d_out_rows: take(QUERIES * d_v.next_multiple_of(MAX_PANEL)),
            lse: take(QUERIES),
            delta: take(QUERIES),
            keys: take(keys * d_qk),
            values: take(keys * d_v),
            left_keys: take(O::left_scratch(keys, d_qk)),
            left_values: take(O::left_scratch(keys, d_v)),
            left_scores: take(left_of_scores::<O>()),
            key_rows: take(keys * d_qk.next_multiple_of(MAX_PANEL)),
            probs: take(KEYS * STRIDE),
            d_scores: take(KEYS * STRIDE),
            distances: take(DISTANCES),
            d_distances: take(DISTANCES),
        }
    }
}

/// Which queries and keys a block is of.
pub(super) struct Block<'a> {
    pub(super) spec: &'a Attention<'a>,
    /// The query head.
    pub(super) head: usize,
    /// Position of the first query, and how many there are.
    pub(super) q_pos: usize,
    pub(super) queries: usize,
    /// Position of the first key, and which of the span's keys they are.
    pub(super) k_pos: usize,
    pub(super) keys: Range<usize>,
}

impl Block<'_> {
    /// Queries of the block that see key `i` of the block.
    pub(super) fn queries_of(&self, i: usize) -> Range<usize> {
        let seen = self.spec.visible.queries(self.k_pos + i);
        clip(seen, self.q_pos, self.queries)
    }

    /// Keys of the block that query `i` of the block sees.
    fn keys_of(&self, i: usize) -> Range<usize> {
        let spans = self.spec.visible.spans(self.q_pos + i, self.k_pos + self.keys.len());
        let [first, second] = spans.map(|span| clip(span, self.k_pos, self.keys.len()));
        hull(first, second)
    }

    /// Fills `probs`, and `d_scores` with the gradients of the dot products of queries and keys.
    #[inline(always)]
    pub(super) fn probabilities<O: Operand, S: Simd>(&self, simd: S, reach: &Reach, operands: &mut Operands<'_>) {
        let Attention { d_qk, d_v, .. } = *self.spec;
        let of_block = |all, left, width: usize| {
            let all = O::left(simd, MatrixRef::row_major(all, self.keys.end, width), left);
            all.part(self.keys.clone(), 0..all.cols())
        };
        let keys = of_block(operands.keys, operands.left_keys, d_qk);
        let values = of_block(operands.values, operands.left_values, d_v);
        self.multiply::<O, _>(simd, reach, operands.probs, keys, operands.q_columns);
        self.multiply::<O, _>(simd, reach, operands.d_scores, values, operands.d_out_columns);
        if let Some(bias) = self.spec.bias {
            self.load_distances(&bias, operands.distances);
            operands.d_distances.fill(0.0);
        }
        for i in 0..self.keys.len() {
            let columns = reach.of(i);
            let columns = columns.start / S::LANES * S::LANES..columns.end.next_multiple_of(S::LANES);
            // A strip of queries may see a key that a strip of keys beside it does not reach from, and squares hold several strips.
            for scores in [&mut *operands.probs, &mut *operands.d_scores] {
                let scores = &mut scores[i * STRIDE..][..QUERIES];
                scores[..columns.start].fill(0.0);
                scores[columns.end..].fill(0.0);
            }
            if !columns.is_empty() {
                self.softmax_row(simd, i, columns, operands);
            }
        }
    }

    /// C `[keys, queries]` = A `[keys, d]` times panels of `[d, queries]`, where a strip of keys is seen. `d` counts cells.
    #[inline(always)]
    fn multiply<O: Operand, S: Simd>(&self, simd: S, reach: &Reach, c: &mut [f32], a: MatrixRef<'_>, panels: &[f32]) {
        let (width, d) = (panel_width::<S>(), a.cols());
        let c = MatrixMut::strided(c, self.keys.len(), QUERIES, STRIDE);
        for (column, panel) in (0..self.queries).step_by(width).zip(panels.chunks(width * d)) {
            let columns = column..(column + width).min(self.queries);
            let rows = reach.rows_seeing(columns.clone());
            // Whole vectors, since the softmax goes by vectors; what lies beyond the queries is hidden there.
            let columns = column..columns.end.next_multiple_of(S::LANES);
            // SAFETY: the only part of `c` in use.
            let c = unsafe { c.part(0, rows.clone(), columns) };
            multiply_panel::<O, _>(simd, c, a.part(rows, 0..d), panel, Accumulate::Store);
        }
    }

    /// Key `i`: scores become probabilities, gradients of probabilities become gradients of dot products.
    #[inline(always)]
    fn softmax_row<S: Simd>(&self, simd: S, i: usize, columns: Range<usize>, operands: &mut Operands<'_>) {
        let scores = &mut operands.probs[i * STRIDE..][..QUERIES];
        let grads = &mut operands.d_scores[i * STRIDE..][..QUERIES];
        let cap = self.spec.softcap.map(|cap| cap * LOG2_E);
        if let Some(cap) = cap {
            apply(simd, SoftCap(cap), [&mut scores[columns.clone()]], []);
        }
        let visible = [0..0, self.queries_of(i)];
        hide(scores, columns.clone(), &visible, f32::NEG_INFINITY);
        hide(grads, columns.clone(), &visible, 0.0);
        // The last key comes first: see `load_distances`.
        let distances = self.keys.len() - 1 - i;
        let scale = simd.splat(self.spec.scale);
        for at in columns.step_by(S::LANES) {
            let capped = load(simd, &scores[at..]);
            let mut shifted = simd.sub(capped, load(simd, &operands.lse[at..]));
            if self.spec.bias.is_some() {
                shifted = simd.add(shifted, load(simd, &operands.distances[distances + at..]));
            }
            // A probability is at most 1. The score is computed here in another order than in the forward, and where scores
            // are 1e8 the two roundings lie so far apart that the exponential of their difference would be infinite.
            let prob = simd.exp2(simd.min(simd.splat(0.0), shifted));
            let mut d_score = simd.mul(prob, simd.sub(load(simd, &grads[at..]), load(simd, &operands.delta[at..])));
            if self.spec.bias.is_some() {
                let sums = &mut operands.d_distances[distances + at..];
                store(simd, sums, simd.add(load(simd, sums), d_score));
            }
            d_score = simd.mul(d_score, scale);
            if let Some(cap) = cap {
                // The derivative of tanh is 1 - tanh^2; what is hidden counts as saturated.
                let tanh = simd.max(simd.splat(-1.0), simd.mul(capped, simd.splat(1.0 / cap)));
                d_score = simd.mul(d_score, simd.sub(simd.splat(1.0), simd.mul(tanh, tanh)));
            }
            store(simd, &mut scores[at..], prob);
            store(simd, &mut grads[at..], d_score);
        }
    }

    /// C `[keys, d]` += A `[keys, queries]` times panels of `[queries, d]`.
    #[inline(always)]
    pub(super) fn add_along_queries<O: Operand, S: Simd>(
        &self,
        simd: S,
        reach: &Reach,
        c: MatrixMut<'_>,
        a: &[f32],
        panels: &[f32],
        left: &mut [f32],
    ) {
        let a = MatrixRef::strided(a, self.keys.len(), self.queries, STRIDE, 1);
        add_products::<O, _>(simd, reach, c, a, panels, left);
    }

    /// C `[queries, d]` += the transpose of A `[keys, queries]` times the block's panels of `[keys, d]`.
    #[inline(always)]
    pub(super) fn add_along_keys<O: Operand, S: Simd>(
        &self,
        simd: S,
        c: MatrixMut<'_>,
        a: &[f32],
        panels: &[f32],
        left: &mut [f32],
    ) {
        let reach = Reach::new(self.queries, |i| self.keys_of(i));
        let a = MatrixRef::strided(a, self.keys.len(), self.queries, STRIDE, 1).transposed();
        let panels = &panels[self.keys.start * self.spec.d_qk.next_multiple_of(MAX_PANEL)..];
        add_products::<O, _>(simd, &reach, c, a, panels, left);
    }

    /// The bias of key `i` and query `j` goes to `keys - 1 - i + j`: along queries the distance falls.
    fn load_distances(&self, bias: &DistanceBias<'_>, distances: &mut [f32]) {
        let table = &bias.table[self.head * bias.width..][..bias.width];
        for (i, to) in distances.iter_mut().enumerate() {
            let value = self.table_index(bias, i).and_then(|index| table.get(index));
            *to = value.map_or(0.0, |bias| bias * LOG2_E);
        }
    }

    /// Adds sums by distance, ordered as [`Self::load_distances`] orders them, to those of the head's table.
    pub(super) fn add_bias_sums(&self, bias: &DistanceBias<'_>, distances: &[f32], sums: &mut [f32]) {
        for (i, &distance) in distances.iter().enumerate() {
            if let Some(sum) = self.table_index(bias, i).and_then(|index| sums.get_mut(index)) {
                *sum += distance;
            }
        }
    }

    /// Where in a head's table the distance at place `i` is, if it is not below the first.
    fn table_index(&self, bias: &DistanceBias<'_>, i: usize) -> Option<usize> {
        let largest = (self.k_pos + self.keys.len() - 1) as isize - self.q_pos as isize;
        usize::try_from(largest - i as isize - bias.first).ok()
    }
}

/// C += A times panels as deep as A has columns, strip by strip as far as A is not zero.
#[inline(always)]
fn add_products<O: Operand, S: Simd>(
    simd: S,
    reach: &Reach,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    panels: &[f32],
    left: &mut [f32],
) {
    O::round(simd, a, left);
    let a = O::left(simd, a, left);
    let strips = reach.strips_from(0).map(O::cells_of);
    let width = panel_width::<S>();
    for (column, panel) in (0..c.cols()).step_by(width).zip(panels.chunks(width * a.cols())) {
        // SAFETY: the only part of `c` in use.
        let c = unsafe { c.part(0, 0..c.rows(), column..(column + width).min(c.cols())) };
        multiply_strips::<O, _>(simd, c, a, panel, &strips);
    }
}

/// The part of `range` in the `count` places from `first` on, counted from there.
fn clip(range: Range<usize>, first: usize, count: usize) -> Range<usize> {
    let end = range.end.clamp(first, first + count) - first;
    (range.start.clamp(first, first + end) - first)..end
}
