//! Few rows: packed weights are read once, as a stream, and taken apart in registers.

use super::activations::{ActivationBlock, Activations};
use super::format::{BLOCK, Format};
use super::layout::GROUP;
use super::matrix::Matrix;
use super::piece::{multiply, take};
use crate::product::{Accumulate, MatrixMut};
use crate::simd::Simd;
use crate::simd::integer::{Floats, IntegerKernel, Integers};
use crate::vector::{load, store};
use std::ops::Range;

/// Up to this many rows of activations: with more it pays to take the weights apart once for all.
pub(super) const FEW_ROWS: usize = 8;

/// Rows of activations that share what was taken apart.
const TILE: usize = 4;

/// Vectors of a group, at most.
const VECTORS: usize = 2;

/// Bytes between what is in use and what is asked for.
const AHEAD: usize = 2048;

/// `y [m, rows of the groups] = ` or `+= ` the products of all activations with some groups of the weights.
pub(super) struct Few<'a, const FORMAT: usize> {
    pub(super) y: MatrixMut<'a>,
    pub(super) x: Activations<'a>,
    pub(super) w: &'a Matrix,
    pub(super) groups: Range<usize>,
    pub(super) accumulate: Accumulate,
}

impl<const FORMAT: usize> IntegerKernel for Few<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(mut self, simd: S) {
        const { assert!(S::LANES * VECTORS >= GROUP && GROUP.is_multiple_of(S::LANES)) };
        let m = self.y.rows();
        for group in self.groups.clone() {
            // The first tile brings the group; the others find it near.
            let mut row = 0;
            while row < m {
                row += match m - row {
                    1 => self.tile::<S, 1>(simd, group, row),
                    2 | 3 => self.tile::<S, 2>(simd, group, row),
                    _ => self.tile::<S, TILE>(simd, group, row),
                }
            }
        }
    }
}

impl<const FORMAT: usize> Few<'_, FORMAT> {
    /// Rows `row..row + T`; gives how many those are.
    #[inline(always)]
    fn tile<S: Integers, const T: usize>(&mut self, simd: S, group: usize, row: usize) -> usize {
        let format = const { Format::ALL[FORMAT] };
        let (f, packed, pieces) = (simd.floats(), self.w.group(group), self.w.width() / BLOCK);
        let mut x: [&[ActivationBlock]; T] = [&[]; T];
        for t in 0..T {
            x[t] = &self.x.row(row + t)[..pieces];
        }
        assert!(packed.len() == format.group_bytes(pieces * BLOCK), "a group of {} bytes", packed.len());
        let column = (group - self.groups.start) * GROUP;
        let end = (column + GROUP).min(self.y.cols());
        let mut sums = [[f.splat(0.0); T]; VECTORS];
        if self.accumulate == Accumulate::Add {
            for t in 0..T {
                let y = &self.y.row(row + t)[column..end];
                for v in 0..GROUP / S::LANES {
                    sums[v][t] = load(f, y.get(v * S::LANES..).unwrap_or(&[]));
                }
            }
        }
        for index in 0..pieces {
            let (shared, place) = format.place(index);
            for line in (0..format.piece_bytes()).step_by(64) {
                f.prefetch(packed.as_ptr().wrapping_add(place + line + AHEAD).cast());
            }
            let mut blocks = [&x[0][index]; T];
            for t in 0..T {
                blocks[t] = &x[t][index];
            }
            for v in 0..GROUP / S::LANES {
                // SAFETY: the group is whole (asserted) and has piece `index`; a vector's rows are within it (asserted by `run`).
                let piece = unsafe {
                    let (shared, piece) = (packed.as_ptr().add(shared), packed.as_ptr().add(place));
                    take::<S, FORMAT>(simd, shared, piece, v * S::LANES)
                };
                multiply::<S, FORMAT, T>(simd, &piece, blocks, &mut sums[v]);
            }
        }
        for t in 0..T {
            let y = &mut self.y.row_mut(row + t)[column..end];
            for v in 0..GROUP / S::LANES {
                let sum: Floats<S> = sums[v][t];
                store(f, y.get_mut(v * S::LANES..).unwrap_or(&mut []), sum);
            }
        }
        T
    }
}
