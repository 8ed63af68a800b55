//! Sums and products position by position, and sums over rows.

use crate::Machine;
use crate::disjoint::each_part;
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, apply, map, rows, rows_per_item};

/// `y = a + b`, all of one length.
///
/// # Panics
/// If the lengths differ.
pub fn add(machine: Machine<'_>, y: &mut [f32], a: &[f32], b: &[f32]) {
    map(machine, Add, [y], [a, b]);
}

/// `y += x`, both of one length.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(machine: Machine<'_>, y: &mut [f32], x: &[f32]) {
    map(machine, AddAssign, [y], [x]);
}

/// `y = s x`, both of one length.
///
/// # Panics
/// If the lengths differ.
pub fn scale(machine: Machine<'_>, y: &mut [f32], x: &[f32], s: f32) {
    map(machine, Scale(s), [y], [x]);
}

/// `y += s x`, both of one length.
///
/// # Panics
/// If the lengths differ.
pub fn scale_add(machine: Machine<'_>, y: &mut [f32], x: &[f32], s: f32) {
    map(machine, ScaleAdd(s), [y], [x]);
}

/// `y = a b`, position by position, all of one length.
///
/// # Panics
/// If the lengths differ.
pub fn multiply(machine: Machine<'_>, y: &mut [f32], a: &[f32], b: &[f32]) {
    map(machine, Multiply, [y], [a, b]);
}

/// `y += a b`, position by position, all of one length.
///
/// # Panics
/// If the lengths differ.
pub fn multiply_add(machine: Machine<'_>, y: &mut [f32], a: &[f32], b: &[f32]) {
    map(machine, MultiplyAdd, [y], [a, b]);
}

/// `y [n, width] += bias [width]`, to every row.
///
/// # Panics
/// If `y` is not whole rows.
pub fn add_bias(machine: Machine<'_>, y: &mut [f32], bias: &[f32]) {
    let width = bias.len();
    let n = rows(y.len(), width);
    let per_item = rows_per_item(width);
    each_part(machine, n.div_ceil(per_item), [(y, per_item * width)], |_, [y]| {
        machine.isa.run(AddBias { y, bias });
    });
}

/// `d_bias [width] += ` the sum of the rows of `d_y [n, width]`. What `scratch` held does not matter;
/// [`sum_rows_scratch`] says how long it must be.
///
/// # Panics
/// If `d_y` is not whole rows, or `scratch` is too short.
pub fn sum_rows(machine: Machine<'_>, d_bias: &mut [f32], d_y: &[f32], scratch: &mut [f32]) {
    let width = d_bias.len();
    let n = rows(d_y.len(), width);
    let per_item = sum_rows_per_item(width);
    let partial = expect::scratch(scratch, sum_rows_scratch(n, width));
    each_part(machine, n.div_ceil(per_item), [(&mut *partial, width)], |item, [sum]| {
        let d_y = &d_y[item * per_item * width..n.min((item + 1) * per_item) * width];
        sum.fill(0.0);
        machine.isa.run(SumRows { sum, rows: d_y });
    });
    machine.isa.run(SumRows { sum: d_bias, rows: partial });
}

/// Values that [`sum_rows`] needs as scratch for `rows` rows of `width`.
pub fn sum_rows_scratch(rows: usize, width: usize) -> usize {
    rows.div_ceil(sum_rows_per_item(width)) * width
}

/// Rows that [`sum_rows`] adds up before it adds to the total.
fn sum_rows_per_item(width: usize) -> usize {
    rows_per_item(width).clamp(32, 512)
}

#[derive(Clone, Copy)]
struct Add;

impl Map<1, 2> for Add {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [a, b]: [S::V; 2]) -> [S::V; 1] {
        [simd.add(a, b)]
    }
}

/// `y += x`
#[derive(Clone, Copy)]
pub(crate) struct AddAssign;

impl Map<1, 1> for AddAssign {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [y]: [S::V; 1], [x]: [S::V; 1]) -> [S::V; 1] {
        [simd.add(y, x)]
    }
}

/// `y = s x`
#[derive(Clone, Copy)]
pub(crate) struct Scale(pub(crate) f32);

impl Map<1, 1> for Scale {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [x]: [S::V; 1]) -> [S::V; 1] {
        [simd.mul(x, simd.splat(self.0))]
    }
}

#[derive(Clone, Copy)]
struct ScaleAdd(f32);

impl Map<1, 1> for ScaleAdd {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [y]: [S::V; 1], [x]: [S::V; 1]) -> [S::V; 1] {
        [simd.fma(x, simd.splat(self.0), y)]
    }
}

#[derive(Clone, Copy)]
struct Multiply;

impl Map<1, 2> for Multiply {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [a, b]: [S::V; 2]) -> [S::V; 1] {
        [simd.mul(a, b)]
    }
}

#[derive(Clone, Copy)]
struct MultiplyAdd;

impl Map<1, 2> for MultiplyAdd {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [y]: [S::V; 1], [a, b]: [S::V; 2]) -> [S::V; 1] {
        [simd.fma(a, b, y)]
    }
}

struct AddBias<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for AddBias<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for y in self.y.chunks_exact_mut(self.bias.len()) {
            apply(simd, AddAssign, [y], [self.bias]);
        }
    }
}

/// Adds rows to `sum`, one after the other.
pub(crate) struct SumRows<'a> {
    pub(crate) sum: &'a mut [f32],
    pub(crate) rows: &'a [f32],
}

impl Kernel for SumRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.sum.is_empty() {
            return;
        }
        for row in self.rows.chunks_exact(self.sum.len()) {
            apply(simd, AddAssign, [&mut *self.sum], [row]);
        }
    }
}
