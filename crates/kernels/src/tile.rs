//! The micro-kernel under everything compute-bound: a register tile of 6 rows by `TILE_VECTORS` vectors of C, fed by
//! broadcasts from A, in place in any layout, and by whole vectors from a packed panel of B.
//!
//! Every entry is one chain of multiply-adds in ascending `k`, whatever tile it falls in: its bits depend on nothing else.
//! Operands are f32, or pairs of bf16 of the same size.

use crate::element::Element;
use crate::isa::Isa;
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::{CACHE_LINE, Kernel, Simd};
use crate::vector::store;
use std::marker::PhantomData;
use std::ops::Range;

mod squares;

/// What a cell of A and B holds, of the size of an f32, and how it is made of values. What is not said otherwise is for one f32, where it
/// lies.
pub(crate) trait Operand: Copy + Sync {
    /// Values along `k` that a cell holds.
    const VALUES: usize = 1;

    /// Numbers of bf16 whose sum any value is.
    const PARTS: usize;

    /// How queries and weights of few rows are multiplied, with keys and values where they lie.
    type InPlace: Operand;

    /// Runs `kernel`, which multiplies these, compiled for an instruction set.
    fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output;

    /// `sum` and the product of two vectors of cells.
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        simd.fma(a, b, sum)
    }

    /// Values as cells hold them.
    fn nearest<S: Simd>(simd: S, x: S::V) -> S::V;

    /// Packs B `[k, cols]` into panels, each `[depth][panel_width]` cells, one after the other, row `at` the first. Vectors that hold
    /// columns are filled with zeros beyond them; vectors that hold none are left alone.
    ///
    /// # Panics
    /// If `panels` is too short, or `depth` too small.
    #[inline(always)]
    fn pack<S: Simd>(simd: S, b: MatrixRef<'_>, panels: &mut [f32], depth: usize, at: usize) {
        pack_panels(simd, b, panels, depth, at);
    }

    /// Values of scratch for a left operand of up to `m` rows of `k` values.
    fn left_scratch(m: usize, k: usize) -> usize {
        let _ = (m, k);
        0
    }

    /// Fills `scratch` with what [`Operand::left`] needs of A.
    #[inline(always)]
    fn round<S: Simd>(simd: S, a: MatrixRef<'_>, scratch: &mut [f32]) {
        let _ = (simd, a, scratch);
    }

    /// Stores vectors of a row of A with contiguous rows, value `at` the first: where they `lie`, or as [`Operand::round`] would in the
    /// `row` of the scratch.
    #[inline(always)]
    fn store_left<S: Simd, const N: usize>(simd: S, v: [S::V; N], lie: &mut [f32], row: &mut [f32], at: usize) {
        let _ = (row, at);
        for i in 0..N {
            store(simd, &mut lie[i * S::LANES..], Self::nearest(simd, v[i]));
        }
    }

    /// A `[m, k]` as `[m, cells(k)]`, with the scratch that [`Operand::round`] has filled from it.
    #[inline(always)]
    fn left<'a, S: Simd>(simd: S, a: MatrixRef<'a>, scratch: &'a [f32]) -> MatrixRef<'a> {
        let _ = (simd, scratch);
        a
    }

    /// Whether the processor multiplies squares of these.
    #[inline(always)]
    fn has_squares<S: Simd>(_: S) -> bool {
        false
    }

    /// Cells that `k` values take.
    fn cells(k: usize) -> usize {
        k.div_ceil(Self::VALUES)
    }

    /// The cells that hold any of the values.
    fn cells_of(values: Range<usize>) -> Range<usize> {
        if values.is_empty() { 0..0 } else { values.start / Self::VALUES..Self::cells(values.end) }
    }
}

/// One f32.
#[derive(Clone, Copy)]
pub(crate) struct Single;

impl Operand for Single {
    const PARTS: usize = 3;
    type InPlace = Single;

    #[inline]
    fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
        isa.run(kernel)
    }
    #[inline(always)]
    fn nearest<S: Simd>(_: S, x: S::V) -> S::V {
        x
    }
}

/// One bf16 as f32.
#[derive(Clone, Copy)]
pub(crate) struct Rounded;

impl Operand for Rounded {
    const PARTS: usize = 1;
    type InPlace = Rounded;

    #[inline]
    fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
        isa.run_pairs(kernel)
    }
    /// The upper half of a pair with zero.
    #[inline(always)]
    fn nearest<S: Simd>(simd: S, x: S::V) -> S::V {
        simd.pair(simd.splat(0.0), x)
    }
}

/// The smallest range that holds both; empty ranges count for nothing.
pub(crate) fn hull(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// Rows of a register tile.
pub(crate) const TILE_ROWS: usize = 6;

/// Values on a cache line.
pub(crate) const LINE: usize = CACHE_LINE / size_of::<f32>();

/// How many rows ahead of reading are asked for.
const AHEAD: usize = 8;

/// Columns of the widest panel of any instruction set.
pub(crate) const MAX_PANEL: usize = 64;

/// Columns of a panel: those of a register tile.
pub(crate) const fn panel_width<S: Simd>() -> usize {
    S::LANES * S::TILE_VECTORS
}

/// Where entry `(k, j)` of B is in panels `depth` deep; entry `(k, j + 1)` is beside it unless it begins a panel.
#[inline(always)]
fn place_in_panels<S: Simd>(depth: usize, k: usize, j: usize) -> usize {
    let width = panel_width::<S>();
    j / width * width * depth + k * width + j % width
}

/// Packs B `[k, cols]` into rows `at..at + k` of panels, each `[depth][panel_width]`, one after the other. Vectors that hold
/// columns are filled with zeros beyond them; vectors that hold none are left alone.
///
/// # Panics
/// If `panels` is too short, or `depth` too small.
#[inline(always)]
pub(crate) fn pack_panels<S: Simd>(simd: S, b: MatrixRef<'_>, panels: &mut [f32], depth: usize, at: usize) {
    simd.call(PackPanels { b, panels, depth, at });
}

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`, with B a packed panel.
///
/// # Panics
/// If shapes do not agree or C is wider than a panel.
#[inline(always)]
pub(crate) fn multiply_panel<O: Operand, S: Simd>(
    simd: S,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    panel: &[f32],
    accumulate: Accumulate,
) {
    simd.call(MultiplyPanel::<O> { c, a, panel, accumulate, along: None, operand: PhantomData });
}

/// C `[m, n]` += A `[m, k]` B `[k, n]`, with B a packed panel, of which each strip of [`TILE_ROWS`] rows takes only its own range
/// `along` k: A is zero elsewhere, or not to be read. Of pairs it must be zero: where there are squares, more is read.
///
/// # Panics
/// As [`multiply_panel`]; if there are fewer ranges than strips, or a range leaves A.
#[inline(always)]
pub(crate) fn multiply_strips<O: Operand, S: Simd>(
    simd: S,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    panel: &[f32],
    along: &[Range<usize>],
) {
    simd.call(MultiplyPanel::<O> { c, a, panel, accumulate: Accumulate::Add, along: Some(along), operand: PhantomData });
}

/// Packs one row of `width` cells, times its scale if it has one, as row `k` of panels `depth` deep.
///
/// # Safety
/// The cells must be there, and the panels have row `k` and as many columns as whole vectors that hold the row.
#[inline(always)]
pub(crate) unsafe fn pack_row<E: Element, S: Simd>(
    simd: S,
    cells: *const E,
    width: usize,
    scale: Option<f32>,
    panels: *mut f32,
    depth: usize,
    k: usize,
) {
    let whole = width / S::LANES * S::LANES;
    let factor = simd.splat(scale.unwrap_or(1.0));
    for column in (0..width).step_by(S::LANES) {
        // SAFETY: the row has these columns, of which the last vector has `width - whole`, and the panels have a place for the vector
        // (the caller's promise).
        unsafe {
            let values =
                if column < whole { E::load(simd, cells, column) } else { E::load_partial(simd, cells, column, width - whole) };
            let values = if scale.is_some() { simd.mul(values, factor) } else { values };
            simd.store(panels.add(place_in_panels::<S>(depth, k, column)), values);
        }
    }
}

struct PackPanels<'a> {
    b: MatrixRef<'a>,
    panels: &'a mut [f32],
    depth: usize,
    at: usize,
}

impl Kernel for PackPanels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (b, depth, at, len) = (self.b, self.depth, self.at, self.panels.len());
        let padded = b.cols().next_multiple_of(panel_width::<S>());
        assert!(at + b.rows() <= depth, "rows {at}.. of panels {depth} deep for {}", b.rows());
        assert!(len >= depth * padded, "panels of {len} for {depth} by {padded}");
        if b.col_stride() == 1 {
            self.pack_rows(simd);
        } else if b.row_stride() == 1 {
            self.pack_columns(simd);
        } else {
            self.pack_entries::<S>(0, 0);
        }
    }
}

impl PackPanels<'_> {
    /// Where entry `(k, j)` goes.
    #[inline(always)]
    fn place<S: Simd>(&self, k: usize, j: usize) -> usize {
        place_in_panels::<S>(self.depth, self.at + k, j)
    }

    /// Packs a B whose rows are contiguous. Row by row, since the rows may be pages apart.
    #[inline(always)]
    fn pack_rows<S: Simd>(&mut self, simd: S) {
        let b = self.b;
        for k in 0..b.rows() {
            // Rows may be far apart, and short: no hardware foresees the next.
            for j in (0..b.cols()).step_by(LINE) {
                simd.prefetch(b.as_ptr().wrapping_add((k + AHEAD) * b.row_stride() + j));
            }
            // SAFETY: row `k` of `b` has `cols` values one after the other (col_stride is 1), and the panels have a row for each
            // of `b` and a place for each column (asserted by `run`).
            unsafe {
                let row = b.as_ptr().add(k * b.row_stride());
                pack_row(simd, row, b.cols(), None, self.panels.as_mut_ptr(), self.depth, self.at + k);
            }
        }
    }

    /// Packs a B whose columns are contiguous.
    #[inline(always)]
    fn pack_columns<S: Simd>(&mut self, simd: S) {
        let (b, lanes) = (self.b, S::LANES);
        let (whole_k, whole_j) = (b.rows() / lanes * lanes, b.cols() / lanes * lanes);
        for j in (0..whole_j).step_by(lanes) {
            for k in (0..whole_k).step_by(lanes) {
                if k % LINE == 0 {
                    for ahead in j + AHEAD..j + AHEAD + lanes {
                        simd.prefetch(b.as_ptr().wrapping_add(ahead * b.col_stride() + k));
                    }
                }
                // SAFETY: the square at `(k, j)` lies within `b`, whose row_stride is 1, and the panels have a place for each of
                // its entries (asserted by `run`), rows `panel_width` apart.
                unsafe {
                    let from = b.as_ptr().add(k + j * b.col_stride());
                    let to = self.panels.as_mut_ptr().add(self.place::<S>(k, j));
                    simd.transpose(from, b.col_stride(), to, panel_width::<S>());
                }
            }
        }
        if whole_j < b.cols() {
            self.pack_entries::<S>(0, whole_j);
        }
        self.pack_entries::<S>(whole_k, 0);
    }

    /// Packs entries one by one, those from row `first_k` and column `first_j`, a whole number of vectors, on.
    #[inline(always)]
    fn pack_entries<S: Simd>(&mut self, first_k: usize, first_j: usize) {
        let padded = self.b.cols().next_multiple_of(S::LANES);
        for k in first_k..self.b.rows() {
            for j in first_j..padded {
                let place = self.place::<S>(k, j);
                self.panels[place] = if j < self.b.cols() { self.b.at(k, j) } else { 0.0 };
            }
        }
    }
}

struct MultiplyPanel<'a, O> {
    c: MatrixMut<'a>,
    a: MatrixRef<'a>,
    panel: &'a [f32],
    accumulate: Accumulate,
    along: Option<&'a [Range<usize>]>,
    operand: PhantomData<O>,
}

impl<O: Operand> Kernel for MultiplyPanel<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (m, n, k) = (self.c.rows(), self.c.cols(), self.a.cols());
        assert!(self.a.rows() == m && n <= panel_width::<S>(), "[{m}, {n}] from {} rows", self.a.rows());
        assert!(self.panel.len() >= k * panel_width::<S>(), "a panel of {} for {k} rows", self.panel.len());
        if O::has_squares(simd) {
            return squares::multiply(simd, self);
        }
        match n.div_ceil(S::LANES) {
            0 => {}
            1 => multiply_rows::<O, S, 1>(simd, self),
            2 if const { S::TILE_VECTORS >= 2 } => multiply_rows::<O, S, 2>(simd, self),
            3 if const { S::TILE_VECTORS >= 3 } => multiply_rows::<O, S, 3>(simd, self),
            4 if const { S::TILE_VECTORS >= 4 } => multiply_rows::<O, S, 4>(simd, self),
            vectors => unreachable!("{vectors} vectors in a row of a tile"),
        }
    }
}

#[inline(always)]
fn multiply_rows<O: Operand, S: Simd, const VECTORS: usize>(simd: S, mut product: MultiplyPanel<'_, O>) {
    let m = product.c.rows();
    let mut row = 0;
    while row < m {
        let rows = (m - row).min(TILE_ROWS);
        let k = product.along.map_or(0..product.a.cols(), |along| along[row / TILE_ROWS].clone());
        assert!(k.start <= k.end && k.end <= product.a.cols(), "{k:?} along {} columns", product.a.cols());
        // SAFETY: `rows` rows are left from `row` on; C has VECTORS vectors (the caller's match); A agrees with C in rows and
        // with the panel in `k` (asserted by `MultiplyPanel::run`), which has the range (asserted above).
        unsafe {
            match rows {
                1 => multiply_tile::<O, S, 1, VECTORS>(simd, &mut product, row, k),
                2 => multiply_tile::<O, S, 2, VECTORS>(simd, &mut product, row, k),
                3 => multiply_tile::<O, S, 3, VECTORS>(simd, &mut product, row, k),
                4 => multiply_tile::<O, S, 4, VECTORS>(simd, &mut product, row, k),
                5 => multiply_tile::<O, S, 5, VECTORS>(simd, &mut product, row, k),
                _ => multiply_tile::<O, S, TILE_ROWS, VECTORS>(simd, &mut product, row, k),
            }
        }
        row += rows;
    }
}

/// One tile: ROWS rows of C from `row` on, summed over `k`.
///
/// # Safety
/// A and C must have rows `row..row + ROWS`; C must have more than `(VECTORS - 1) * LANES` columns and at most
/// `VECTORS * LANES`; the panel must have a row for each column of A; `k` must be columns of A.
#[inline(always)]
unsafe fn multiply_tile<O: Operand, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    product: &mut MultiplyPanel<'_, O>,
    row: usize,
    k: Range<usize>,
) {
    let MultiplyPanel { a, panel, accumulate, .. } = *product;
    let (c_stride, tail) = (product.c.row_stride(), product.c.cols() - (VECTORS - 1) * S::LANES);
    // SAFETY: C has row `row`.
    let c = unsafe { product.c.as_mut_ptr().add(row * c_stride) };
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    if accumulate == Accumulate::Add {
        for i in 0..ROWS {
            for j in 0..VECTORS {
                // SAFETY: C has this row, and in it whole vectors but for the last, which has `tail` values.
                sums[i][j] = unsafe {
                    let p = c.add(i * c_stride + j * S::LANES);
                    if j + 1 < VECTORS || tail == S::LANES {
                        simd.load(p)
                    } else {
                        simd.load_partial(std::slice::from_raw_parts(p, tail))
                    }
                };
            }
        }
    }
    // The next tile's rows of C, far apart, which no hardware foresees.
    if row + 2 * ROWS <= product.c.rows() {
        for i in ROWS..2 * ROWS {
            for line in (0..VECTORS * S::LANES).step_by(LINE) {
                simd.prefetch(c.wrapping_add(i * c_stride + line));
            }
        }
    }
    let mut rows = [a.as_ptr(); ROWS];
    for i in 0..ROWS {
        // A row without columns may be said to lie anywhere, and is not read.
        rows[i] = a.as_ptr().wrapping_add((row + i).wrapping_mul(a.row_stride()));
    }
    let mut b = panel.as_ptr().wrapping_add(k.start * panel_width::<S>());
    let mut at = k.start * a.col_stride();
    for _ in k {
        let mut vectors = [simd.splat(0.0); VECTORS];
        for j in 0..VECTORS {
            // SAFETY: the panel has a row for each column of A, and VECTORS vectors fit in one.
            vectors[j] = unsafe { simd.load(b.add(j * S::LANES)) };
            // Such a panel comes from the second-level cache.
            if const { VECTORS == 4 } {
                simd.prefetch(b.wrapping_add(AHEAD * panel_width::<S>() + j * S::LANES));
            }
        }
        for i in 0..ROWS {
            // SAFETY: `at` is `k * col_stride` for a column `k` that A has.
            let x = simd.splat(unsafe { *rows[i].add(at) });
            for j in 0..VECTORS {
                sums[i][j] = O::multiply_add(simd, x, vectors[j], sums[i][j]);
            }
        }
        // After the last row this may point past the panel, and is not used.
        b = b.wrapping_add(panel_width::<S>());
        at = at.wrapping_add(a.col_stride());
    }
    for i in 0..ROWS {
        for j in 0..VECTORS {
            // SAFETY: as for loading.
            unsafe {
                let p = c.add(i * c_stride + j * S::LANES);
                if j + 1 < VECTORS || tail == S::LANES {
                    simd.store(p, sums[i][j]);
                } else {
                    simd.store_partial(std::slice::from_raw_parts_mut(p, tail), sums[i][j]);
                }
            }
        }
    }
}
