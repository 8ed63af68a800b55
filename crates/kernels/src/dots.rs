//! Few rows against rows that are read once, in place: a linear layer or the scores of a decode step. The rows of the right
//! operand are transposed in registers, a square at a time, so that every entry is the same chain of multiply-adds in ascending
//! `k` as in [`crate::tile`]: the same bits, without a packed panel.

use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::tile::TILE_ROWS;
use crate::vector::{load, store};

/// Up to this many rows it is cheaper to transpose B anew for each strip of them than to pack it.
pub(crate) const FEW_ROWS: usize = 2 * TILE_ROWS;

/// C `[m, n]` = or += A `[m, k]` times the transpose of B `[n, k]`; rows of A and B are contiguous.
///
/// # Panics
/// If shapes do not agree, or rows are not contiguous.
#[inline(always)]
pub(crate) fn multiply_rows<S: Simd>(simd: S, c: MatrixMut<'_>, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate) {
    simd.call(MultiplyRows { c, a, b, accumulate });
}

struct MultiplyRows<'a> {
    c: MatrixMut<'a>,
    a: MatrixRef<'a>,
    b: MatrixRef<'a>,
    accumulate: Accumulate,
}

impl Kernel for MultiplyRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (m, n, k) = (self.c.rows(), self.c.cols(), self.a.cols());
        let agree = self.a.rows() == m && (self.b.rows(), self.b.cols()) == (n, k);
        assert!(agree, "[{m}, {n}] from {} rows and [{}, {}]", self.a.rows(), self.b.rows(), self.b.cols());
        assert!(self.a.col_stride() == 1 && self.b.col_stride() == 1, "rows of a product of rows are contiguous");
        for column in (0..n).step_by(S::LANES) {
            let mut row = 0;
            while row < m {
                // With 32 registers all rows meet B transposed once; with 16 those of a tile do.
                row += match m - row {
                    1 => self.multiply_group::<S, 1>(simd, row, column),
                    2 => self.multiply_group::<S, 2>(simd, row, column),
                    3 => self.multiply_group::<S, 3>(simd, row, column),
                    4 => self.multiply_group::<S, 4>(simd, row, column),
                    5 => self.multiply_group::<S, 5>(simd, row, column),
                    7 if wide::<S>() => self.multiply_group::<S, 7>(simd, row, column),
                    8 if wide::<S>() => self.multiply_group::<S, 8>(simd, row, column),
                    9 if wide::<S>() => self.multiply_group::<S, 9>(simd, row, column),
                    10 if wide::<S>() => self.multiply_group::<S, 10>(simd, row, column),
                    11 if wide::<S>() => self.multiply_group::<S, 11>(simd, row, column),
                    12.. if wide::<S>() => self.multiply_group::<S, FEW_ROWS>(simd, row, column),
                    _ => self.multiply_group::<S, TILE_ROWS>(simd, row, column),
                };
            }
        }
    }
}

/// Whether there are registers for a square and for [`FEW_ROWS`] sums.
const fn wide<S: Simd>() -> bool {
    S::TILE_VECTORS == 4
}

impl MultiplyRows<'_> {
    /// ROWS rows from `row` on by a vector of columns from `column` on, which may be partial. Gives ROWS.
    #[inline(always)]
    fn multiply_group<S: Simd, const ROWS: usize>(&mut self, simd: S, row: usize, column: usize) -> usize {
        let (b, depth) = (self.b, self.a.cols());
        let count = (b.rows() - column).min(S::LANES);
        let mut a = [&[][..]; ROWS];
        let mut sums = [simd.splat(0.0); ROWS];
        for i in 0..ROWS {
            a[i] = &self.a.row(row + i)[..depth];
            if self.accumulate == Accumulate::Add {
                sums[i] = load(simd, &self.c.row(row + i)[column..column + count]);
            }
        }
        let squares = if count == S::LANES { depth / S::LANES * S::LANES } else { 0 };
        for k in (0..squares).step_by(S::LANES) {
            // SAFETY: B has LANES rows from `column` on and LANES columns from `k` on, and its rows are contiguous. Hardware foresees
            // as many rows; with twice as many, or lines asked for besides, lines pages apart push each other out of the cache.
            let columns = unsafe { simd.load_columns(b.as_ptr().add(column * b.row_stride() + k), b.row_stride()) };
            for at in 0..S::LANES {
                for i in 0..ROWS {
                    // SAFETY: `k + at < squares`, which is at most `depth`, the length of every row of A.
                    let x = simd.splat(unsafe { *a[i].get_unchecked(k + at) });
                    sums[i] = simd.fma(x, columns[at], sums[i]);
                }
            }
        }
        for k in squares..depth {
            let mut lanes = [0.0; MAX_LANES];
            for (lane, entry) in (column..column + count).zip(&mut lanes) {
                *entry = b.at(lane, k);
            }
            let lanes = load(simd, &lanes);
            for i in 0..ROWS {
                sums[i] = simd.fma(simd.splat(a[i][k]), lanes, sums[i]);
            }
        }
        for i in 0..ROWS {
            store(simd, &mut self.c.row_mut(row + i)[column..column + count], sums[i]);
        }
        ROWS
    }
}
