//! The gradient of a chunk of rows at once (Yang et al. 2024, 2312.06635 and 2406.06484): what the recurrence does row by row are
//! products of matrices, and the state is touched once a chunk.
//!
//! Let `b_t` be the product of the decays up to row `t`, `d_ts` that of those after `s` up to `t`, zero for `s` after `t`, and `U`
//! what is written under the keys. The outputs of a chunk of `n` rows that begins with the state `S` are
//! `(d * Q K^T) U + b * Q S`, and its last state is `b_n S + (d_n * K)^T U`.

use super::{CHUNK, Scan};
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::Simd;
use crate::tile::{MAX_PANEL, Single, multiply_panel, pack_panels, panel_width};
use crate::vector::{Dot, load, store, sum};

/// A decay nearer to zero counts as this, so that a gradient may be divided by it.
const LEAST: f32 = 1e-20;

/// A value for each two rows of a chunk.
pub(crate) type Square = [[f32; CHUNK]; CHUNK];

/// The decays of a chunk and their products.
pub(crate) struct Decays {
    each: [f32; CHUNK],
    /// `b_t`
    pub(crate) from_start: [f32; CHUNK],
    /// `d_ts`
    pub(crate) between: Square,
}

impl Decays {
    /// Of at most `CHUNK` rows.
    pub(crate) fn new(decays: impl Iterator<Item = f32>) -> Decays {
        let mut all = Decays { each: [1.0; CHUNK], from_start: [1.0; CHUNK], between: [[0.0; CHUNK]; CHUNK] };
        for (t, decay) in decays.enumerate() {
            let decay = if decay.abs() < LEAST { LEAST } else { decay };
            let before = t.checked_sub(1);
            all.each[t] = decay;
            all.from_start[t] = decay * before.map_or(1.0, |before| all.from_start[before]);
            for s in 0..t {
                all.between[t][s] = decay * all.between[t - 1][s];
            }
            all.between[t][t] = 1.0;
        }
        all
    }

    /// The gradients of the decays of `rows` rows.
    pub(crate) fn gradients(&self, rows: usize, terms: &Terms) -> [f32; CHUNK] {
        let mut gradients = [0.0; CHUNK];
        // Each term is added where its product holds the decay, and nowhere else: differences of running sums would cancel.
        let (mut all, mut below) = (terms.whole, [0.0; CHUNK]);
        for t in (0..rows).rev() {
            all += terms.from_start[t];
            for s in 0..t {
                below[s] += terms.between[t][s];
            }
            let across: f32 = (0..t).map(|s| below[s] + terms.to_end[s]).sum();
            gradients[t] = (all + across) / self.each[t];
        }
        gradients
    }
}

/// Each product of decays times its gradient.
#[derive(Default)]
pub(crate) struct Terms {
    pub(crate) between: Square,
    from_start: [f32; CHUNK],
    to_end: [f32; CHUNK],
    whole: f32,
}

/// What a chunk of one head reads.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) decays: &'a Decays,
    /// `[n, d_k]`
    pub(crate) q: MatrixRef<'a>,
    /// `[n, d_k]`
    pub(crate) k: MatrixRef<'a>,
    /// `[n, d_v]`
    pub(crate) d_out: MatrixRef<'a>,
    /// `[d_k, d_v]`, before the first row.
    pub(crate) state: MatrixRef<'a>,
}

/// A worker's scratch, divided.
pub(crate) struct Scratch<'a> {
    /// `[2 * CHUNK, d_k]`: rows that address the state, queries first.
    pub(crate) rows: &'a mut [f32],
    /// `[2 * CHUNK, d_v]`: the gradients of what they read, with the decay from the start.
    pub(crate) d_read: &'a mut [f32],
    /// `[2 * CHUNK, max(d_k, d_v)]`
    pub(crate) scaled: &'a mut [f32],
    /// `[2 * CHUNK, CHUNK]`: dot products of the rows with the keys.
    pub(crate) scores: &'a mut [f32],
    /// `[CHUNK, CHUNK]`: gradients of those of the queries.
    pub(crate) d_scores: &'a mut [f32],
    /// The right operand of a product.
    pub(crate) panels: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    pub(crate) fn len(scan: Scan) -> usize {
        let Scan { d_k, d_v, .. } = scan;
        let [k_panels, v_panels] = [d_k, d_v].map(|width| width.next_multiple_of(MAX_PANEL));
        let panels = (d_v.max(2 * CHUNK) * k_panels).max(d_k.max(2 * CHUNK) * v_panels);
        2 * CHUNK * (d_k + d_v + d_k.max(d_v)) + 3 * CHUNK * CHUNK + panels
    }

    pub(crate) fn new(scan: Scan, mut scratch: &'a mut [f32]) -> Self {
        let Scan { d_k, d_v, .. } = scan;
        let mut take = |n| scratch.split_off_mut(..n).expect("as much as `len` says");
        Scratch {
            rows: take(2 * CHUNK * d_k),
            d_read: take(2 * CHUNK * d_v),
            scaled: take(2 * CHUNK * d_k.max(d_v)),
            scores: take(2 * CHUNK * CHUNK),
            d_scores: take(CHUNK * CHUNK),
            panels: scratch,
        }
    }
}

impl Chunk<'_> {
    /// Dot products of the keys with the queries and, if `with_keys`, with themselves.
    #[inline(always)]
    pub(crate) fn score<S: Simd>(&self, simd: S, scratch: &mut Scratch<'_>, with_keys: bool) {
        let (n, d_k) = (self.q.rows(), self.q.cols());
        let count = if with_keys { 2 * n } else { n };
        for (i, to) in scratch.rows.chunks_exact_mut(d_k).take(count).enumerate() {
            to.copy_from_slice(if i < n { self.q.row(i) } else { self.k.row(i - n) });
        }
        let rows = MatrixRef::row_major(scratch.rows, count, d_k);
        let mut scores = MatrixMut::strided(scratch.scores, count, n, CHUNK);
        product(simd, &mut scores, rows, self.k.transposed(), Accumulate::Store, scratch.panels);
    }

    /// Adds the gradient of what is written, `u`, to `d_u`, and leaves the gradients of the dot products of queries and keys. `d_state` is
    /// the gradient of the last state.
    #[inline(always)]
    pub(crate) fn add_to_written<S: Simd>(
        &self,
        simd: S,
        u: MatrixRef<'_>,
        d_u: &mut MatrixMut<'_>,
        d_state: &[f32],
        terms: &mut Terms,
        scratch: &mut Scratch<'_>,
    ) {
        let (n, d_k, d_v) = (self.q.rows(), self.q.cols(), u.cols());
        let mut d_scores = MatrixMut::strided(scratch.d_scores, n, n, CHUNK);
        product(simd, &mut d_scores, self.d_out, u.transposed(), Accumulate::Store, scratch.panels);
        for t in 0..n {
            let decays = &self.decays.between[t];
            let (scores, d_scores) = (&mut scratch.scores[t * CHUNK..][..n], &mut scratch.d_scores[t * CHUNK..][..n]);
            for s in 0..n {
                scores[s] *= decays[s];
                terms.between[t][s] = scores[s] * d_scores[s];
                d_scores[s] *= decays[s];
            }
        }
        let weights = MatrixRef::strided(scratch.scores, n, n, CHUNK, 1);
        product(simd, d_u, weights.transposed(), self.d_out, Accumulate::Add, scratch.panels);
        scale_rows(scratch.scaled, self.k, |s| self.decays.between[n - 1][s]);
        let keys = MatrixRef::row_major(scratch.scaled, n, d_k);
        product(simd, d_u, keys, MatrixRef::row_major(d_state, d_k, d_v), Accumulate::Add, scratch.panels);
    }

    /// Adds the gradients of queries and keys, and makes `d_state` that of the state before the chunk. Of `rows` of the scratch the
    /// first `count` read that state, with the gradients `d_read`.
    #[inline(always)]
    pub(crate) fn add_to_rows<S: Simd>(
        &self,
        simd: S,
        u: MatrixRef<'_>,
        count: usize,
        [d_q, d_k]: [&mut MatrixMut<'_>; 2],
        d_state: &mut [f32],
        terms: &mut Terms,
        scratch: &mut Scratch<'_>,
    ) {
        let (n, key_width, d_v) = (self.q.rows(), self.q.cols(), u.cols());
        let d_read = MatrixRef::row_major(scratch.d_read, count, d_v);
        let mut d_rows = MatrixMut::row_major(scratch.scaled, count, key_width);
        product(simd, &mut d_rows, d_read, self.state.transposed(), Accumulate::Store, scratch.panels);
        for i in 0..count {
            terms.from_start[i % n] += sum(simd, Dot, [d_rows.row(i), &scratch.rows[i * key_width..][..key_width]]);
            add(simd, if i < n { d_q.row_mut(i) } else { d_k.row_mut(i - n) }, d_rows.row(i));
        }
        let d_scores = MatrixRef::strided(scratch.d_scores, n, n, CHUNK, 1);
        product(simd, d_q, d_scores, self.k, Accumulate::Add, scratch.panels);
        product(simd, d_k, d_scores.transposed(), self.q, Accumulate::Add, scratch.panels);

        let (d_keys, written) = scratch.scaled.split_at_mut(CHUNK * key_width);
        scale_rows(written, u, |s| self.decays.between[n - 1][s]);
        let written = MatrixRef::row_major(written, n, d_v);
        let mut d_keys = MatrixMut::row_major(d_keys, n, key_width);
        let after = MatrixRef::row_major(d_state, key_width, d_v);
        product(simd, &mut d_keys, written, after.transposed(), Accumulate::Store, scratch.panels);
        for s in 0..n {
            terms.to_end[s] = sum(simd, Dot, [d_keys.row(s), self.k.row(s)]);
            add(simd, d_k.row_mut(s), d_keys.row(s));
        }

        let decay = self.decays.from_start[n - 1];
        for i in 0..key_width {
            let d_row = &mut d_state[i * d_v..][..d_v];
            terms.whole += decay * sum(simd, Dot, [d_row, self.state.row(i)]);
            for d in d_row.iter_mut() {
                *d *= decay;
            }
        }
        let rows = MatrixRef::row_major(scratch.rows, count, key_width);
        let mut d_state = MatrixMut::row_major(d_state, key_width, d_v);
        product(simd, &mut d_state, rows.transposed(), d_read, Accumulate::Add, scratch.panels);
    }
}

/// C = or += A B, packing B.
#[inline(always)]
pub(crate) fn product<S: Simd>(
    simd: S,
    c: &mut MatrixMut<'_>,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    accumulate: Accumulate,
    panels: &mut [f32],
) {
    let (width, depth) = (panel_width::<S>(), b.rows());
    pack_panels(simd, b, panels, depth, 0);
    for (column, panel) in (0..c.cols()).step_by(width).zip(panels.chunks(width * depth)) {
        // SAFETY: the only part of `c` in use, which is borrowed.
        let c = unsafe { c.part(0, 0..c.rows(), column..(column + width).min(c.cols())) };
        multiply_panel::<Single, _>(simd, c, a, panel, accumulate);
    }
}

/// Rows of `from`, each times its factor, one after the other.
#[inline(always)]
pub(crate) fn scale_rows(to: &mut [f32], from: MatrixRef<'_>, factor: impl Fn(usize) -> f32) {
    for (i, to) in to.chunks_exact_mut(from.cols()).take(from.rows()).enumerate() {
        let factor = factor(i);
        for (to, from) in to.iter_mut().zip(from.row(i)) {
            *to = from * factor;
        }
    }
}

#[inline(always)]
pub(crate) fn add<S: Simd>(simd: S, to: &mut [f32], from: &[f32]) {
    for (to, from) in to.chunks_mut(S::LANES).zip(from.chunks(S::LANES)) {
        let total = simd.add(load(simd, to), load(simd, from));
        store(simd, to, total);
    }
}
