//! The same product on processors that multiply squares of 16 by 16 sums: two by two of them at a time.
//!
//! A step adds 16 pairs along `k`, counted from the first of the panel whatever range a strip takes: so an entry's bits depend neither
//! on its place nor on the rows beside it. What a step has too many of is copied first, with zeros for what is not there.

use super::{LINE, MultiplyPanel, Operand, TILE_ROWS, hull, panel_width};
use crate::product::Accumulate;
use crate::simd::{Lines, SQUARE, Simd};
use std::ops::Range;

/// Rows and columns of two by two squares.
const BLOCK: usize = 2 * SQUARE;

/// C = or += A times a packed panel, as [`super::multiply_panel`] and [`super::multiply_strips`].
#[inline(always)]
pub(super) fn multiply<O: Operand, S: Simd>(simd: S, mut product: MultiplyPanel<'_, O>) {
    let (m, n) = (product.c.rows(), product.c.cols());
    // Columns in the outer loop: those of the panel stay near while all rows pass by.
    for column in (0..n).step_by(BLOCK) {
        for row in (0..m).step_by(BLOCK) {
            let (rows, columns) = (row..(row + BLOCK).min(m), column..(column + BLOCK).min(n));
            // SAFETY: the caller has seen that there are squares; rows and columns are some of C.
            unsafe {
                match (rows.len() > SQUARE, columns.len() > SQUARE) {
                    (false, false) => block::<O, S, 1, 1>(simd, &mut product, rows, columns),
                    (false, true) => block::<O, S, 1, 2>(simd, &mut product, rows, columns),
                    (true, false) => block::<O, S, 2, 1>(simd, &mut product, rows, columns),
                    (true, true) => block::<O, S, 2, 2>(simd, &mut product, rows, columns),
                }
            }
        }
    }
}

/// ROWS by COLS squares, as many as hold `rows` and `columns` of C.
///
/// # Safety
/// There must be squares; C must have the rows and columns, at most as many as the squares have.
#[inline(always)]
unsafe fn block<O: Operand, S: Simd, const ROWS: usize, const COLS: usize>(
    simd: S,
    product: &mut MultiplyPanel<'_, O>,
    rows: Range<usize>,
    columns: Range<usize>,
) {
    let (k, add) = (along(product, &rows), product.accumulate == Accumulate::Add);
    if add && k.is_empty() {
        return;
    }
    let stride = product.c.row_stride();
    let whole = rows.len() == ROWS * SQUARE && columns.len() == COLS * SQUARE;
    // SAFETY: C has the first of these rows and columns.
    let c = unsafe { product.c.as_mut_ptr().add(rows.start * stride + columns.start) };
    if whole {
        // The next rows of C, far apart, which no hardware foresees.
        if rows.end + rows.len() <= product.c.rows() {
            for i in rows.len()..2 * rows.len() {
                for line in (0..columns.len()).step_by(LINE) {
                    simd.prefetch(c.wrapping_add(i * stride + line));
                }
            }
        }
        // SAFETY: C has whole squares here.
        unsafe {
            simd.load_squares::<ROWS, COLS>(add.then_some(c.cast_const()), stride);
            sum::<O, S, ROWS, COLS>(simd, product, &rows, columns.start, k);
            simd.store_squares::<ROWS, COLS>(c, stride);
        }
        return;
    }
    let mut copy = Lines([0.0; BLOCK * BLOCK]);
    for (i, copy) in copy.0.chunks_exact_mut(BLOCK).enumerate().take(rows.len()).filter(|_| add) {
        // SAFETY: C has these columns of this row.
        copy[..columns.len()].copy_from_slice(unsafe { std::slice::from_raw_parts(c.add(i * stride), columns.len()) });
    }
    // SAFETY: the copy has room for two by two squares.
    unsafe {
        simd.load_squares::<ROWS, COLS>(add.then_some(copy.0.as_ptr()), BLOCK);
        sum::<O, S, ROWS, COLS>(simd, product, &rows, columns.start, k);
        simd.store_squares::<ROWS, COLS>(copy.0.as_mut_ptr(), BLOCK);
    }
    for (i, copy) in copy.0.chunks_exact(BLOCK).enumerate().take(rows.len()) {
        // SAFETY: as for reading.
        unsafe { std::slice::from_raw_parts_mut(c.add(i * stride), columns.len()) }.copy_from_slice(&copy[..columns.len()]);
    }
}

/// What the strips of some rows take along `k`, from a whole step on.
#[inline(always)]
fn along<O>(product: &MultiplyPanel<'_, O>, rows: &Range<usize>) -> Range<usize> {
    let all = product.a.cols();
    let Some(along) = product.along else { return 0..all };
    let strips = &along[rows.start / TILE_ROWS..rows.end.div_ceil(TILE_ROWS)];
    let k = strips.iter().cloned().fold(0..0, hull);
    assert!(k.end <= all, "{k:?} along {all} columns");
    k.start / SQUARE * SQUARE..k.end
}

/// Adds the product along `k`, which begins a step, to the squares.
///
/// # Safety
/// There must be squares, loaded; A must have the rows, the panel the columns from `column` on, in whole squares.
#[inline(always)]
unsafe fn sum<O: Operand, S: Simd, const ROWS: usize, const COLS: usize>(
    simd: S,
    product: &MultiplyPanel<'_, O>,
    rows: &Range<usize>,
    column: usize,
    k: Range<usize>,
) {
    let (a, width) = (product.a.part(rows.clone(), k.clone()), panel_width::<S>());
    let panel = &product.panel[k.start * width..];
    let (steps, left) = (k.len() / SQUARE, k.len() % SQUARE);
    let stride = a.row_stride();
    let places = [0, SQUARE].map(|row| a.as_ptr().wrapping_add(row * stride));
    let b = |step: usize| panel[step * SQUARE * width + column..].as_ptr();
    // Rows beyond the last are multiplied too where there are any, and what comes of them is dropped.
    let in_place = a.reaches(ROWS * SQUARE, steps * SQUARE);
    if in_place && steps > 0 {
        // SAFETY: A reaches as far, and the panel has a row for each of its columns.
        unsafe { simd.multiply_squares::<ROWS, COLS, false>(places, stride, b(0), width, steps) };
    }
    let mut copy = Lines([0.0; BLOCK * SQUARE]);
    for step in if in_place { steps } else { 0 }..steps {
        a.copy_to(step * SQUARE..(step + 1) * SQUARE, &mut copy.0, SQUARE);
        // SAFETY: the copy has two squares, and the panel has these rows.
        unsafe { simd.multiply_squares::<ROWS, COLS, false>(halves(&copy.0), SQUARE, b(step), width, 1) };
    }
    if left > 0 {
        copy.0.fill(0.0);
        a.copy_to(steps * SQUARE..steps * SQUARE + left, &mut copy.0, SQUARE);
        let mut rest = Lines([0.0; SQUARE * BLOCK]);
        for (row, from) in rest.0.chunks_exact_mut(BLOCK).zip(panel[steps * SQUARE * width..].chunks_exact(width)).take(left) {
            row[..COLS * SQUARE].copy_from_slice(&from[column..column + COLS * SQUARE]);
        }
        // SAFETY: both copies have two squares.
        unsafe { simd.multiply_squares::<ROWS, COLS, false>(halves(&copy.0), SQUARE, rest.0.as_ptr(), BLOCK, 1) };
    }
}

/// Where the two squares of a copy begin.
fn halves(copy: &[f32; BLOCK * SQUARE]) -> [*const f32; 2] {
    [copy.as_ptr(), copy[SQUARE * SQUARE..].as_ptr()]
}
