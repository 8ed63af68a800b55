//! Many rows: a group of weights is taken apart once, into a panel in the first-level cache, while all rows of a block pass by.

use super::activations::{ActivationBlock, Activations};
use super::format::{BLOCK, Format};
use super::layout::GROUP;
use super::matrix::Matrix;
use super::piece::{FOURS, Piece, multiply, take};
use crate::Isa;
use crate::product::{Accumulate, MatrixMut};
use crate::simd::Simd;
use crate::simd::integer::{IntegerKernel, Integers};
use crate::vector::{load, store};
use std::ops::Range;

/// Rows of activations that meet a piece of the panel together.
const TILE: usize = 4;

/// Pieces along a panel, whole blocks of every format: a panel is 16 KiB.
const DEPTH: usize = 24;

/// Vectors of a piece in a panel: codes, two scales, a minimum.
const PIECE: usize = FOURS + 3;

/// Values of scratch for a panel, and room to begin it on a cache line.
pub(super) const PANEL: usize = DEPTH * PIECE * GROUP + 16;

/// `y [m, rows of the groups] = ` or `+= ` the products of rows `rows` of the activations with some groups of the weights.
pub(super) struct Many<'a> {
    pub(super) y: MatrixMut<'a>,
    pub(super) x: Activations<'a>,
    pub(super) rows: Range<usize>,
    pub(super) w: &'a Matrix,
    pub(super) groups: Range<usize>,
    pub(super) accumulate: Accumulate,
    pub(super) scratch: &'a mut [f32],
}

impl Many<'_> {
    /// Multiplies weights of one format, which once taken apart are like those of format `APART`.
    pub(super) fn run<const FORMAT: usize, const APART: usize>(self, isa: Isa) {
        let Many { y, x, rows, w, groups, accumulate, scratch } = self;
        let skipped = scratch.as_ptr().align_offset(64);
        assert!(scratch.len() >= PANEL && skipped <= 16, "a panel of {} after {skipped}", scratch.len());
        let panel = &mut scratch[skipped..][..PANEL - 16];
        let pieces = w.width() / BLOCK;
        for group in groups.clone() {
            let columns = (group - groups.start) * GROUP..((group - groups.start + 1) * GROUP).min(y.cols());
            for first in (0..pieces.max(1)).step_by(DEPTH) {
                let along = first..(first + DEPTH).min(pieces);
                isa.run_integer(Apart::<FORMAT> { packed: w.group(group), along: along.clone(), panel });
                let accumulate = if first == 0 { accumulate } else { Accumulate::Add };
                // SAFETY: the only part of `y` in use.
                let y = unsafe { y.part(0, 0..rows.len(), columns.clone()) };
                isa.run_integer(Pass::<APART> { y, x, first_row: rows.start, along, panel, accumulate });
            }
        }
    }
}

/// Takes a group apart: `[GROUP / LANES][DEPTH][PIECE]` vectors.
struct Apart<'a, const FORMAT: usize> {
    packed: &'a [u8],
    along: Range<usize>,
    panel: &'a mut [f32],
}

impl<const FORMAT: usize> IntegerKernel for Apart<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        let Apart { packed, along, panel } = self;
        let (f, format) = (simd.floats(), const { Format::ALL[FORMAT] });
        assert!(
            format.group_bytes(along.end.next_multiple_of(format.pieces()) * BLOCK) <= packed.len(),
            "{along:?} of {}",
            packed.len()
        );
        for (index, v) in along.clone().flat_map(|index| (0..GROUP / S::LANES).map(move |v| (index, v))) {
            let (shared, place) = format.place(index);
            let to = &mut panel[at::<S>(v, index - along.start)..][..PIECE * S::LANES];
            // SAFETY: the group has piece `index` (asserted) and a vector's rows are within it; there is room for `PIECE` vectors.
            unsafe {
                let (shared, piece) = (packed.as_ptr().add(shared), packed.as_ptr().add(place));
                let piece = take::<S, FORMAT>(simd, shared, piece, v * S::LANES);
                let to = to.as_mut_ptr();
                for j in 0..FOURS {
                    simd.store(to.add(j * S::LANES).cast(), piece.codes[j]);
                }
                f.store(to.add(FOURS * S::LANES), piece.scales[0]);
                f.store(to.add((FOURS + 1) * S::LANES), piece.scales[1]);
                f.store(to.add((FOURS + 2) * S::LANES), piece.minimum);
            }
        }
    }
}

/// All rows go by the panel.
struct Pass<'a, const FORMAT: usize> {
    y: MatrixMut<'a>,
    x: Activations<'a>,
    first_row: usize,
    along: Range<usize>,
    panel: &'a [f32],
    accumulate: Accumulate,
}

impl<const FORMAT: usize> IntegerKernel for Pass<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(mut self, simd: S) {
        let (m, columns) = (self.y.rows(), self.y.cols());
        let mut row = 0;
        while row < m {
            let rows = if m - row >= TILE { TILE } else { 1 };
            for v in 0..columns.div_ceil(S::LANES) {
                if rows == TILE {
                    self.tile::<S, TILE>(simd, row, v);
                } else {
                    self.tile::<S, 1>(simd, row, v);
                }
            }
            row += rows;
        }
    }
}

impl<const FORMAT: usize> Pass<'_, FORMAT> {
    /// Rows `row..row + T` of vector `v` of the columns.
    #[inline(always)]
    fn tile<S: Integers, const T: usize>(&mut self, simd: S, row: usize, v: usize) {
        let (f, column) = (simd.floats(), v * S::LANES);
        let mut x: [&[ActivationBlock]; T] = [&[]; T];
        for t in 0..T {
            x[t] = &self.x.row(self.first_row + row + t)[self.along.clone()];
        }
        let mut sums = [f.splat(0.0); T];
        if self.accumulate == Accumulate::Add {
            for t in 0..T {
                sums[t] = load(f, &self.y.row(row + t)[column..]);
            }
        }
        let panel = &self.panel[at::<S>(v, 0)..][..self.along.len() * PIECE * S::LANES];
        for index in 0..self.along.len() {
            let mut blocks = [&x[0][index]; T];
            for t in 0..T {
                blocks[t] = &x[t][index];
            }
            // SAFETY: this part of the panel has `PIECE` vectors for every index along.
            let piece = unsafe { read::<S>(simd, panel.as_ptr().add(at::<S>(0, index))) };
            multiply::<S, FORMAT, T>(simd, &piece, blocks, &mut sums);
        }
        for t in 0..T {
            store(f, &mut self.y.row_mut(row + t)[column..], sums[t]);
        }
    }
}

/// Where piece `index` of vector `v` is.
#[inline(always)]
fn at<S: Integers>(v: usize, index: usize) -> usize {
    (v * DEPTH + index) * PIECE * S::LANES
}

/// # Safety
/// `PIECE` vectors must be readable at `from`.
#[inline(always)]
unsafe fn read<S: Integers>(simd: S, from: *const f32) -> Piece<S> {
    let f = simd.floats();
    let mut codes = [simd.splat(0); FOURS];
    // SAFETY: the caller's promise.
    unsafe {
        for j in 0..FOURS {
            codes[j] = simd.load(from.add(j * S::LANES).cast());
        }
        let scales = [f.load(from.add(FOURS * S::LANES)), f.load(from.add((FOURS + 1) * S::LANES))];
        Piece { codes, scales, minimum: f.load(from.add((FOURS + 2) * S::LANES)) }
    }
}
