//! Operands of bf16 products: rounded, and two that follow each other along `k` side by side. A pair is as wide as an f32 and is
//! moved as one. The last pair of an odd `k` holds a zero on both sides.

use crate::isa::Isa;
use crate::product::MatrixRef;
use crate::simd::{Kernel, SQUARE, Simd};
use crate::tile::{LINE, Operand, Rounded, panel_width};
use bytemuck::cast_slice_mut;
use half::bf16;

/// Two bf16 that follow each other along `k`.
#[derive(Clone, Copy)]
pub(crate) struct Pair;

impl Operand for Pair {
    const VALUES: usize = 2;
    const PARTS: usize = 1;
    type InPlace = Rounded;

    #[inline]
    fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
        isa.run_pairs(kernel)
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        simd.dot(a, b, sum)
    }
    #[inline(always)]
    fn has_squares<S: Simd>(simd: S) -> bool {
        simd.has_squares()
    }
    #[inline(always)]
    fn nearest<S: Simd>(simd: S, x: S::V) -> S::V {
        Rounded::nearest(simd, x)
    }
    #[inline(always)]
    fn pack<S: Simd>(simd: S, b: MatrixRef<'_>, panels: &mut [f32], depth: usize, at: usize) {
        simd.call(PackPairs { b, panels, depth, at });
    }
    fn left_scratch(m: usize, k: usize) -> usize {
        Pair::rows_scratch(m, k).max(pairs(k) * row_stride(m))
    }
    #[inline(always)]
    fn round<S: Simd>(simd: S, a: MatrixRef<'_>, scratch: &mut [f32]) {
        simd.call(RoundRows { a, scratch });
    }
    #[inline(always)]
    fn store_left<S: Simd, const N: usize>(simd: S, v: [S::V; N], _: &mut [f32], row: &mut [f32], at: usize) {
        let to: &mut [bf16] = &mut cast_slice_mut(row)[at..at + N * S::LANES];
        // SAFETY: these are N times LANES values.
        unsafe {
            if N == 2 {
                simd.store_bf16_two(to.as_mut_ptr(), [v[0], v[1]]);
            } else {
                for i in 0..N {
                    simd.store_bf16(to.as_mut_ptr().add(i * S::LANES), v[i]);
                }
            }
        }
    }
    /// Rows of pairs where A has contiguous rows, or where there are squares; else, as it has contiguous columns, a row of pairs for each
    /// two of them, so that nothing is transposed.
    #[inline(always)]
    fn left<'a, S: Simd>(simd: S, a: MatrixRef<'a>, scratch: &'a [f32]) -> MatrixRef<'a> {
        let (m, k) = (a.rows(), pairs(a.cols()));
        if a.col_stride() == 1 || simd.has_squares() {
            Pair::rows(scratch, m, a.cols())
        } else {
            MatrixRef::strided(scratch, k, m, row_stride(m), 1).transposed()
        }
    }
}

impl Pair {
    /// Values of scratch for rows `[m, k]` of pairs: whole squares.
    pub(crate) fn rows_scratch(m: usize, k: usize) -> usize {
        m.next_multiple_of(SQUARE) * row_stride(pairs(k))
    }

    /// What [`Operand::round`] made of an A `[m, k]` with contiguous rows, whatever the instruction set.
    pub(crate) fn rows(scratch: &[f32], m: usize, k: usize) -> MatrixRef<'_> {
        MatrixRef::strided(scratch, m, pairs(k), row_stride(pairs(k)), 1)
    }
}

/// Pairs that `k` values make.
fn pairs(k: usize) -> usize {
    Pair::cells(k)
}

/// How many rows ahead of reading are asked for.
const AHEAD: usize = 8;

struct PackPairs<'a> {
    b: MatrixRef<'a>,
    panels: &'a mut [f32],
    depth: usize,
    at: usize,
}

impl Kernel for PackPairs<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackPairs { b, panels, depth, at } = self;
        let width = panel_width::<S>();
        assert!(at + pairs(b.rows()) <= depth, "pairs {at}.. of panels {depth} deep for {} rows", b.rows());
        for (column, panel) in (0..b.cols()).step_by(width).zip(panels.chunks_mut((depth * width).max(1))) {
            let b = b.part(0..b.rows(), column..(column + width).min(b.cols()));
            let panel = &mut panel[at * width..];
            if b.row_stride() == 1 {
                pack_columns(simd, b, panel);
            } else {
                interleave(simd, b, panel, width, S::LANES);
            }
        }
    }
}

/// Rounds pairs along rows of B `[k, cols]` to `to`, pair `p` of column `j` at `p * stride + j`. With `padding` lanes to a vector the
/// last one is filled with zeros.
#[inline(always)]
fn interleave<S: Simd>(simd: S, b: MatrixRef<'_>, to: &mut [f32], stride: usize, padding: usize) {
    let (k, cols) = (b.rows(), b.cols());
    let padded = cols.next_multiple_of(padding);
    assert!(padded <= stride, "columns {padded} of {stride}");
    let whole = if b.col_stride() == 1 { cols / S::LANES * S::LANES } else { 0 };
    for pair in 0..pairs(k) {
        let to = &mut to[pair * stride..][..padded];
        let rows = 2 * pair..(2 * pair + 2).min(k);
        for line in (0..whole).step_by(LINE) {
            for ahead in [0, 1] {
                simd.prefetch(b.as_ptr().wrapping_add((rows.start + AHEAD + ahead) * b.row_stride() + line));
            }
        }
        for j in (0..whole).step_by(S::LANES) {
            // SAFETY: rows of `b` in `rows` have LANES contiguous values from `j` on, and so has `to` room.
            unsafe {
                let first = b.as_ptr().add(rows.start * b.row_stride() + j);
                let second = if rows.len() == 2 { simd.load(first.add(b.row_stride())) } else { simd.splat(0.0) };
                simd.store(to.as_mut_ptr().add(j), simd.pair(simd.load(first), second));
            }
        }
        for j in whole..padded {
            to[j] = entry(b, pair, j);
        }
    }
}

/// Packs a B `[k, cols]` whose columns are contiguous, at most a panel of them.
#[inline(always)]
fn pack_columns<S: Simd>(simd: S, b: MatrixRef<'_>, panel: &mut [f32]) {
    let (width, lanes) = (panel_width::<S>(), S::LANES);
    let depth = pairs(b.rows());
    let whole = b.rows() / (2 * lanes) * lanes;
    assert!(panel.len() >= depth * width, "a panel of {} for {depth} pairs", panel.len());
    let mut square = [0.0; LINE * LINE];
    for j in (0..b.cols()).step_by(lanes) {
        let columns = (b.cols() - j).min(lanes);
        for first in (0..whole).step_by(lanes) {
            for i in 0..columns {
                // SAFETY: column `j + i` of `b` is contiguous (row_stride is 1), with `2 * whole` values or more.
                let from = unsafe { b.as_ptr().add((j + i) * b.col_stride() + 2 * first) };
                // SAFETY: LANES values twice of the column, and a row of the square has room for LINE pairs.
                unsafe {
                    let to = square.as_mut_ptr().add(i * LINE).cast::<bf16>();
                    simd.store_bf16_two(to, [simd.load(from), simd.load(from.add(lanes))]);
                }
            }
            square[columns * LINE..].fill(0.0);
            // SAFETY: the square has LANES rows of LANES values; the panel has LANES rows from `first` on, and in each room for a
            // vector at `j` (both asserted above).
            unsafe { simd.transpose(square.as_ptr(), LINE, panel.as_mut_ptr().add(first * width + j), width) };
        }
        for pair in whole..depth {
            for i in 0..lanes {
                panel[pair * width + j + i] = entry(b, pair, j + i);
            }
        }
    }
}

/// Pair `pair` of column `j`, zero beyond the last.
#[inline(always)]
fn entry(b: MatrixRef<'_>, pair: usize, j: usize) -> f32 {
    let value = |k: usize| bf16::from_f32(if k < b.rows() && j < b.cols() { b.at(k, j) } else { 0.0 });
    bytemuck::cast([value(2 * pair), value(2 * pair + 1)])
}

/// Distance between rows of a left operand: an odd number of cache lines, so that a column of rows does not crowd into few sets of
/// the first-level cache.
fn row_stride(cells: usize) -> usize {
    (cells.div_ceil(LINE) | 1) * LINE
}

/// Fills the scratch of a left operand, as [`Operand::round`].
pub(crate) struct RoundRows<'a> {
    pub(crate) a: MatrixRef<'a>,
    pub(crate) scratch: &'a mut [f32],
}

impl Kernel for RoundRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RoundRows { a, scratch } = self;
        if a.col_stride() != 1 {
            return if simd.has_squares() {
                transpose(simd, a, scratch)
            } else {
                interleave(simd, a.transposed(), scratch, row_stride(a.rows()), 1)
            };
        }
        let stride = row_stride(pairs(a.cols()));
        for (i, to) in (0..a.rows()).zip(scratch.chunks_mut(stride)) {
            round(simd, a.row(i), &mut cast_slice_mut(to)[..2 * pairs(a.cols())]);
        }
    }
}

/// Rounds an A with contiguous columns to rows of pairs.
#[inline(always)]
fn transpose<S: Simd>(simd: S, a: MatrixRef<'_>, to: &mut [f32]) {
    let (m, k, stride) = (a.rows(), pairs(a.cols()), row_stride(pairs(a.cols())));
    assert!(to.len() >= m.next_multiple_of(S::LANES) * stride, "room for {} of {m} rows {stride} apart", to.len());
    let lanes = S::LANES;
    let mut square = [0.0; LINE * LINE];
    for pair in (0..k).step_by(lanes) {
        let columns = a.part(0..m, 2 * pair..(2 * (pair + lanes)).min(a.cols())).transposed();
        for i in (0..m).step_by(lanes) {
            let rows = i..(i + lanes).min(m);
            interleave(simd, columns.part(0..columns.rows(), rows), &mut square, LINE, 1);
            // SAFETY: the square has LANES rows of LANES values; so much room is at this place, since rows are a whole number of lines
            // long and as many as make whole squares (asserted).
            unsafe { simd.transpose(square.as_ptr(), LINE, to.as_mut_ptr().add(i * stride + pair), stride) };
        }
    }
}

/// Rounds `from` to the first of `to`; what is left becomes zero.
///
/// # Panics
/// If `to` is shorter.
#[inline(always)]
fn round<S: Simd>(simd: S, from: &[f32], to: &mut [bf16]) {
    let whole = from.len() / S::LANES * S::LANES;
    let (to, rest) = to.split_at_mut(from.len());
    let mut j = 0;
    while j + 2 * S::LANES <= whole {
        // SAFETY: both have two times LANES values from `j` on.
        unsafe {
            let from = from.as_ptr().add(j);
            simd.store_bf16_two(to.as_mut_ptr().add(j), [simd.load(from), simd.load(from.add(S::LANES))]);
        }
        j += 2 * S::LANES;
    }
    if j < whole {
        // SAFETY: both have LANES values from `j` on.
        unsafe { simd.store_bf16(to.as_mut_ptr().add(j), simd.load(from.as_ptr().add(j))) };
    }
    for (to, &from) in to[whole..].iter_mut().zip(&from[whole..]) {
        *to = bf16::from_f32(from);
    }
    rest.fill(bf16::ZERO);
}
