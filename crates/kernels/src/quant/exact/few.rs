//! Few rows of activations as they are: packed weights are read once, as streams, and decoded in registers. Every entry of the result is
//! the chain of operations that it is for many rows.

use super::load_floats;
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::quant::format::{BLOCK, Format};
use crate::quant::layout::{GROUP, LINE};
use crate::quant::matrix::Matrix;
use crate::quant::piece::{FOURS, Piece, decoded, take};
use crate::simd::Simd;
use crate::simd::integer::{Floats, IntegerKernel, Integers};
use crate::vector::{load, store};
use std::ops::Range;

/// Up to this many rows: with more it pays to decode the weights once for all.
pub(in crate::quant) const FEW_ROWS: usize = 4;

/// Bytes between what is in use and what is asked for.
const AHEAD: usize = 2048;

/// `y [m, rows of the groups] = ` or `+= x [m, width]` times some groups of the weights.
pub(in crate::quant) struct ExactFew<'a, const FORMAT: usize> {
    pub(in crate::quant) y: MatrixMut<'a>,
    pub(in crate::quant) x: MatrixRef<'a>,
    pub(in crate::quant) w: &'a Matrix,
    pub(in crate::quant) groups: Range<usize>,
    pub(in crate::quant) accumulate: Accumulate,
}

impl<const FORMAT: usize> IntegerKernel for ExactFew<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        // Sums wait for themselves, and what is decoded beside them takes registers, of which AVX-512 has twice as many.
        if const { S::Floats::TILE_VECTORS >= 4 } { self.chains::<S, 4>(simd) } else { self.chains::<S, 2>(simd) }
    }
}

impl<const FORMAT: usize> ExactFew<'_, FORMAT> {
    /// All rows, `C` vectors of rows of weights at a time.
    #[inline(always)]
    fn chains<S: Integers, const C: usize>(mut self, simd: S) {
        let m = self.y.rows();
        for first in (0..self.groups.len() * (GROUP / S::LANES)).step_by(C) {
            let mut row = 0;
            while row < m {
                row += if m - row == 1 { self.tile::<S, C, 1>(simd, first, row) } else { self.tile::<S, C, 2>(simd, first, row) };
            }
        }
    }

    /// Rows `row..row + T` with the vectors from `first` on; gives how many rows those are.
    #[inline(always)]
    fn tile<S: Integers, const C: usize, const T: usize>(&mut self, simd: S, first: usize, row: usize) -> usize {
        let (f, vectors) = (simd.floats(), GROUP / S::LANES);
        let (mut packed, mut lanes, mut columns) = ([&[][..]; C], [0; C], [const { 0..0 }; C]);
        for c in 0..C {
            // Where there are fewer vectors the last is summed again and again, and its sums are not used.
            let vector = (first + c).min(self.groups.len() * vectors - 1);
            packed[c] = self.w.group(self.groups.start + vector / vectors);
            lanes[c] = vector % vectors * S::LANES;
            let column = (first + c) * S::LANES;
            columns[c] = column.min(self.y.cols())..(column + S::LANES).min(self.y.cols());
        }
        let mut x: [&[f32]; T] = [&[]; T];
        let mut sums = [[f.splat(0.0); T]; C];
        for t in 0..T {
            x[t] = &self.x.row(row + t)[..self.w.width()];
            if self.accumulate == Accumulate::Add {
                for c in 0..C {
                    sums[c][t] = load(f, &self.y.row(row + t)[columns[c].clone()]);
                }
            }
        }
        if const { Format::ALL[FORMAT].is_float() } {
            add_floats::<S, FORMAT, C, T>(simd, packed, lanes, x, &mut sums);
        } else {
            add_codes::<S, FORMAT, C, T>(simd, packed, lanes, x, &mut sums);
        }
        for t in 0..T {
            for c in 0..C {
                store(f, &mut self.y.row_mut(row + t)[columns[c].clone()], sums[c][t]);
            }
        }
        T
    }
}

/// Adds the products with weights that are floats, those from row `lanes[c]` of a packed group on.
#[inline(always)]
fn add_floats<S: Integers, const FORMAT: usize, const C: usize, const T: usize>(
    simd: S,
    packed: [&[u8]; C],
    lanes: [usize; C],
    x: [&[f32]; T],
    sums: &mut [[Floats<S>; T]; C],
) {
    let (f, size, width) = (simd.floats(), const { Format::ALL[FORMAT].block_bytes() }, x[0].len());
    assert!(packed.iter().all(|packed| packed.len() == width * GROUP * size), "groups of {width} columns");
    assert!(lanes.iter().all(|lane| lane + S::LANES <= GROUP), "rows from {lanes:?} on");
    for k in 0..width {
        for c in 0..C {
            // SAFETY: the group has 16 rows of column `k` and a vector of them from `lanes[c]` on (both asserted).
            let weights = unsafe {
                let at = (k * GROUP + lanes[c]) * size;
                load_floats::<S, FORMAT>(simd, packed[c].as_ptr().add(at))
            };
            for t in 0..T {
                sums[c][t] = f.fma(f.splat(x[t][k]), weights, sums[c][t]);
            }
        }
    }
}

/// The same with weights of few bits.
#[inline(always)]
fn add_codes<S: Integers, const FORMAT: usize, const C: usize, const T: usize>(
    simd: S,
    packed: [&[u8]; C],
    lanes: [usize; C],
    x: [&[f32]; T],
    sums: &mut [[Floats<S>; T]; C],
) {
    let (f, format) = (simd.floats(), const { Format::ALL[FORMAT] });
    let mut blocks: [&[[f32; BLOCK]]; T] = [&[]; T];
    for t in 0..T {
        blocks[t] = x[t].as_chunks().0;
    }
    let pieces = blocks[0].len();
    assert!(packed.iter().all(|packed| packed.len() == format.group_bytes(pieces * BLOCK)), "groups of {pieces} pieces");
    assert!(lanes.iter().all(|lane| lane + S::LANES <= GROUP), "rows from {lanes:?} on");
    for index in 0..pieces {
        let (shared, place) = format.place(index);
        for c in (0..C).step_by(GROUP / S::LANES) {
            for line in (0..format.piece_bytes()).step_by(LINE) {
                f.prefetch(packed[c].as_ptr().wrapping_add(place + line + AHEAD).cast());
            }
        }
        let zero = f.splat(0.0);
        let mut taken = [Piece { codes: [simd.splat(0); FOURS], scales: [zero; 2], minimum: zero }; C];
        for c in 0..C {
            let group = packed[c].as_ptr();
            // SAFETY: the group is whole and has piece `index`, and a vector's rows are within it (both asserted).
            taken[c] = unsafe { take::<S, FORMAT>(simd, group.add(shared), group.add(place), lanes[c]) };
        }
        for four in 0..FOURS {
            for byte in 0..4 {
                for c in 0..C {
                    let Piece { codes, scales, minimum } = &taken[c];
                    let weights = decoded::<S, FORMAT>(simd, codes[four], byte, scales[four / 4], *minimum);
                    for t in 0..T {
                        sums[c][t] = f.fma(f.splat(blocks[t][index][4 * four + byte]), weights, sums[c][t]);
                    }
                }
            }
        }
    }
}
