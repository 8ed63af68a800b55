//! One item: a key head of one span, with all the query heads that read it.

use super::block::{Block, Operands};
use super::plan::{Part, blocks};
use super::{KEYS, QUERIES, Target};
use crate::attention::reach::Reach;
use crate::attention::softmax::query_factor;
use crate::attention::{Attention, BackwardInputs};
use crate::product::{MatrixMut, MatrixRef};
use crate::simd::{Kernel, Simd};
use crate::tile::{MAX_PANEL, Operand};
use crate::vector::{Term, sum};
use std::f32::consts::LOG2_E;
use std::marker::PhantomData;
use std::ops::Range;

/// `O` is what the products multiply.
pub(super) struct Item<'a, O> {
    pub(super) operand: PhantomData<O>,
    pub(super) spec: &'a Attention<'a>,
    pub(super) part: Part<'a>,
    pub(super) inputs: BackwardInputs<'a>,
    pub(super) target: &'a Target<'a>,
    /// `[keys, d_qk]` and `[keys, d_v]`: gradients of the span's keys and values.
    pub(super) d_k: MatrixMut<'a>,
    pub(super) d_v: MatrixMut<'a>,
    pub(super) scratch: &'a mut [f32],
}

impl<O: Operand> Kernel for Item<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let scratch = std::mem::take(&mut self.scratch);
        let span = self.part.span;
        let mut operands = Operands::new::<O>(self.spec, span.k_rows.len(), scratch);
        self.load_keys(simd, &mut operands);
        let (group, blocks) = (self.spec.heads / self.spec.kv_heads, blocks(span));
        for index in 0..group {
            let head = self.part.head * group + index;
            if self.part.has(index * blocks) {
                self.clear_sums(head);
            }
            for (block, first) in (0..span.rows.len()).step_by(QUERIES).enumerate() {
                if self.part.has(index * blocks + block) {
                    self.attend(simd, head, first..(first + QUERIES).min(span.rows.len()), &mut operands);
                }
            }
        }
    }
}

impl<O: Operand> Item<'_, O> {
    /// A block of queries, counted from the span's first, over all keys that they see.
    #[inline(always)]
    fn attend<S: Simd>(&self, simd: S, head: usize, queries: Range<usize>, operands: &mut Operands<'_>) {
        self.load_queries(simd, head, queries.clone(), operands);
        let q_pos = self.part.span.q_first + queries.start;
        for first in (0..self.part.span.k_rows.len()).step_by(KEYS) {
            let keys = first..(first + KEYS).min(self.part.span.k_rows.len());
            let k_pos = self.part.span.k_first + keys.start;
            let block = Block { spec: self.spec, head, q_pos, queries: queries.len(), k_pos, keys: keys.clone() };
            let reach = Reach::new(keys.len(), |i| block.queries_of(i));
            if !reach.columns().is_empty() {
                block.probabilities::<O, _>(simd, &reach, operands);
                self.add_gradients(simd, &block, &reach, queries.clone(), keys, operands);
            }
        }
    }

    /// Packs a block of queries and of their output's gradients, each as columns and as rows.
    #[inline(always)]
    fn load_queries<S: Simd>(&self, simd: S, head: usize, queries: Range<usize>, operands: &mut Operands<'_>) {
        let Attention { heads, d_qk, d_v, .. } = *self.spec;
        let rows = self.part.span.rows.start + queries.start..self.part.span.rows.start + queries.end;
        let of_head = |data, width: usize| {
            let all = MatrixRef::row_major(data, self.inputs.lse.len() / heads, heads * width);
            all.part(rows.clone(), head * width..(head + 1) * width)
        };
        let (q, d_out) = (of_head(self.inputs.q, d_qk), of_head(self.inputs.d_out, d_v));
        let out = of_head(self.inputs.out, d_v);
        let factor = query_factor(self.spec);
        operands.lse.fill(0.0);
        operands.delta.fill(0.0);
        let mut d_sink = 0.0;
        for i in 0..rows.len() {
            for (to, from) in operands.scaled[i * d_qk..][..d_qk].iter_mut().zip(q.row(i)) {
                *to = from * factor;
            }
            let lse = self.inputs.lse[(rows.start + i) * heads + head];
            // Of rounded gradients, as those of the probabilities are, lest their difference be one of roundings where one key has
            // all of the weight.
            let delta = sum(simd, RoundedDot(PhantomData::<O>), [d_out.row(i), out.row(i)]);
            // A row that saw nothing has no probabilities, whatever stands here.
            operands.lse[i] = if lse == f32::NEG_INFINITY { 0.0 } else { lse * LOG2_E };
            operands.delta[i] = delta;
            if let Some(sink) = self.spec.sink {
                d_sink -= f64::from((sink[head] - lse).exp()) * f64::from(delta);
            }
        }
        if self.spec.sink.is_some() {
            let place = self.part.index * heads + head;
            // SAFETY: the sum of this span and head, which no other item touches.
            let sum = unsafe { self.target.sink_sums.slice(place..place + 1) };
            sum[0] += d_sink as f32;
        }
        let scaled = MatrixRef::row_major(operands.scaled, rows.len(), d_qk);
        O::pack(simd, scaled.transposed(), operands.q_columns, O::cells(d_qk), 0);
        O::pack(simd, d_out.transposed(), operands.d_out_columns, O::cells(d_v), 0);
        O::pack(simd, q, operands.q_rows, O::cells(rows.len()), 0);
        O::pack(simd, d_out, operands.d_out_rows, O::cells(rows.len()), 0);
    }

    /// Copies the head's keys and values, whose rows lie apart, and packs each block of keys as rows of an operand.
    #[inline(always)]
    fn load_keys<S: Simd>(&self, simd: S, operands: &mut Operands<'_>) {
        let Attention { kv_heads, d_qk, d_v, .. } = *self.spec;
        for (i, row) in self.part.span.k_rows.clone().enumerate() {
            let place = row * kv_heads + self.part.head;
            operands.keys[i * d_qk..][..d_qk].copy_from_slice(&self.inputs.k[place * d_qk..][..d_qk]);
            operands.values[i * d_v..][..d_v].copy_from_slice(&self.inputs.v[place * d_v..][..d_v]);
        }
        let panels = operands.key_rows.chunks_mut(KEYS * d_qk.next_multiple_of(MAX_PANEL));
        for (keys, panels) in operands.keys[..self.part.span.k_rows.len() * d_qk].chunks(KEYS * d_qk).zip(panels) {
            let rows = keys.len() / d_qk;
            O::pack(simd, MatrixRef::row_major(keys, rows, d_qk), panels, O::cells(rows), 0);
        }
        let rows = self.part.span.k_rows.len();
        O::round(simd, MatrixRef::row_major(operands.keys, rows, d_qk), operands.left_keys);
        O::round(simd, MatrixRef::row_major(operands.values, rows, d_v), operands.left_values);
    }

    /// Adds what a block gives to the gradients of its values, keys and queries.
    #[inline(always)]
    fn add_gradients<S: Simd>(
        &self,
        simd: S,
        block: &Block<'_>,
        reach: &Reach,
        queries: Range<usize>,
        keys: Range<usize>,
        operands: &mut Operands<'_>,
    ) {
        let Attention { d_qk, d_v, .. } = *self.spec;
        let rows = self.part.span.rows.start + queries.start..self.part.span.rows.start + queries.end;
        let columns = block.head * d_qk..(block.head + 1) * d_qk;
        // SAFETY: rows of spans do not overlap (checked by `check_inputs`), and no other item has these queries of this head.
        let d_q = unsafe { self.target.d_q.part(0, rows, columns) };
        // SAFETY: the only parts of this item's own.
        let (d_k, d_v) = unsafe { (self.d_k.part(0, keys.clone(), 0..d_qk), self.d_v.part(0, keys, 0..d_v)) };
        let left = &mut *operands.left_scores;
        block.add_along_queries::<O, _>(simd, reach, d_v, operands.probs, operands.d_out_rows, left);
        block.add_along_queries::<O, _>(simd, reach, d_k, operands.d_scores, operands.q_rows, left);
        block.add_along_keys::<O, _>(simd, d_q, operands.d_scores, operands.key_rows, left);
        if let Some(bias) = self.spec.bias {
            let place = (self.part.index * self.spec.heads + block.head) * bias.width;
            // SAFETY: sums of this span and head, which no other item touches.
            block.add_bias_sums(&bias, operands.d_distances, unsafe { self.target.bias_sums.slice(place..place + bias.width) });
        }
    }

    /// Sets the span's own sums for one query head to zero.
    fn clear_sums(&self, head: usize) {
        let place = self.part.index * self.spec.heads + head;
        let (bias, sink) = (self.spec.bias.map_or(0, |bias| bias.width), usize::from(self.spec.sink.is_some()));
        // SAFETY: sums of this span and head, which no other item touches.
        unsafe {
            self.target.bias_sums.slice(place * bias..(place + 1) * bias).fill(0.0);
            self.target.sink_sums.slice(place * sink..(place + 1) * sink).fill(0.0);
        }
    }
}

/// `sum += a b`, of an `a` that is rounded as operands are.
#[derive(Clone, Copy)]
struct RoundedDot<O>(PhantomData<O>);

impl<O: Operand> Term<2> for RoundedDot<O> {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [a, b]: [S::V; 2]) -> S::V {
        simd.fma(O::nearest(simd, a), b, sum)
    }
}
