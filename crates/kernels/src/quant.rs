//! Products with weights of few bits.
//!
//! A [`Matrix`] is packed once from rows in a published [`Format`]. [`product`] multiplies it with [`Activations`], rows quantised to bytes by
//! blocks of 32: products of integers are summed exactly within a block, and blocks in f32, in ascending order. [`product_exact`] takes
//! the activations as they are and every weight as [`Format::decode`] gives it.
//!
//! Every entry of the result is one chain of operations, whatever the number of rows and threads. So a row's result does not depend on
//! which rows share the call, though few rows read the packed weights in place and many share a panel taken apart.

mod activations;
mod encode;
mod exact;
mod few;
mod format;
mod layout;
mod many;
mod matrix;
mod piece;
mod plan;

pub use activations::{ActivationBlock, Activations};
pub use format::{BLOCK, Format};
pub use matrix::{Matrix, PackError};

use crate::disjoint::each_part;
use crate::pairs::{Pair, RoundRows};
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::SQUARE;
use crate::tile::Single;
use crate::vector::rows_per_item;
use crate::{Isa, Machine};
use exact::ByPanels;
use exact::few::ExactFew;
use few::{FEW_ROWS, Few};
use many::Many;
use plan::{Item, Plan, each_item};
use std::marker::PhantomData;

/// Calls what is compiled for each format.
macro_rules! for_format {
    ($format:expr, $function:ident $arguments:tt) => {
        for_format!($format, $function $arguments, F32 F16 Bf16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4K Q5K Q6K)
    };
    ($format:expr, $function:ident $arguments:tt, $($name:ident)*) => {
        match $format {
            $(Format::$name => $function::<{ Format::$name as usize }> $arguments,)*
        }
    };
}

/// `y [m, rows] = ` or `+= x [m, width]` times the transpose of `w [rows, width]`, with activations quantised by blocks of 32. Weights that
/// are floats are multiplied as by [`product_exact`].
///
/// # Panics
/// If the shapes do not agree, or `scratch` is shorter than [`product_scratch`] says.
pub fn product(
    machine: Machine<'_>,
    y: MatrixMut<'_>,
    x: Activations<'_>,
    w: &Matrix,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    match w.format() {
        Format::F32 | Format::F16 | Format::Bf16 => product_exact(machine, y, x.rows(), w, accumulate, scratch),
        Format::Q8_0 => by_codes::<{ Format::Q8_0 as usize }, { Format::Q8_0 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q4_0 => by_codes::<{ Format::Q4_0 as usize }, { Format::Q4_0 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q4_1 => by_codes::<{ Format::Q4_1 as usize }, { Format::Q4_1 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q5_0 => by_codes::<{ Format::Q5_0 as usize }, { Format::Q5_0 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q5_1 => by_codes::<{ Format::Q5_1 as usize }, { Format::Q5_1 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q4K => by_codes::<{ Format::Q4K as usize }, { Format::Q4_1 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q5K => by_codes::<{ Format::Q5K as usize }, { Format::Q5_1 as usize }>(machine, y, x, w, accumulate, scratch),
        Format::Q6K => by_codes::<{ Format::Q6K as usize }, { Format::Q6K as usize }>(machine, y, x, w, accumulate, scratch),
    }
}

/// Values of scratch that [`product`] needs for `m` rows.
pub fn product_scratch(m: usize, w: &Matrix, workers: usize) -> usize {
    match (w.format().is_float(), m <= FEW_ROWS) {
        (true, _) => product_exact_scratch(workers),
        (false, true) => 0,
        (false, false) => many::PANEL * workers,
    }
}

/// `y [m, rows] = ` or `+= x [m, width]` times the transpose of `w [rows, width]`, both as f32: the bits of
/// [`product`](crate::product::product) with the decoded rows.
///
/// # Panics
/// If the shapes do not agree, the rows of `x` are not contiguous, or `scratch` is shorter than [`product_exact_scratch`] says.
pub fn product_exact(
    machine: Machine<'_>,
    y: MatrixMut<'_>,
    x: MatrixRef<'_>,
    w: &Matrix,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    for_format!(w.format(), exactly(machine, y, x, w, accumulate, scratch));
}

/// Values of scratch that [`product_exact`] needs.
pub fn product_exact_scratch(workers: usize) -> usize {
    exact::panel::<Single>() * workers
}

/// Whether [`product_bf16`] of `m` rows is faster than [`product`]: rounding the weights costs as much as many rows.
pub fn gains_by_bf16(isa: Isa, m: usize, w: &Matrix) -> bool {
    const ROWS: usize = 32;
    isa.has_squares() && m >= ROWS && !w.format().is_float()
}

/// `y [m, rows] = ` or `+= x [m, width]` times the transpose of `w [rows, width]`, both rounded to bf16: activations as they are, weights as
/// [`Format::decode`] gives them. As accurate as [`crate::product::bf16`] says.
///
/// # Panics
/// If the shapes do not agree, the rows of `x` are not contiguous, or `scratch` is shorter than [`product_bf16_scratch`] says.
pub fn product_bf16(
    machine: Machine<'_>,
    y: MatrixMut<'_>,
    x: MatrixRef<'_>,
    w: &Matrix,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    for_format!(w.format(), rounded(machine, y, x, w, accumulate, scratch));
}

/// Values of scratch that [`product_bf16`] needs for `m` rows.
pub fn product_bf16_scratch(m: usize, w: &Matrix, workers: usize) -> usize {
    Pair::rows_scratch(m, w.width()) + exact::panel::<Pair>() * workers
}

/// Weights of one format, which are like those of format `APART` once their scales are taken apart.
fn by_codes<const FORMAT: usize, const APART: usize>(
    machine: Machine<'_>,
    y: MatrixMut<'_>,
    x: Activations<'_>,
    w: &Matrix,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    check(&y, x.rows(), w);
    let m = y.rows();
    let plan = if m <= FEW_ROWS { Plan::few(m, w) } else { Plan::many(m, w) };
    each_item(machine, plan, w, &y, many::PANEL * usize::from(m > FEW_ROWS), scratch, &|Item { y, rows, groups, scratch }| {
        if m <= FEW_ROWS {
            machine.isa.run_integer(Few::<FORMAT> { y, x, w, groups, accumulate });
        } else {
            Many { y, x, rows, w, groups, accumulate, scratch }.run::<FORMAT, APART>(machine.isa);
        }
    });
}

fn exactly<const FORMAT: usize>(
    machine: Machine<'_>,
    y: MatrixMut<'_>,
    x: MatrixRef<'_>,
    w: &Matrix,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    check(&y, x, w);
    let m = y.rows();
    if m <= exact::few::FEW_ROWS {
        each_item(machine, Plan::few(m, w), w, &y, 0, scratch, &|Item { y, groups, .. }| {
            machine.isa.run_integer(ExactFew::<FORMAT> { y, x, w, groups, accumulate });
        });
        return;
    }
    each_item(machine, Plan::exact(m, w), w, &y, exact::panel::<Single>(), scratch, &|Item { y, rows, groups, scratch }| {
        let x = x.part(rows, 0..x.cols());
        let operand = PhantomData::<Single>;
        machine.isa.run_integer(ByPanels::<_, FORMAT> { operand, y, x, w, groups, accumulate, scratch });
    });
}

fn rounded<const FORMAT: usize>(
    machine: Machine<'_>,
    y: MatrixMut<'_>,
    x: MatrixRef<'_>,
    w: &Matrix,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    check(&y, x, w);
    let (m, width) = (y.rows(), w.width());
    let (want, pairs) = (product_bf16_scratch(m, w, machine.executor.workers()), Pair::rows_scratch(m, width));
    assert!(scratch.len() >= want, "scratch of a product with {w:?}: want {want}, got {}", scratch.len());
    let (pairs, scratch) = scratch.split_at_mut(pairs);
    let at_once = rows_per_item(width).next_multiple_of(SQUARE);
    let items = m.div_ceil(at_once);
    each_part(machine, items, [(&mut *pairs, Pair::rows_scratch(at_once, width))], |item, [pairs]| {
        let rows = item * at_once..((item + 1) * at_once).min(m);
        machine.isa.run_pairs(RoundRows { a: x.part(rows, 0..width), scratch: pairs });
    });
    let x = Pair::rows(pairs, m, width);
    each_item(machine, Plan::bf16(m, w), w, &y, exact::panel::<Pair>(), scratch, &|Item { y, rows, groups, scratch }| {
        let x = x.part(rows, 0..x.cols());
        let operand = PhantomData::<Pair>;
        machine.isa.run_integer_pairs(ByPanels::<_, FORMAT> { operand, y, x, w, groups, accumulate, scratch });
    });
}

#[track_caller]
fn check(y: &MatrixMut<'_>, x: MatrixRef<'_>, w: &Matrix) {
    let (m, rows, width) = (y.rows(), w.rows(), w.width());
    assert!(
        y.cols() == rows && x.rows() == m && x.cols() == width,
        "product with {w:?}: want [{m}, {rows}] from [{m}, {width}], got [{m}, {}] from [{}, {}]",
        y.cols(),
        x.rows(),
        x.cols()
    );
    assert!(x.cols() <= 1 || x.col_stride() == 1, "activations [{m}, {width}]: want contiguous rows");
}
