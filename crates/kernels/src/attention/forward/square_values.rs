//! Weighted values of a large group of queries by squares: the values of two keys side by side as pairs of bf16, which hold bf16 and bytes
//! exactly, and weights cut into three bf16, which are added to the same sums one after the other. Weights that are bf16 themselves
//! are one.

use super::KEYS;
use super::squares::SquareElement;
use crate::attention::rows::Rows;
use crate::element::Element;
use crate::simd::{CACHE_LINE, Kernel, Lines, MAX_LANES, SQUARE, Simd};
use crate::tile::{Operand, Single};
use crate::vector::{load, store};
use half::bf16;
use std::marker::PhantomData;
use std::ops::Range;

/// Keys of a step.
const STEP: usize = 2 * SQUARE;

/// Rows between the one at hand and the one that is asked for.
const AHEAD: isize = 8;

/// Numbers that a weight is cut into, at most.
const MOST_PARTS: usize = Single::PARTS;

/// Pairs of a tile of keys.
const PAIRS: usize = KEYS / 2;

/// Columns of a panel: two squares.
const PANEL: usize = 2 * SQUARE;

/// Rows of a panel, odd so that a row of all panels does not crowd into few sets of the first-level cache.
const DEPTH: usize = PAIRS + 1;

/// `out[i] += weights[i] . values`. Gives whether it did: there must be squares, all values of the type of `E`, and neither they nor their
/// scales infinite or NaN, or zero times such a value would not be zero.
pub(super) struct SquareValues<'a, E, O> {
    pub(super) types: PhantomData<(E, O)>,
    /// `[rows, out_stride]`, of whole squares of rows and whole vectors.
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
    pub(super) rows: usize,
    /// `[rows, KEYS]`
    pub(super) weights: &'a [f32],
    pub(super) values: Rows<'a>,
    /// Position of the first column of the weights.
    pub(super) start: usize,
    /// Columns of the weights that count.
    pub(super) needed: Range<usize>,
    /// Room for the values as pairs.
    pub(super) panels: &'a mut [f32],
}

impl<E: SquareElement, O: Operand> Kernel for SquareValues<'_, E, O> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        // From a whole step on, so that a row's bits do not depend on which keys it sees first.
        let columns = self.needed.start / STEP * STEP..self.needed.end.next_multiple_of(STEP);
        let mut scales = [1.0; KEYS];
        if !simd.has_squares() || !self.pack(simd, &columns, &mut scales) {
            return false;
        }
        for first in (0..self.rows).step_by(const { rows_of_block::<O>() }) {
            self.add(simd, first, &columns, &scales);
        }
        true
    }
}

impl<E: SquareElement, O: Operand> SquareValues<'_, E, O> {
    /// Packs the values at `columns`, whole steps, with zeros where no row is, and finds their scales. Gives whether all are of the
    /// type and finite.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, simd: S, columns: &Range<usize>, scales: &mut [f32; KEYS]) -> bool {
        let (width, room) = (self.values.width, self.panels.len());
        assert!(room >= DEPTH * width.next_multiple_of(PANEL), "panels of {room} for {width} columns");
        let mut rows = [&[][..]; KEYS];
        for (first, piece) in self.values.pieces(self.start + self.needed.start..self.start + self.needed.end) {
            let (Some(view), column) = (E::view(piece), first - self.start) else { return false };
            for (i, row) in rows[column..][..view.rows()].iter_mut().enumerate() {
                *row = view.row(i);
            }
            if let Some(of_rows) = piece.scales() {
                if !of_rows.iter().all(|scale| scale.is_finite()) {
                    return false;
                }
                scales[column..][..view.rows()].copy_from_slice(of_rows);
            }
        }
        let mut check = simd.splat(0.0);
        for pair in columns.start / 2..columns.end / 2 {
            let [first, second] = [rows[2 * pair], rows[2 * pair + 1]];
            // Rows may be far apart, and short: no hardware foresees the next.
            let apart = second.as_ptr() as isize - first.as_ptr() as isize;
            for row in [first, second] {
                let ahead = row.as_ptr().cast::<u8>().wrapping_offset(AHEAD * apart);
                for line in (0..E::bytes(row.len())).step_by(CACHE_LINE) {
                    simd.prefetch(ahead.wrapping_add(line).cast());
                }
            }
            for (column, panel) in (0..width).step_by(PANEL).zip(self.panels.chunks_exact_mut(DEPTH * PANEL)) {
                let (panel, there) = (&mut panel[pair * PANEL..][..PANEL], !first.is_empty() && !second.is_empty());
                for at in (0..PANEL).step_by(S::LANES) {
                    let (x, y) = if there && column + PANEL <= width {
                        // SAFETY: both rows are there, `width` wide.
                        unsafe { (E::load(simd, first.as_ptr(), column + at), E::load(simd, second.as_ptr(), column + at)) }
                    } else {
                        (part(simd, first, column + at, width), part(simd, second, column + at, width))
                    };
                    check = simd.fma(simd.add(x, y), simd.splat(0.0), check);
                    store(simd, &mut panel[at..][..S::LANES], simd.pair(x, y));
                }
            }
        }
        simd.reduce_add(check) == 0.0
    }

    /// Adds the values to a block of rows from `first` on.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, first: usize, columns: &Range<usize>, scales: &[f32; KEYS]) {
        let mut left = Lines([0.0; SQUARE * MOST_PARTS * PAIRS]);
        let (rows, stride) = ((self.rows - first).min(const { rows_of_block::<O>() }), O::PARTS * PAIRS);
        for (row, parts) in left.0.chunks_exact_mut(stride).enumerate().take(rows) {
            let weights = &self.weights[(first + row) * KEYS..][..KEYS];
            cut(simd, weights, &self.needed, scales, parts);
        }
        let out = &mut self.out[first * self.out_stride..(first + rows) * self.out_stride];
        let (pair, steps) = (columns.start / 2, columns.len() / STEP);
        let mut sums = Lines([0.0; 2 * SQUARE * PANEL]);
        for (column, panel) in (0..self.values.width).step_by(PANEL).zip(self.panels.chunks_exact(DEPTH * PANEL)) {
            let (from, left) = (panel[pair * PANEL..].as_ptr(), left.0[pair..].as_ptr());
            // SAFETY: there are squares; `left` has rows for each part of a square, or for two squares of one part, the panel as many
            // pairs, `sums` room for two by two squares.
            unsafe {
                simd.load_squares::<2, 2>(None, PANEL);
                if const { O::PARTS > 1 } {
                    // The first two parts have sums of their own, since each product waits for the one before.
                    simd.multiply_squares::<2, 2, false>([left, left.add(PAIRS)], stride, from, PANEL, steps);
                    for part in 2..O::PARTS {
                        simd.multiply_squares::<1, 2, false>([left.add(part * PAIRS); 2], stride, from, PANEL, steps);
                    }
                } else if rows > SQUARE {
                    simd.multiply_squares::<2, 2, false>([left, left.add(SQUARE * stride)], stride, from, PANEL, steps);
                } else {
                    simd.multiply_squares::<1, 2, false>([left; 2], stride, from, PANEL, steps);
                }
                simd.store_squares::<2, 2>(sums.0.as_mut_ptr(), PANEL);
            }
            let (upper, lower) = sums.0.split_at(SQUARE * PANEL);
            for row in 0..rows {
                let out = &mut out[row * self.out_stride + column..][..PANEL.min(self.out_stride - column)];
                for (lane, out) in (0..PANEL).step_by(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
                    let at = row * PANEL + lane;
                    let sum = if const { O::PARTS > 1 } {
                        simd.add(load(simd, &upper[at..]), load(simd, &lower[at..]))
                    } else {
                        load(simd, &sums.0[at..])
                    };
                    store(simd, out, simd.add(load(simd, out), sum));
                }
            }
        }
    }
}

/// Rows of a block: those of two squares, or of one whose first two parts have as many sums.
const fn rows_of_block<O: Operand>() -> usize {
    if O::PARTS == 1 { 2 * SQUARE } else { SQUARE }
}

/// The values of a row `width` wide from a place on, as far as there are any; of no row none.
#[inline(always)]
fn part<E: Element, S: Simd>(simd: S, row: &[E], at: usize, width: usize) -> S::V {
    let count = if row.is_empty() { 0 } else { width.saturating_sub(at).min(S::LANES) };
    match count {
        0 => simd.splat(0.0),
        // SAFETY: as many values are there.
        _ => unsafe { E::load_partial(simd, row.as_ptr(), at, count) },
    }
}

/// Cuts the `needed` weights of a row, times `scales`, into rows of pairs, one after the other; the others stay as they are.
#[inline(always)]
fn cut<S: Simd>(simd: S, weights: &[f32], needed: &Range<usize>, scales: &[f32; KEYS], parts: &mut [f32]) {
    let mut scaled = [0.0; KEYS];
    for column in needed.clone() {
        scaled[column] = weights[column] * scales[column];
    }
    let parts: &mut [bf16] = bytemuck::cast_slice_mut(parts);
    for column in (needed.start / MAX_LANES * MAX_LANES..needed.end).step_by(S::LANES) {
        // SAFETY: KEYS are whole vectors.
        let mut rest = unsafe { simd.load(scaled.as_ptr().add(column)) };
        for part in parts.chunks_exact_mut(KEYS) {
            // SAFETY: a part has as many bf16 as there are weights.
            unsafe {
                let to = part.as_mut_ptr().add(column);
                simd.store_bf16(to, rest);
                rest = simd.sub(rest, simd.load_bf16(to));
            }
        }
    }
}
