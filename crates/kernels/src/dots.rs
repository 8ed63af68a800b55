//! Few rows against rows that are read once, in place: a linear layer or the scores of a decode step. The rows of the right
//! operand are transposed in registers, a square at a time, so that every entry is the same chain of multiply-adds in ascending
//! `k` as in [`crate::tile`]: the same bits, without a packed panel.

use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::tile::{LINE, TILE_ROWS};
use crate::vector::{load, store};

/// Up to this many rows it is cheaper to transpose B anew for each strip of them than to pack it.
pub(crate) const FEW_ROWS: usize = 2 * TILE_ROWS;

/// Rows of B between those in use and those asked for.
const AHEAD: usize = 16;

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
        let mut column = 0;
        // One row alone takes two groups of columns at a time: its one sum would wait for itself.
        while m == 1 && column + 2 * S::LANES <= n {
            self.multiply_group::<S, 1, 2>(simd, 0, column);
            column += 2 * S::LANES;
        }
        while column < n {
            for row in (0..m).step_by(TILE_ROWS) {
                match (m - row).min(TILE_ROWS) {
                    1 => self.multiply_group::<S, 1, 1>(simd, row, column),
                    2 => self.multiply_group::<S, 2, 1>(simd, row, column),
                    3 => self.multiply_group::<S, 3, 1>(simd, row, column),
                    4 => self.multiply_group::<S, 4, 1>(simd, row, column),
                    5 => self.multiply_group::<S, 5, 1>(simd, row, column),
                    _ => self.multiply_group::<S, TILE_ROWS, 1>(simd, row, column),
                }
            }
            column += S::LANES;
        }
    }
}

impl MultiplyRows<'_> {
    /// ROWS rows from `row` on, VECTORS vectors of columns from `column` on, of which the last may be partial.
    #[inline(always)]
    fn multiply_group<S: Simd, const ROWS: usize, const VECTORS: usize>(&mut self, simd: S, row: usize, column: usize) {
        let (b, depth) = (self.b, self.a.cols());
        let count = (b.rows() - column).min(VECTORS * S::LANES);
        let mut a = [&[][..]; ROWS];
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        for i in 0..ROWS {
            a[i] = &self.a.row(row + i)[..depth];
            if self.accumulate == Accumulate::Add {
                let c = &self.c.row(row + i)[column..column + count];
                for j in 0..VECTORS {
                    sums[i][j] = load(simd, &c[j * S::LANES..]);
                }
            }
        }
        let squares = if count == VECTORS * S::LANES { depth / S::LANES * S::LANES } else { 0 };
        for k in (0..squares).step_by(S::LANES) {
            for j in 0..VECTORS {
                let first = column + j * S::LANES;
                // With each square some lines of one row, so that the group's squares together ask for a whole group.
                let (square, lines) = (k / S::LANES, S::LANES * S::LANES / LINE);
                let ahead = (first + AHEAD + square % S::LANES) * b.row_stride() + square / S::LANES * lines * LINE;
                for line in 0..lines {
                    simd.prefetch(b.as_ptr().wrapping_add(ahead + line * LINE));
                }
                // SAFETY: B has LANES rows from `first` on and LANES columns from `k` on, and its rows are contiguous.
                let columns = unsafe { simd.load_columns(b.as_ptr().add(first * b.row_stride() + k), b.row_stride()) };
                for at in 0..S::LANES {
                    for i in 0..ROWS {
                        // SAFETY: `k + at < squares`, which is at most `depth`, the length of every row of A.
                        let x = simd.splat(unsafe { *a[i].get_unchecked(k + at) });
                        sums[i][j] = simd.fma(x, columns[at], sums[i][j]);
                    }
                }
            }
        }
        for k in squares..depth {
            for j in 0..VECTORS {
                let mut lanes = [0.0; MAX_LANES];
                for (lane, entry) in (column + j * S::LANES..column + count).take(S::LANES).zip(&mut lanes) {
                    *entry = b.at(lane, k);
                }
                let lanes = load(simd, &lanes);
                for i in 0..ROWS {
                    sums[i][j] = simd.fma(simd.splat(a[i][k]), lanes, sums[i][j]);
                }
            }
        }
        for i in 0..ROWS {
            let c = &mut self.c.row_mut(row + i)[column..column + count];
            for j in 0..VECTORS {
                store(simd, &mut c[j * S::LANES..], sums[i][j]);
            }
        }
    }
}
