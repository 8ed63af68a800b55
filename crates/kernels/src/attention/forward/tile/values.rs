//! The second product of a tile: weighted values, packed, or in place where few queries read them.

use super::{Work, multiply_each};
use crate::attention::Cells;
use crate::attention::forward::few::AddWeighted;
use crate::attention::forward::square_values::SquareValues;
use crate::attention::forward::squares::SquareElement;
use crate::attention::forward::{KEYS, group, keys};
use crate::attention::reach::Reach;
use crate::attention::rows::{Piece, Rows, with_view};
use crate::product::{MatrixMut, MatrixRef};
use crate::simd::{SQUARE, Simd};
use crate::tile::{MAX_PANEL, Operand, TILE_ROWS, multiply_strips, panel_width};
use crate::vector::load;
use half::bf16;
use std::marker::PhantomData;
use std::ops::Range;

/// The packed values of a tile of keys.
pub(super) struct Packed {
    /// Columns of the tile that they are of. Of cells that hold several, whole vectors, and where there are squares whole steps of them.
    /// What they hold beyond the keys that a row sees has weight zero.
    pub(super) columns: Range<usize>,
    /// Whether zero times any of them is zero, or is not asked for.
    finite: bool,
}

impl<'a, O: Operand> Work<'a, O> {
    fn values(&self) -> Rows<'a> {
        Rows { runs: self.item.sequence.values, head: self.item.head, width: self.spec.d_v }
    }

    /// Adds the weighted values to few rows, where they lie unless there are many heads to a key head.
    #[inline(always)]
    pub(super) fn add_values_of_few<S: Simd>(&mut self, simd: S, start: usize, reach: &Reach) {
        let needed = reach.columns();
        if self.rows < group::LARGE {
            for (first, piece) in self.values().pieces(start + needed.start..start + needed.end) {
                self.add_in_place(simd, first - start, piece);
            }
            return;
        }
        if self.cut.is_some() && self.group >= group::LARGE && self.add_by_squares(simd, start, reach, &needed) {
            return;
        }
        let values = self.pack_values(simd, start, needed);
        self.add_values(simd, start, reach, &values, 0..self.rows);
    }

    /// Packs the values of the `needed` columns.
    #[inline(always)]
    pub(super) fn pack_values<S: Simd>(&mut self, simd: S, start: usize, needed: Range<usize>) -> Packed {
        let unit = match (O::VALUES, O::has_squares(simd)) {
            (1, _) => 1,
            (_, false) => S::LANES,
            (_, true) => O::VALUES * SQUARE,
        };
        let needed = needed.start / unit * unit..needed.end;
        let positions = start + needed.start..start + needed.end;
        let cells = O::cells(needed.len());
        let depth = panel_depth(cells);
        let values = self.values();
        if O::VALUES == 1 {
            values.pack_as_rows(simd, positions, self.value_panels, depth);
        } else {
            let all = [positions.clone(), 0..0];
            values.pack_seen_as_rows::<O, _>(simd, positions, &all, self.value_panels, depth, self.gathered);
        }
        let all_see_all = self.seen[..self.rows].iter().all(|[first, second]| *first == needed || *second == needed);
        let finite = all_see_all || all_finite::<O, _>(simd, self.value_panels, cells, self.spec.d_v);
        Packed { columns: needed, finite }
    }

    /// Adds the weighted values to some rows: whole strips, but for the last ones.
    #[inline(always)]
    pub(super) fn add_values<S: Simd>(&mut self, simd: S, start: usize, reach: &Reach, values: &Packed, rows: Range<usize>) {
        let needed = &values.columns;
        if O::has_squares(simd) {
            self.clear_unseen_left(simd, reach, needed, rows.clone());
        }
        let strips = reach.strips_from(needed.start).map(O::cells_of);
        if values.finite {
            self.add_panels(simd, needed, rows.clone(), [(rows.clone(), &strips[rows.start / TILE_ROWS..])].into_iter());
            return;
        }
        // Zero times infinity is not zero: each row by itself, with no key that it does not see.
        for i in rows.clone() {
            if O::VALUES == 1 {
                let counted = |column: usize| column.saturating_sub(needed.start);
                let visible = self.seen[i].clone().map(|range| counted(range.start)..counted(range.end));
                self.add_panels(simd, needed, rows.clone(), visible.iter().map(|range| (i..i + 1, std::slice::from_ref(range))));
            } else {
                let seen = self.seen[i].clone().map(|range| start + range.start..start + range.end);
                let (positions, depth) = (start + needed.start..start + needed.end, panel_depth(O::cells(needed.len())));
                let values = self.values();
                values.pack_seen_as_rows::<O, _>(simd, positions, &seen, self.value_panels, depth, self.gathered);
                let strip = &strips[i / TILE_ROWS];
                self.add_panels(simd, needed, rows.clone(), [(i..i + 1, std::slice::from_ref(strip))].into_iter());
            }
        }
    }

    /// Makes those weights of left operands zero that no row of their strip sees: squares multiply them too.
    fn clear_unseen_left<S: Simd>(&mut self, simd: S, reach: &Reach, needed: &Range<usize>, rows: Range<usize>) {
        let stride = self.left_of_weights(simd, rows.len(), needed.len()).row_stride();
        let width = O::cells(needed.len()) * O::VALUES;
        for i in rows.clone() {
            let seen = seen::<S>(reach, needed, i);
            let weights: &mut [bf16] = bytemuck::cast_slice_mut(&mut self.left_weights[(i - rows.start) * stride..][..stride]);
            weights[..seen.start].fill(bf16::ZERO);
            weights[seen.end..width].fill(bf16::ZERO);
        }
    }

    /// Adds the weighted values by squares, of which there are some, if the type of all values allows it.
    #[inline(always)]
    fn add_by_squares<S: Simd>(&mut self, simd: S, start: usize, reach: &Reach, needed: &Range<usize>) -> bool {
        let values = self.values();
        match values.runs.first().map(|run| run.data) {
            Some(Cells::Bf16(_)) => self.add_as::<bf16, S>(simd, start, reach, needed, values),
            Some(Cells::Int8 { .. }) => self.add_as::<i8, S>(simd, start, reach, needed, values),
            _ => false,
        }
    }

    #[inline(always)]
    fn add_as<E: SquareElement, S: Simd>(
        &mut self,
        simd: S,
        start: usize,
        reach: &Reach,
        needed: &Range<usize>,
        values: Rows<'_>,
    ) -> bool {
        self.clear_unseen::<S>(reach, needed.clone());
        simd.call_with_squares(SquareValues {
            types: PhantomData::<(E, O)>,
            out: self.out,
            out_stride: self.out_stride,
            rows: self.rows,
            weights: self.scores,
            values,
            start,
            needed: needed.clone(),
            panels: self.value_panels,
        })
    }

    /// Makes the weights in `needed` columns zero that no row of their strip sees.
    fn clear_unseen<S: Simd>(&mut self, reach: &Reach, needed: Range<usize>) {
        for (i, weights) in self.scores.chunks_exact_mut(KEYS).enumerate().take(self.rows) {
            let (seen, weights) = (seen::<S>(reach, &needed, i), &mut weights[needed.clone()]);
            weights[..seen.start].fill(0.0);
            weights[seen.end..].fill(0.0);
        }
    }

    /// Adds what the values of `piece` give, which begins at a column of the tile, to each row that sees any of them.
    #[inline(always)]
    fn add_in_place<S: Simd>(&mut self, simd: S, column: usize, piece: Piece<'_>) {
        let mut row = 0;
        while row < self.rows {
            // Heads of one position see the same.
            let position = self.position(self.item.rows.start + row);
            let heads = (row..self.rows).take_while(|i| self.position(self.item.rows.start + i) == position).count();
            for seen in self.seen[row].clone() {
                let range = seen.start.max(column) - column..seen.end.clamp(column, column + piece.rows()) - column;
                if range.is_empty() {
                    continue;
                }
                let weights = &mut self.scores[row * KEYS + column..(row + heads) * KEYS];
                if let Some(scales) = piece.scales() {
                    let scaled = |weights: &mut [f32]| multiply_each(&mut weights[range.clone()], &scales[range.clone()]);
                    weights.chunks_mut(KEYS).for_each(scaled);
                }
                let out = &mut self.out[row * self.out_stride..(row + heads) * self.out_stride];
                let out_stride = self.out_stride;
                with_view!(piece, values => simd.call(AddWeighted { out, out_stride, weights, values, range: range.clone() }));
            }
            row += heads;
        }
    }

    /// Adds what the values of the `needed` columns give, each item of `parts` to some rows of a block, whose strips take ranges of them.
    #[inline(always)]
    fn add_panels<'b, S: Simd>(
        &mut self,
        simd: S,
        needed: &Range<usize>,
        block: Range<usize>,
        parts: impl Iterator<Item = (Range<usize>, &'b [Range<usize>])> + Clone,
    ) {
        let (width, d_v, cells) = (panel_width::<S>(), self.spec.d_v, O::cells(needed.len()));
        let weights =
            MatrixRef::strided(self.scores, block.len(), keys::<O>(), keys::<O>(), 1).part(0..block.len(), needed.clone());
        let weights = O::left(simd, weights, self.left_weights);
        let out = MatrixMut::strided(self.out, self.rows, d_v, self.out_stride);
        for (column, panel) in (0..d_v).step_by(width).zip(self.value_panels.chunks(width * panel_depth(cells))) {
            for (rows, along) in parts.clone() {
                // SAFETY: the only part of `out` in use.
                let out = unsafe { out.part(0, rows.clone(), column..(column + width).min(d_v)) };
                let rows = rows.start - block.start..rows.end - block.start;
                multiply_strips::<O, _>(simd, out, weights.part(rows, 0..cells), panel, along);
            }
        }
    }
}

/// Which of the `needed` columns the strip of a row sees, in whole vectors, counted from the first of them.
#[inline(always)]
fn seen<S: Simd>(reach: &Reach, needed: &Range<usize>, row: usize) -> Range<usize> {
    let seen = reach.vectors_of::<S>(row);
    seen.start.clamp(needed.start, needed.end) - needed.start..seen.end.clamp(needed.start, needed.end) - needed.start
}

/// Rows of a panel of `cells` of values: odd, so that a row of all panels does not crowd into one set of the first-level cache.
pub(super) fn panel_depth(cells: usize) -> usize {
    cells | 1
}

/// Whether panels of `cells` of values hold no infinity and no NaN in their first `columns` columns.
#[inline(always)]
fn all_finite<O: Operand, S: Simd>(simd: S, panels: &[f32], cells: usize, columns: usize) -> bool {
    let width = panel_width::<S>();
    let zero = simd.splat(0.0);
    // Stay zero: zero times a finite value is zero, and times any other NaN.
    let mut sums = [zero; MAX_PANEL / 8];
    for (column, panel) in (0..columns).step_by(width).zip(panels.chunks(panel_depth(cells) * width)) {
        let used = (columns - column).min(width).div_ceil(S::LANES);
        for row in panel.chunks_exact(width).take(cells) {
            for j in 0..used {
                sums[j] = O::multiply_add(simd, load(simd, &row[j * S::LANES..]), zero, sums[j]);
            }
        }
    }
    let mut sum = zero;
    for some in sums {
        sum = simd.add(sum, some);
    }
    simd.reduce_add(sum) == 0.0
}
