//! The first product of a tile: scores with packed keys, or with keys in place where there are few queries.

use super::{Work, multiply_each};
use crate::attention::forward::few::Score;
use crate::attention::forward::group::{self, GroupScore};
use crate::attention::forward::{KEYS, keys, squares};
use crate::attention::reach::Reach;
use crate::attention::rows::{Rows, with_view};
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::Simd;
use crate::tile::{Operand, multiply_panel, panel_width};
use std::ops::Range;

impl<'a, O: Operand> Work<'a, O> {
    /// Scores of few rows with the keys of the `needed` columns, which are read where they lie.
    #[inline(always)]
    pub(super) fn score_in_place<S: Simd>(&mut self, simd: S, start: usize, needed: Range<usize>) {
        let d_qk = self.spec.d_qk;
        let queries = &self.queries[..self.rows * d_qk];
        for (first, piece) in self.keys().pieces(start + needed.start..start + needed.end) {
            let scores = &mut self.scores[first - start..self.rows * KEYS];
            let by_squares = self
                .cut
                .is_some_and(|factor| squares::score::<O, S>(simd, scores, self.rows, factor, self.panels, piece, self.gathered));
            if by_squares {
                // All scores of the piece.
            } else if self.cut.is_none() && self.rows >= group::LARGE {
                let (count, panels) = (self.rows, &*self.panels);
                let (gathered, turned) = (&mut *self.gathered, &mut *self.value_panels);
                simd.call(GroupScore { scores, count, width: d_qk, panels, keys: piece, gathered, turned });
            } else {
                with_view!(piece, keys => simd.call(Score { scores, queries, keys }));
            }
            if let Some(scales) = piece.scales() {
                for scores in scores.chunks_mut(KEYS) {
                    multiply_each(scores, scales);
                }
            }
        }
    }

    fn keys(&self) -> Rows<'a> {
        Rows { runs: self.item.sequence.keys, head: self.item.head, width: self.spec.d_qk }
    }

    /// Packs the keys of the `needed` columns, from the first column of a panel on.
    #[inline(always)]
    pub(super) fn pack_keys<S: Simd>(&mut self, simd: S, start: usize, needed: Range<usize>) {
        let first = needed.start / panel_width::<S>() * panel_width::<S>();
        self.keys().pack_as_columns::<O, _>(simd, start + first..start + needed.end, self.panels, self.gathered);
    }

    /// Scores of every strip of `rows` that sees any of the packed keys.
    #[inline(always)]
    pub(super) fn score<S: Simd>(&mut self, simd: S, reach: &Reach, rows: Range<usize>) {
        let (d_qk, width, needed) = (self.spec.d_qk, panel_width::<S>(), reach.columns());
        let (first, depth) = (needed.start / width * width, O::cells(d_qk));
        let queries = O::left(simd, MatrixRef::row_major(self.queries, self.rows, d_qk), self.left_queries);
        let scores = MatrixMut::row_major(self.scores, rows.len(), keys::<O>());
        for (column, panel) in (first..needed.end).step_by(width).zip(self.panels.chunks(width * depth)) {
            let columns = column..(column + width).min(needed.end);
            let seeing = reach.rows_seeing(columns.clone());
            let seeing = seeing.start.max(rows.start)..seeing.end.min(rows.end);
            if seeing.is_empty() {
                continue;
            }
            // Whole vectors, since the softmax goes by vectors; what lies beyond the needed columns is hidden there.
            let columns = column..columns.end.next_multiple_of(S::LANES);
            // SAFETY: the only part of `scores` in use.
            let scores = unsafe { scores.part(0, seeing.start - rows.start..seeing.end - rows.start, columns) };
            multiply_panel::<O, _>(simd, scores, queries.part(seeing, 0..depth), panel, Accumulate::Store);
        }
    }
}
