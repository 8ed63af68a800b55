//! Keys and values of one head, found in their runs and packed as operands.

use super::Run;
use crate::product::MatrixRef;
use crate::simd::Simd;
use crate::tile::{pack_panels, panel_width};
use std::ops::Range;

/// One head's rows in the runs of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) runs: &'a [Run<'a>],
    pub(super) head: usize,
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    /// The rows at `positions` that runs hold, run by run, each piece with its first position.
    pub(super) fn pieces(self, positions: Range<usize>) -> impl Iterator<Item = (usize, MatrixRef<'a>)> {
        let after = self.runs.partition_point(|run| run.first + run.rows <= positions.start);
        let runs = self.runs[after..].iter().take_while(move |run| run.first < positions.end);
        runs.filter(|run| run.rows > 0).map(move |run| {
            let first = run.first.max(positions.start);
            let rows = (run.first + run.rows).min(positions.end) - first;
            let start = self.head * run.head_stride + (first - run.first) * run.row_stride;
            (first, MatrixRef::strided(&run.data[start..], rows, self.width, run.row_stride, 1))
        })
    }

    /// Packs the keys at `positions` as the columns of B `[width, keys]`, the first of them at column 0 of the first panel.
    /// Columns of positions that no run holds are left with any values. `rows` holds a panel's rows for a while.
    #[inline(always)]
    pub(super) fn pack_as_columns<S: Simd>(self, simd: S, positions: Range<usize>, panels: &mut [f32], rows: &mut [f32]) {
        let columns = panel_width::<S>();
        let panels = panels.chunks_mut(columns * self.width);
        for (start, panel) in positions.clone().step_by(columns).zip(panels) {
            let end = (start + columns).min(positions.end);
            let (first, piece) = self.pieces(start..end).next().unwrap_or((start, MatrixRef::row_major(&[], 0, self.width)));
            if (first, piece.rows()) == (start, end - start) {
                pack_panels(simd, piece.transposed(), panel, self.width, 0);
                continue;
            }
            for (first, piece) in self.pieces(start..end) {
                for row in 0..piece.rows() {
                    let to = &mut rows[(first - start + row) * self.width..][..self.width];
                    to.copy_from_slice(piece.row(row));
                }
            }
            let gathered = MatrixRef::row_major(rows, end - start, self.width);
            pack_panels(simd, gathered.transposed(), panel, self.width, 0);
        }
    }

    /// Packs the values at `positions` as the rows of B `[depth, width]`, the first of them in the first row. Rows of positions
    /// that no run holds become zeros, so that a probability of zero times such a row is zero.
    #[inline(always)]
    pub(super) fn pack_as_rows<S: Simd>(self, simd: S, positions: Range<usize>, panels: &mut [f32], depth: usize) {
        let mut free = positions.start;
        for (first, piece) in self.pieces(positions.clone()) {
            self.pack_zeros(simd, free..first, positions.start, panels, depth);
            pack_panels(simd, piece, panels, depth, first - positions.start);
            free = first + piece.rows();
        }
        self.pack_zeros(simd, free..positions.end, positions.start, panels, depth);
    }

    #[inline(always)]
    fn pack_zeros<S: Simd>(self, simd: S, hole: Range<usize>, start: usize, panels: &mut [f32], depth: usize) {
        if !hole.is_empty() {
            let zero = MatrixRef::strided(&[0.0], hole.len(), self.width, 0, 0);
            pack_panels(simd, zero, panels, depth, hole.start - start);
        }
    }
}
