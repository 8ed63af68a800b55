//! Many rows: a group of weights is taken apart once, into a panel in the first-level cache, while all rows of a block pass by.
//!
//! A tile of rows goes along the panel twice. The first pass multiplies codes only, and leaves their sums in memory; the second scales and adds
//! them. In one pass the two kinds of work share too few registers, and the chains of the second keep the first waiting: it took half
//! again to twice the time.

use super::activations::{ActivationBlock, Activations};
use super::format::{BLOCK, Format};
use super::layout::{GROUP, LINE};
use super::matrix::Matrix;
use super::piece::{FOURS, add_scaled, dots, take};
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

/// Rows of a group in a piece of a panel, each in as many vectors as a group takes: codes, two scales, a minimum.
const PIECE: usize = FOURS + 3;

const SCALES: usize = FOURS;
const MINIMUM: usize = FOURS + 2;

/// Values of a panel.
const CODES: usize = DEPTH * PIECE * GROUP;

/// Sums of products of a tile: of both halves of each piece.
const SUMS: usize = DEPTH * 2 * GROUP * TILE;

/// Values of scratch for a panel and a tile's sums, and room to begin on a cache line.
pub(super) const PANEL: usize = CODES + SUMS + 16;

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
        let (panel, sums) = scratch[skipped..][..PANEL - 16].split_at_mut(CODES);
        let pieces = w.width() / BLOCK;
        for group in groups.clone() {
            let columns = (group - groups.start) * GROUP..((group - groups.start + 1) * GROUP).min(y.cols());
            for first in (0..pieces.max(1)).step_by(DEPTH) {
                let along = first..(first + DEPTH).min(pieces);
                isa.run_integer(Apart::<FORMAT> { packed: w.group(group), along: along.clone(), panel });
                let accumulate = if first == 0 { accumulate } else { Accumulate::Add };
                // SAFETY: the only part of `y` in use.
                let y = unsafe { y.part(0, 0..rows.len(), columns.clone()) };
                isa.run_integer(Pass::<APART> { y, x, first_row: rows.start, along, panel, sums, accumulate });
            }
        }
    }
}

/// Takes a group apart: `[DEPTH][PIECE][GROUP / LANES]` vectors.
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
            let to = &mut panel[(index - along.start) * PIECE * GROUP + v * S::LANES..][..PIECE * GROUP - v * S::LANES];
            // SAFETY: the group has piece `index` (asserted) and a vector's rows are within it; there is room for `PIECE` times a group.
            unsafe {
                let (shared, piece) = (packed.as_ptr().add(shared), packed.as_ptr().add(place));
                let piece = take::<S, FORMAT>(simd, shared, piece, v * S::LANES);
                let to = to.as_mut_ptr();
                for j in 0..FOURS {
                    simd.store(to.add(j * GROUP).cast(), piece.codes[j]);
                }
                f.store(to.add(SCALES * GROUP), piece.scales[0]);
                f.store(to.add((SCALES + 1) * GROUP), piece.scales[1]);
                f.store(to.add(MINIMUM * GROUP), piece.minimum);
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
    sums: &'a mut [f32],
    accumulate: Accumulate,
}

impl<const FORMAT: usize> IntegerKernel for Pass<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(mut self, simd: S) {
        let m = self.y.rows();
        let mut row = 0;
        while row < m {
            row += if m - row >= TILE { self.tile::<S, TILE>(simd, row) } else { self.tile::<S, 1>(simd, row) };
        }
    }
}

impl<const FORMAT: usize> Pass<'_, FORMAT> {
    /// Rows `row..row + T`; gives how many those are.
    #[inline(always)]
    fn tile<S: Integers, const T: usize>(&mut self, simd: S, row: usize) -> usize {
        let mut x: [&[ActivationBlock]; T] = [&[]; T];
        for t in 0..T {
            x[t] = &self.x.row(self.first_row + row + t)[self.along.clone()];
        }
        if const { S::LANES == GROUP } {
            self.multiply::<S, 1, T>(simd, x);
            self.scale::<S, 1, T>(simd, row, x);
        } else {
            self.multiply::<S, 2, T>(simd, x);
            self.scale::<S, 2, T>(simd, row, x);
        }
        T
    }

    /// Sums of products of codes, `[index][half][GROUP / LANES][T]` vectors.
    #[inline(always)]
    fn multiply<S: Integers, const V: usize, const T: usize>(&mut self, simd: S, x: [&[ActivationBlock]; T]) {
        let pieces = self.along.len();
        assert!(V * S::LANES == GROUP && T <= TILE && self.panel.len() == CODES && self.sums.len() == SUMS && pieces <= DEPTH);
        let (panel, sums) = (self.panel.as_ptr(), self.sums.as_mut_ptr());
        for index in 0..pieces {
            let mut codes = [std::ptr::null(); T];
            for t in 0..T {
                codes[t] = x[t][index].codes.as_ptr();
            }
            // SAFETY: the panel has `FOURS` groups of codes for each of `DEPTH` pieces, aligned as a cache line, and `sums` have
            // room for two halves of each (both asserted); a block has 32 codes, 16 in each half, as aligned as its sums.
            unsafe {
                let weights = panel.add(index * PIECE * GROUP).cast();
                if const { Format::ALL[FORMAT].by_halves() } {
                    put(simd, sums.add(at(index, 0, T)), dots::<S, FORMAT, 4, V, T>(simd, weights, codes));
                    for t in 0..T {
                        codes[t] = codes[t].add(16);
                    }
                    let weights = weights.add(4 * LINE);
                    put(simd, sums.add(at(index, 1, T)), dots::<S, FORMAT, 4, V, T>(simd, weights, codes));
                } else {
                    put(simd, sums.add(at(index, 0, T)), dots::<S, FORMAT, FOURS, V, T>(simd, weights, codes));
                }
            }
        }
    }

    /// Adds the scaled sums to the rows. All vectors of a group at once: what is spread out of a block of activations serves them all.
    #[inline(always)]
    fn scale<S: Integers, const V: usize, const T: usize>(&mut self, simd: S, row: usize, x: [&[ActivationBlock]; T]) {
        let (f, pieces) = (simd.floats(), self.along.len());
        assert!(V * S::LANES == GROUP && T <= TILE && self.panel.len() == CODES && self.sums.len() == SUMS && pieces <= DEPTH);
        let (panel, from) = (self.panel.as_ptr(), self.sums.as_ptr());
        let mut sums = [[f.splat(0.0); T]; V];
        if self.accumulate == Accumulate::Add {
            for v in 0..V {
                for t in 0..T {
                    sums[v][t] = load(f, self.y.row(row + t).get(v * S::LANES..).unwrap_or(&[]));
                }
            }
        }
        for index in 0..pieces {
            let mut blocks = [&x[0][index]; T];
            for t in 0..T {
                blocks[t] = &x[t][index];
            }
            let (mut scales, mut minima) = ([[f.splat(0.0); V]; 2], [f.splat(0.0); V]);
            let mut products = [[[simd.splat(0); T]; V]; 2];
            // SAFETY: the panel has `PIECE` groups for each of `DEPTH` pieces and `sums` two halves of each for `TILE` rows (both asserted).
            unsafe {
                let panel = panel.add(index * PIECE * GROUP);
                for v in 0..V {
                    scales[0][v] = f.load(panel.add(SCALES * GROUP + v * S::LANES));
                    scales[1][v] = f.load(panel.add((SCALES + 1) * GROUP + v * S::LANES));
                    minima[v] = f.load(panel.add(MINIMUM * GROUP + v * S::LANES));
                    for half in 0..if const { Format::ALL[FORMAT].by_halves() } { 2 } else { 1 } {
                        for t in 0..T {
                            products[half][v][t] = simd.load(from.add(at(index, half, T) + (v * T + t) * S::LANES).cast());
                        }
                    }
                }
            }
            add_scaled::<S, FORMAT, V, T>(simd, &mut sums, products, scales, minima, blocks);
        }
        for v in 0..V {
            for t in 0..T {
                store(f, self.y.row_mut(row + t).get_mut(v * S::LANES..).unwrap_or(&mut []), sums[v][t]);
            }
        }
    }
}

/// Where the sums of a half of piece `index` begin, for tiles of `t` rows.
#[inline(always)]
fn at(index: usize, half: usize, t: usize) -> usize {
    (2 * index + half) * GROUP * t
}

/// # Safety
/// `V * T` vectors must be writable at `to`.
#[inline(always)]
unsafe fn put<S: Integers, const V: usize, const T: usize>(simd: S, to: *mut f32, sums: [[S::I; T]; V]) {
    for v in 0..V {
        for t in 0..T {
            // SAFETY: the caller's promise.
            unsafe { simd.store(to.add((v * T + t) * S::LANES).cast(), sums[v][t]) };
        }
    }
}
