//! Keys and values of one head, found in their runs, and packed as operands where many queries read them.

use super::{Cells, Run};
use crate::element::Element;
use crate::int4::Int4;
use crate::product::MatrixRef;
use crate::product::matrix::extent;
use crate::simd::{CACHE_LINE, Kernel, Simd};
use crate::tile::{MAX_PANEL, Operand, pack_panels, pack_row, panel_width};
use half::{bf16, f16};
use std::ops::Range;

/// Rows between the one at hand and the one that is asked for.
const AHEAD: usize = 8;

/// One head's rows in the runs of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) runs: &'a [Run<'a>],
    pub(super) head: usize,
    pub(super) width: usize,
}

/// Consecutive rows of one head, as they are stored.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, bf16>),
    F16(View<'a, f16>),
    /// Values, and the scale of each row.
    Int8(View<'a, i8>, &'a [f32]),
    Int4(View<'a, Int4>),
}

/// Rows of `width` contiguous values, `stride` cells apart.
#[derive(Clone, Copy)]
pub(super) struct View<'a, E> {
    // Every row lies inside; `View::new` checks it and nothing changes it.
    data: &'a [E],
    rows: usize,
    width: usize,
    stride: usize,
    /// Where the row after the last lies, if there is one. Nothing is read there.
    beyond: *const u8,
}

impl<'a, E: Element> View<'a, E> {
    #[inline]
    fn new(data: &'a [E], rows: usize, width: usize, stride: usize) -> Self {
        let inside = extent(rows, E::cells(width), stride, 1).is_some_and(|end| end <= data.len());
        assert!(inside, "{rows} rows of {width}, {stride} apart, in {} values", data.len());
        View { data, rows, width, stride, beyond: data.as_ptr().wrapping_add(rows * stride).cast() }
    }

    /// The same rows, of which the next one lies elsewhere.
    fn followed_by(self, next: Option<*const u8>) -> Self {
        View { beyond: next.unwrap_or(self.beyond), ..self }
    }

    /// Where row `i` lies, or would lie, to ask for it before it is read: counted beyond the end, it may be in the next run.
    #[inline(always)]
    pub(super) fn ahead(&self, i: usize) -> *const u8 {
        if i < self.rows {
            self.data.as_ptr().wrapping_add(i * self.stride).cast()
        } else {
            self.beyond.wrapping_add((i - self.rows) * self.stride * size_of::<E>())
        }
    }

    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    #[inline]
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Cells from one row to the next.
    #[inline]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The cells from the first of some rows to the end of the last.
    ///
    /// # Panics
    /// If there are no such rows.
    #[inline(always)]
    pub(super) fn rows_from(&self, rows: Range<usize>) -> &'a [E] {
        assert!(rows.start < rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        &self.data[rows.start * self.stride..(rows.end - 1) * self.stride + E::cells(self.width)]
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub(super) fn row(&self, i: usize) -> &'a [E] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.stride..][..E::cells(self.width)]
    }
}

/// Calls a generic function with the view of a piece, whatever its type.
macro_rules! with_view {
    ($piece:expr, $view:ident => $call:expr) => {
        match $piece {
            $crate::attention::rows::Piece::F32($view) => $call,
            $crate::attention::rows::Piece::Bf16($view) => $call,
            $crate::attention::rows::Piece::F16($view) => $call,
            $crate::attention::rows::Piece::Int8($view, _) => $call,
            $crate::attention::rows::Piece::Int4($view) => $call,
        }
    };
}
pub(super) use with_view;

impl<'a> Piece<'a> {
    #[inline]
    pub(super) fn rows(self) -> usize {
        with_view!(self, view => view.rows)
    }

    /// The scales of the rows, if they have any.
    #[inline]
    pub(super) fn scales(self) -> Option<&'a [f32]> {
        match self {
            Piece::Int8(_, scales) => Some(scales),
            _ => None,
        }
    }

    /// The rows as a matrix, unless they need widening.
    #[inline]
    pub(super) fn in_place(self) -> Option<MatrixRef<'a>> {
        match self {
            Piece::F32(View { data, rows, width, stride, .. }) => Some(MatrixRef::strided(data, rows, width, stride, 1)),
            _ => None,
        }
    }

    /// The rows as cells of an operand, if that is how they lie.
    fn cells_in_place<O: Operand>(self) -> Option<MatrixRef<'a>> {
        match self {
            Piece::Bf16(View { data, rows, width, stride, .. })
                if O::VALUES == 2 && width.is_multiple_of(2) && stride.is_multiple_of(2) =>
            {
                let whole = data.len() / 2 * 2;
                let pairs = bytemuck::try_cast_slice(&data[..whole]).ok()?;
                Some(MatrixRef::strided(pairs, rows, width / 2, stride / 2, 1))
            }
            _ => None,
        }
    }

    /// Writes some of the rows to `to`, one after the other, as f32.
    #[inline(always)]
    fn widen<S: Simd>(self, simd: S, rows: Range<usize>, to: &mut [f32]) {
        let scales = self.scales();
        with_view!(self, view => simd.call(Widen { view, rows, scales, to }));
    }

    /// The same without the scales.
    #[inline(always)]
    pub(super) fn widen_unscaled<S: Simd>(self, simd: S, rows: Range<usize>, to: &mut [f32]) {
        with_view!(self, view => simd.call(Widen { view, rows, scales: None, to }));
    }
}

struct Widen<'a, E> {
    view: View<'a, E>,
    rows: Range<usize>,
    scales: Option<&'a [f32]>,
    to: &'a mut [f32],
}

impl<E: Element> Kernel for Widen<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (row, to) in self.rows.zip(self.to.chunks_mut(self.view.width)) {
            E::widen(simd, self.view.row(row), to);
            if let Some(scales) = self.scales {
                let scale = scales[row];
                for x in to.iter_mut() {
                    *x *= scale;
                }
            }
        }
    }
}

/// Packs rows as rows `at..` of B, whose panels are `depth` deep.
struct PackWidened<'a, E> {
    view: View<'a, E>,
    scales: Option<&'a [f32]>,
    panels: &'a mut [f32],
    depth: usize,
    at: usize,
}

impl<E: Element> Kernel for PackWidened<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackWidened { view, scales, panels, depth, at } = self;
        let width = view.width;
        assert!(at + view.rows <= depth, "rows {at}.. of panels {depth} deep for {}", view.rows);
        assert!(panels.len() >= depth * width.next_multiple_of(panel_width::<S>()), "panels of {} for {width}", panels.len());
        for row in 0..view.rows {
            let cells = view.row(row).as_ptr();
            // Rows may be far apart, and short: no hardware foresees the next.
            let ahead = cells.wrapping_add(AHEAD * view.stride).cast::<u8>();
            for line in (0..E::bytes(width)).step_by(CACHE_LINE) {
                simd.prefetch(ahead.wrapping_add(line).cast());
            }
            let scale = scales.map(|scales| scales[row]);
            // SAFETY: the row has `width` values, and the panels have a row `at + row` for as many columns (asserted).
            unsafe { pack_row(simd, cells, width, scale, panels.as_mut_ptr(), depth, at + row) };
        }
    }
}

impl<'a> Rows<'a> {
    /// The rows at `positions` that runs hold, run by run, each piece with its first position.
    pub(super) fn pieces(self, positions: Range<usize>) -> impl Iterator<Item = (usize, Piece<'a>)> {
        let after = self.runs.partition_point(|run| run.first + run.rows <= positions.start);
        let runs = (after..self.runs.len()).map(move |i| &self.runs[i..]).take_while(move |runs| runs[0].first < positions.end);
        runs.filter(|runs| runs[0].rows > 0).map(move |runs| {
            let first = runs[0].first.max(positions.start);
            let rows = (runs[0].first + runs[0].rows).min(positions.end) - first;
            (first, self.piece(runs, first - runs[0].first, rows))
        })
    }

    /// Rows of the first of some runs.
    #[inline]
    fn piece(self, runs: &[Run<'a>], row: usize, rows: usize) -> Piece<'a> {
        let (run, width) = (&runs[0], self.width);
        let (start, stride) = (self.head * run.head_stride + row * run.row_stride, run.row_stride);
        let next = runs.get(1).filter(|_| row + rows == run.rows).map(|next| self.address(next));
        match run.data {
            Cells::F32(data) => Piece::F32(View::new(&data[start..], rows, width, stride).followed_by(next)),
            Cells::Bf16(data) => Piece::Bf16(View::new(&data[start..], rows, width, stride).followed_by(next)),
            Cells::F16(data) => Piece::F16(View::new(&data[start..], rows, width, stride).followed_by(next)),
            Cells::Int8 { values, scales, scale_stride } => {
                let scales = &scales[self.head * scale_stride + row..][..rows];
                Piece::Int8(View::new(&values[start..], rows, width, stride).followed_by(next), scales)
            }
            Cells::Int4(groups) => Piece::Int4(View::new(&groups[start..], rows, width, stride).followed_by(next)),
        }
    }

    /// Where the first row of a run lies.
    fn address(self, run: &Run<'_>) -> *const u8 {
        let start = self.head * run.head_stride;
        match run.data {
            Cells::F32(data) => data.as_ptr().wrapping_add(start).cast(),
            Cells::Bf16(data) => data.as_ptr().wrapping_add(start).cast(),
            Cells::F16(data) => data.as_ptr().wrapping_add(start).cast(),
            Cells::Int8 { values, .. } => values.as_ptr().wrapping_add(start).cast(),
            Cells::Int4(groups) => groups.as_ptr().wrapping_add(start).cast(),
        }
    }

    /// Packs the keys at `positions` as the columns of B `[width, keys]`, the first of them at column 0 of the first panel.
    /// Columns of positions that no run holds are left with any values. `rows` holds a panel's rows for a while.
    #[inline(always)]
    pub(super) fn pack_as_columns<O: Operand, S: Simd>(
        self,
        simd: S,
        positions: Range<usize>,
        panels: &mut [f32],
        rows: &mut [f32],
    ) {
        let (columns, depth) = (panel_width::<S>(), O::cells(self.width));
        let panels = panels.chunks_mut(columns * depth);
        for (start, panel) in positions.clone().step_by(columns).zip(panels) {
            let end = (start + columns).min(positions.end);
            if let Some((first, piece)) = self.pieces(start..end).next()
                && (first, piece.rows()) == (start, end - start)
            {
                if let Some(keys) = piece.in_place() {
                    O::pack(simd, keys.transposed(), panel, depth, 0);
                    continue;
                }
                if let Some(cells) = piece.cells_in_place::<O>() {
                    pack_panels(simd, cells.transposed(), panel, depth, 0);
                    continue;
                }
            }
            for (first, piece) in self.pieces(start..end) {
                let to = &mut rows[(first - start) * self.width..][..piece.rows() * self.width];
                piece.widen(simd, 0..piece.rows(), to);
            }
            let gathered = MatrixRef::row_major(rows, end - start, self.width);
            O::pack(simd, gathered.transposed(), panel, depth, 0);
        }
    }

    /// Packs the values at `positions` as the rows of B, those that are in one of the `seen` ranges; the others become zeros. As
    /// [`Rows::pack_as_rows`], for operands whose cells hold the values of several positions.
    #[inline(always)]
    pub(super) fn pack_seen_as_rows<O: Operand, S: Simd>(
        self,
        simd: S,
        positions: Range<usize>,
        seen: &[Range<usize>; 2],
        panels: &mut [f32],
        depth: usize,
        rows: &mut [f32],
    ) {
        for start in positions.clone().step_by(MAX_PANEL) {
            let end = (start + MAX_PANEL).min(positions.end);
            let at = (start - positions.start) / O::VALUES;
            let whole = seen.iter().any(|span| span.start <= start && end <= span.end);
            if whole
                && let Some((first, piece)) = self.pieces(start..end).next()
                && (first, piece.rows()) == (start, end - start)
                && let Some(values) = piece.in_place()
            {
                O::pack(simd, values, panels, depth, at);
                continue;
            }
            let rows = &mut rows[..(end - start) * self.width];
            rows.fill(0.0);
            let parts = seen.iter().map(|span| span.start.max(start)..span.end.min(end)).filter(|part| !part.is_empty());
            for (first, piece) in parts.flat_map(|part| self.pieces(part)) {
                let to = &mut rows[(first - start) * self.width..][..piece.rows() * self.width];
                piece.widen(simd, 0..piece.rows(), to);
            }
            O::pack(simd, MatrixRef::row_major(rows, end - start, self.width), panels, depth, at);
        }
    }

    /// Packs the values at `positions` as the rows of B `[depth, width]`, the first of them in the first row. Rows of positions
    /// that no run holds become zeros, so that a probability of zero times such a row is zero.
    #[inline(always)]
    pub(super) fn pack_as_rows<S: Simd>(self, simd: S, positions: Range<usize>, panels: &mut [f32], depth: usize) {
        let mut free = positions.start;
        for (first, piece) in self.pieces(positions.clone()) {
            self.pack_zeros(simd, free..first, positions.start, panels, depth);
            free = first + piece.rows();
            let (at, scales) = (first - positions.start, piece.scales());
            with_view!(piece, view => simd.call(PackWidened { view, scales, panels, depth, at }));
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
