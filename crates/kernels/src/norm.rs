//! Root-mean-square and layer normalisation of rows, with their gradients.

use crate::Machine;
use crate::disjoint::each_part;
use crate::elementwise::{AddAssign, SumRows};
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{Dot, Map, Sum, Term, apply, rows, rows_per_item, sum};

/// `y [n, width] = x / sqrt(mean(x^2) + eps) * weight`, row by row; `weight [width]`, or 1.
///
/// # Panics
/// If `x` is not whole rows, or `y` or `weight` has another length.
pub fn rms_norm(machine: Machine<'_>, y: &mut [f32], x: &[f32], weight: Option<&[f32]>, width: usize, eps: f32) {
    forward(machine, Norm { width, eps, centred: false, weight, bias: None }, y, x);
}

/// Gradients of [`rms_norm`]: `d_x [n, width] +=`, `d_weight [width] +=`. [`norm_backward_scratch`] says how long `scratch`
/// must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit `width`.
pub fn rms_norm_backward(
    machine: Machine<'_>,
    d_x: &mut [f32],
    d_weight: Option<&mut [f32]>,
    d_y: &[f32],
    x: &[f32],
    weight: Option<&[f32]>,
    width: usize,
    eps: f32,
    scratch: &mut [f32],
) {
    backward(machine, Norm { width, eps, centred: false, weight, bias: None }, d_x, [d_weight, None], d_y, x, scratch);
}

/// `y [n, width] = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, row by row; `weight [width]` or 1, `bias [width]` or 0.
/// The variance is that of the row itself (divided by `width`).
///
/// # Panics
/// If `x` is not whole rows, or another slice does not fit.
pub fn layer_norm(
    machine: Machine<'_>,
    y: &mut [f32],
    x: &[f32],
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    width: usize,
    eps: f32,
) {
    forward(machine, Norm { width, eps, centred: true, weight, bias }, y, x);
}

/// Gradients of [`layer_norm`]: `d_x [n, width] +=`, `d_weight [width] +=`, `d_bias [width] +=`.
/// [`norm_backward_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit `width`.
pub fn layer_norm_backward(
    machine: Machine<'_>,
    d_x: &mut [f32],
    d_weight: Option<&mut [f32]>,
    d_bias: Option<&mut [f32]>,
    d_y: &[f32],
    x: &[f32],
    weight: Option<&[f32]>,
    width: usize,
    eps: f32,
    scratch: &mut [f32],
) {
    backward(machine, Norm { width, eps, centred: true, weight, bias: None }, d_x, [d_weight, d_bias], d_y, x, scratch);
}

/// Values that [`rms_norm_backward`] and [`layer_norm_backward`] need as scratch for `rows` rows of `width`.
pub fn norm_backward_scratch(rows: usize, width: usize) -> usize {
    2 * rows.div_ceil(backward_rows(width)) * width
}

/// Rows of one work item of the backward pass. The gradient of the weight is summed over these first, then over the items in
/// order.
fn backward_rows(width: usize) -> usize {
    rows_per_item(width).clamp(32, 512)
}

#[derive(Clone, Copy)]
struct Norm<'a> {
    width: usize,
    eps: f32,
    centred: bool,
    weight: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
}

fn forward(machine: Machine<'_>, norm: Norm<'_>, y: &mut [f32], x: &[f32]) {
    let width = norm.width;
    let n = rows(x.len(), width);
    assert_eq!(y.len(), x.len(), "y and x");
    let per_item = rows_per_item(width);
    each_part(machine, n.div_ceil(per_item), [(y, per_item * width)], |item, [y]| {
        let start = item * per_item * width;
        let x = &x[start..start + y.len()];
        machine.isa.run(Forward { norm, y, x });
    });
}

fn backward(
    machine: Machine<'_>,
    norm: Norm<'_>,
    d_x: &mut [f32],
    [d_weight, d_bias]: [Option<&mut [f32]>; 2],
    d_y: &[f32],
    x: &[f32],
    scratch: &mut [f32],
) {
    let width = norm.width;
    let n = rows(x.len(), width);
    assert_eq!(d_x.len(), x.len(), "d_x and x");
    assert_eq!(d_y.len(), x.len(), "d_y and x");
    let per_item = backward_rows(width);
    let items = n.div_ceil(per_item);
    for sum in [&d_weight, &d_bias].into_iter().flatten() {
        expect::length("gradient of a weight or bias", sum.len(), width);
    }
    let (d_weights, d_biases) = expect::scratch(scratch, norm_backward_scratch(n, width)).split_at_mut(items * width);
    // A parameter that gets no gradient gets no partial sums.
    let d_weights = if d_weight.is_some() { d_weights } else { &mut [] };
    let d_biases = if d_bias.is_some() { d_biases } else { &mut [] };
    let parts = [(d_x, per_item * width), (&mut *d_weights, width), (&mut *d_biases, width)];
    each_part(machine, items, parts, |item, [d_x, d_weight, d_bias]| {
        let span = item * per_item * width..item * per_item * width + d_x.len();
        machine.isa.run(Backward { norm, d_x, d_weight, d_bias, d_y: &d_y[span.clone()], x: &x[span] });
    });
    for (total, partial) in [(d_weight, d_weights), (d_bias, d_biases)] {
        if let Some(sum) = total {
            machine.isa.run(SumRows { sum, rows: partial });
        }
    }
}

/// `sum += x - mean`
#[derive(Clone, Copy)]
struct Deviation(f32);

impl Term<1> for Deviation {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [x]: [S::V; 1]) -> S::V {
        simd.add(sum, simd.sub(x, simd.splat(self.0)))
    }

    #[inline(always)]
    fn pad(self) -> f32 {
        self.0
    }
}

/// `sum += (x - mean - rest)^2`
#[derive(Clone, Copy)]
struct SquaredDeviation {
    mean: f32,
    rest: f32,
}

impl Term<1> for SquaredDeviation {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [x]: [S::V; 1]) -> S::V {
        let deviation = simd.sub(simd.sub(x, simd.splat(self.mean)), simd.splat(self.rest));
        simd.fma(deviation, deviation, sum)
    }

    /// Adds `rest^2`, which is below the rounding of the sum.
    #[inline(always)]
    fn pad(self) -> f32 {
        self.mean
    }
}

/// `s = (x - mean - rest) factor`: the mean is `mean + rest`, since a mean far from 0 rounded to one number would be off by a
/// good part of a small deviation.
#[derive(Clone, Copy)]
struct Standardise {
    mean: f32,
    rest: f32,
    factor: f32,
}

impl Standardise {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let deviation = simd.sub(x, simd.splat(self.mean));
        simd.fma(deviation, simd.splat(self.factor), simd.splat(-self.rest * self.factor))
    }
}

impl Map<1, 1> for Standardise {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [x]: [S::V; 1]) -> [S::V; 1] {
        [self.value(simd, x)]
    }
}

impl Map<1, 2> for Standardise {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [x, weight]: [S::V; 2]) -> [S::V; 1] {
        [simd.mul(self.value(simd, x), weight)]
    }
}

impl Map<1, 3> for Standardise {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [x, weight, bias]: [S::V; 3]) -> [S::V; 1] {
        [simd.fma(self.value(simd, x), weight, bias)]
    }
}

/// [`Standardise`] with a bias and no weight.
#[derive(Clone, Copy)]
struct Shift(Standardise);

impl Map<1, 2> for Shift {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [x, bias]: [S::V; 2]) -> [S::V; 1] {
        [simd.add(self.0.value(simd, x), bias)]
    }
}

impl Norm<'_> {
    #[inline(always)]
    fn standardise<S: Simd>(self, simd: S, x: &[f32]) -> Standardise {
        let width = self.width as f32;
        let (mut mean, mut rest) = (0.0, 0.0);
        if self.centred {
            mean = sum(simd, Sum, [x]) / width;
            rest = sum(simd, Deviation(mean), [x]) / width;
        }
        let variance = sum(simd, SquaredDeviation { mean, rest }, [x]) / width;
        Standardise { mean, rest, factor: 1.0 / (variance + self.eps).sqrt() }
    }
}

struct Forward<'a> {
    norm: Norm<'a>,
    y: &'a mut [f32],
    x: &'a [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.norm.width;
        for (y, x) in self.y.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            let op = self.norm.standardise(simd, x);
            match (self.norm.weight, self.norm.bias) {
                (Some(weight), Some(bias)) => apply(simd, op, [y], [x, weight, bias]),
                (Some(weight), None) => apply(simd, op, [y], [x, weight]),
                (None, Some(bias)) => apply(simd, Shift(op), [y], [x, bias]),
                (None, None) => apply(simd, op, [y], [x]),
            }
        }
    }
}

struct Backward<'a> {
    norm: Norm<'a>,
    d_x: &'a mut [f32],
    d_weight: &'a mut [f32],
    d_bias: &'a mut [f32],
    d_y: &'a [f32],
    x: &'a [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.norm.width;
        self.d_weight.fill(0.0);
        self.d_bias.fill(0.0);
        let rows = self.d_x.chunks_exact_mut(width).zip(self.x.chunks_exact(width)).zip(self.d_y.chunks_exact(width));
        for ((d_x, x), d_y) in rows {
            let op = self.norm.standardise(simd, x);
            input_gradient(simd, self.norm, op, d_x, x, d_y);
            if !self.d_weight.is_empty() {
                apply(simd, WeightGradient(op), [&mut *self.d_weight], [x, d_y]);
            }
            if !self.d_bias.is_empty() {
                apply(simd, AddAssign, [&mut *self.d_bias], [d_y]);
            }
        }
    }
}

/// With `g = d_y * weight` and `s` the standardised row: `d_x += factor (g - s mean(g s))`, and less `factor mean(g)` if the
/// row was centred.
#[inline(always)]
fn input_gradient<S: Simd>(simd: S, norm: Norm<'_>, op: Standardise, d_x: &mut [f32], x: &[f32], d_y: &[f32]) {
    let width = norm.width as f32;
    let (g, g_s) = match norm.weight {
        Some(weight) => (sum(simd, Dot, [d_y, weight]), sum(simd, DotStandardised(op), [x, d_y, weight])),
        None => (sum(simd, Sum, [d_y]), sum(simd, DotStandardised(op), [x, d_y])),
    };
    let offset = if norm.centred { g / width } else { 0.0 };
    let gradient = InputGradient { op, slope: g_s / width, offset };
    match norm.weight {
        Some(weight) => apply(simd, gradient, [d_x], [x, d_y, weight]),
        None => apply(simd, gradient, [d_x], [x, d_y]),
    }
}

/// `sum += s g`, where `g` may be a product.
#[derive(Clone, Copy)]
struct DotStandardised(Standardise);

impl Term<2> for DotStandardised {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [x, g]: [S::V; 2]) -> S::V {
        simd.fma(self.0.value(simd, x), g, sum)
    }
}

impl Term<3> for DotStandardised {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [x, d_y, weight]: [S::V; 3]) -> S::V {
        Term::<2>::add(self, simd, sum, [x, simd.mul(d_y, weight)])
    }
}

/// `d_x += factor (g - offset - slope s)`
#[derive(Clone, Copy)]
struct InputGradient {
    op: Standardise,
    slope: f32,
    offset: f32,
}

impl Map<1, 2> for InputGradient {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [d_x]: [S::V; 1], [x, g]: [S::V; 2]) -> [S::V; 1] {
        let along = simd.mul(self.op.value(simd, x), simd.splat(self.slope));
        let inner = simd.sub(simd.sub(g, simd.splat(self.offset)), along);
        [simd.fma(inner, simd.splat(self.op.factor), d_x)]
    }
}

impl Map<1, 3> for InputGradient {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, d_x: [S::V; 1], [x, d_y, weight]: [S::V; 3]) -> [S::V; 1] {
        Map::<1, 2>::at(self, simd, d_x, [x, simd.mul(d_y, weight)])
    }
}

/// `d_weight += s d_y`
#[derive(Clone, Copy)]
struct WeightGradient(Standardise);

impl Map<1, 2> for WeightGradient {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [d_weight]: [S::V; 1], [x, d_y]: [S::V; 2]) -> [S::V; 1] {
        [simd.fma(self.0.value(simd, x), d_y, d_weight)]
    }
}
