//! Activation functions and their gradients.

use crate::Machine;
use crate::simd::Simd;
use crate::vector::{Map, map};

/// Which GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gelu {
    /// `x Phi(x)`, with the normal distribution function (GPT-2's paper, BERT).
    Erf,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (GPT-2's code, Gemma).
    Tanh,
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `x sigmoid(x)`
    Silu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
    /// `e^x`
    Exp,
    /// `x + 1` above 0, `e^x` below: the positive feature map of linear attention.
    EluPlusOne,
    /// `max(x, 0)`
    Relu,
    /// `ln(1 + e^x)`
    Softplus,
}

/// `y = silu(gate) up`, all of one length.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu(machine: Machine<'_>, y: &mut [f32], gate: &[f32], up: &[f32]) {
    map(machine, Swiglu, [y], [gate, up]);
}

/// Gradients of [`swiglu`]: `d_gate +=`, `d_up +=`, all of one length.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_backward(machine: Machine<'_>, d_gate: &mut [f32], d_up: &mut [f32], d_y: &[f32], gate: &[f32], up: &[f32]) {
    map(machine, Swiglu, [d_gate, d_up], [d_y, gate, up]);
}

/// `y = gelu(x)`, both of one length.
///
/// # Panics
/// If the lengths differ.
pub fn gelu(machine: Machine<'_>, y: &mut [f32], x: &[f32], kind: Gelu) {
    match kind {
        Gelu::Erf => map(machine, Function(GeluErf), [y], [x]),
        Gelu::Tanh => map(machine, Function(GeluTanh), [y], [x]),
    }
}

/// Gradient of [`gelu`]: `d_x +=`, all of one length.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_backward(machine: Machine<'_>, d_x: &mut [f32], d_y: &[f32], x: &[f32], kind: Gelu) {
    // Neither needs its value: the input stands in for it.
    match kind {
        Gelu::Erf => map(machine, Derivative(GeluErf), [d_x], [d_y, x, x]),
        Gelu::Tanh => map(machine, Derivative(GeluTanh), [d_x], [d_y, x, x]),
    }
}

/// `y = f(x)`, both of one length.
///
/// # Panics
/// If the lengths differ.
pub fn unary(machine: Machine<'_>, y: &mut [f32], x: &[f32], kind: Unary) {
    match kind {
        Unary::Silu => map(machine, Function(Silu), [y], [x]),
        Unary::Sigmoid => map(machine, Function(Sigmoid), [y], [x]),
        Unary::Tanh => map(machine, Function(Tanh), [y], [x]),
        Unary::Exp => map(machine, Function(Exp), [y], [x]),
        Unary::EluPlusOne => map(machine, Function(EluPlusOne), [y], [x]),
        Unary::Relu => map(machine, Function(Relu), [y], [x]),
        Unary::Softplus => map(machine, Function(Softplus), [y], [x]),
    }
}

/// Gradient of [`unary`]: `d_x += d_y f'(x)`, with `y = f(x)`, all of one length. At the corner of `Relu` and `EluPlusOne`
/// the derivative is that from below.
///
/// # Panics
/// If the lengths differ.
pub fn unary_backward(machine: Machine<'_>, d_x: &mut [f32], d_y: &[f32], x: &[f32], y: &[f32], kind: Unary) {
    match kind {
        Unary::Silu => map(machine, Derivative(Silu), [d_x], [d_y, x, y]),
        Unary::Sigmoid => map(machine, Derivative(Sigmoid), [d_x], [d_y, x, y]),
        Unary::Tanh => map(machine, Derivative(Tanh), [d_x], [d_y, x, y]),
        Unary::Exp => map(machine, Derivative(Exp), [d_x], [d_y, x, y]),
        Unary::EluPlusOne => map(machine, Derivative(EluPlusOne), [d_x], [d_y, x, y]),
        Unary::Relu => map(machine, Derivative(Relu), [d_x], [d_y, x, y]),
        Unary::Softplus => map(machine, Derivative(Softplus), [d_x], [d_y, x, y]),
    }
}

/// A function and its derivative, which may use the function's value `y`. Both must be `#[inline(always)]`.
trait Activation: Copy + Sync {
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V;
    fn derivative<S: Simd>(self, simd: S, x: S::V, y: S::V) -> S::V;
}

#[derive(Clone, Copy)]
struct Function<A>(A);

impl<A: Activation> Map<1, 1> for Function<A> {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [x]: [S::V; 1]) -> [S::V; 1] {
        [self.0.value(simd, x)]
    }
}

#[derive(Clone, Copy)]
struct Derivative<A>(A);

impl<A: Activation> Map<1, 3> for Derivative<A> {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [d_x]: [S::V; 1], [d_y, x, y]: [S::V; 3]) -> [S::V; 1] {
        [simd.fma(d_y, self.0.derivative(simd, x, y), d_x)]
    }
}

#[derive(Clone, Copy)]
struct Swiglu;

impl Map<1, 2> for Swiglu {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 1], [gate, up]: [S::V; 2]) -> [S::V; 1] {
        [simd.mul(Silu.value(simd, gate), up)]
    }
}

impl Map<2, 3> for Swiglu {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [d_gate, d_up]: [S::V; 2], [d_y, gate, up]: [S::V; 3]) -> [S::V; 2] {
        let sigmoid = Sigmoid.value(simd, gate);
        let slope = Silu::slope(simd, gate, sigmoid);
        [simd.fma(simd.mul(d_y, up), slope, d_gate), simd.fma(d_y, simd.mul(gate, sigmoid), d_up)]
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl Activation for Sigmoid {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let one = simd.splat(1.0);
        simd.div(one, simd.add(one, simd.exp(simd.sub(simd.splat(0.0), x))))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, _: S::V, y: S::V) -> S::V {
        simd.mul(y, simd.sub(simd.splat(1.0), y))
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl Silu {
    /// `sigmoid (1 + x (1 - sigmoid))`
    #[inline(always)]
    fn slope<S: Simd>(simd: S, x: S::V, sigmoid: S::V) -> S::V {
        let one = simd.splat(1.0);
        simd.mul(sigmoid, simd.fma(x, simd.sub(one, sigmoid), one))
    }
}

impl Activation for Silu {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        simd.mul(x, Sigmoid.value(simd, x))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: S::V, _: S::V) -> S::V {
        Silu::slope(simd, x, Sigmoid.value(simd, x))
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl Activation for Tanh {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        tanh(simd, x)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, _: S::V, y: S::V) -> S::V {
        let one = simd.splat(1.0);
        simd.mul(simd.sub(one, y), simd.add(one, y))
    }
}

#[derive(Clone, Copy)]
struct Exp;

impl Activation for Exp {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        simd.exp(x)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, _: S, _: S::V, y: S::V) -> S::V {
        y
    }
}

#[derive(Clone, Copy)]
struct EluPlusOne;

impl Activation for EluPlusOne {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        simd.select_lt(simd.splat(0.0), x, simd.add(x, simd.splat(1.0)), simd.exp(x))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: S::V, y: S::V) -> S::V {
        simd.select_lt(simd.splat(0.0), x, simd.splat(1.0), y)
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl Activation for Relu {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // Operand order keeps NaN.
        simd.max(simd.splat(0.0), x)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: S::V, _: S::V) -> S::V {
        simd.select_lt(simd.splat(0.0), x, simd.splat(1.0), simd.splat(0.0))
    }
}

#[derive(Clone, Copy)]
struct Softplus;

impl Activation for Softplus {
    /// `max(x, 0) + ln(1 + u)` with `u = e^-|x|`, and `ln(1 + u) = 2 atanh(u / (2 + u))` whose argument is at most 1/3.
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let zero = simd.splat(0.0);
        let u = simd.exp(simd.min(x, simd.sub(zero, x)));
        let s = simd.div(u, simd.add(simd.splat(2.0), u));
        let s2 = simd.mul(s, s);
        let p = polynomial(simd, s2, [0.140_060_1, 0.140_008_99, 0.200_107_64, 0.333_332_1]);
        let atanh = simd.fma(simd.mul(s, s2), p, s);
        simd.fma(simd.splat(2.0), atanh, simd.max(zero, x))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: S::V, _: S::V) -> S::V {
        Sigmoid.value(simd, x)
    }
}

#[derive(Clone, Copy)]
struct GeluErf;

impl Activation for GeluErf {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let density = simd.exp(simd.mul(simd.splat(-0.5), simd.mul(x, x)));
        simd.mul(x, normal_distribution(simd, x, density))
    }
    /// `Phi(x) + x phi(x)`
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: S::V, _: S::V) -> S::V {
        const ONE_OVER_SQRT_TAU: f32 = 0.398_942_3;
        let density = simd.exp(simd.mul(simd.splat(-0.5), simd.mul(x, x)));
        let slope = simd.mul(x, simd.splat(ONE_OVER_SQRT_TAU));
        simd.fma(slope, density, normal_distribution(simd, x, density))
    }
}

/// `Phi(x)`, the normal distribution function, given `density = e^(-x^2 / 2)`.
///
/// The upper tail beyond `|x|` divided by the density is a polynomial in `t = (|x| - 3) / (|x| + 3)`: within 7e-9 of its value
/// for `|x|` up to 13.5, where the density has underflowed to 0.
#[inline(always)]
fn normal_distribution<S: Simd>(simd: S, x: S::V, density: S::V) -> S::V {
    let (zero, three) = (simd.splat(0.0), simd.splat(3.0));
    let magnitude = simd.min(simd.splat(13.5), simd.max(simd.sub(zero, x), x));
    let t = simd.div(simd.sub(magnitude, three), simd.add(magnitude, three));
    let ratio = polynomial(
        simd,
        t,
        [
            5.416_887e-5,
            1.160_670_3e-4,
            -3.399_158_6e-4,
            -9.842_067e-4,
            2.904_7e-3,
            6.132_189e-3,
            -4.621_331_4e-2,
            0.123_225_02,
            -0.206_402_61,
            0.121_513_95,
        ],
    );
    let tail = simd.mul(density, ratio);
    simd.select_lt(x, zero, tail, simd.sub(simd.splat(1.0), tail))
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl GeluTanh {
    const SLOPE: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;

    /// Twice the argument of the tanh: `(1 + tanh(a)) / 2 = sigmoid(2 a)`.
    #[inline(always)]
    fn argument<S: Simd>(simd: S, x: S::V) -> S::V {
        let inner = simd.fma(simd.splat(Self::CUBIC), simd.mul(x, x), simd.splat(1.0));
        simd.mul(simd.splat(2.0 * Self::SLOPE), simd.mul(x, inner))
    }
}

impl Activation for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        simd.mul(x, Sigmoid.value(simd, Self::argument(simd, x)))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: S::V, _: S::V) -> S::V {
        let sigmoid = Sigmoid.value(simd, Self::argument(simd, x));
        let x2 = simd.mul(x, x);
        let slope = simd.fma(simd.splat(6.0 * Self::SLOPE * Self::CUBIC), x2, simd.splat(2.0 * Self::SLOPE));
        let through = simd.mul(simd.mul(x, slope), Sigmoid.derivative(simd, x, sigmoid));
        simd.add(sigmoid, through)
    }
}

/// `tanh(x)`, accurate relative to its value also near 0.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let magnitude = simd.max(simd.sub(zero, x), x);
    let grown = simd.exp(simd.add(magnitude, magnitude));
    let far = simd.sub(one, simd.div(simd.splat(2.0), simd.add(grown, one)));
    let far = simd.select_lt(x, zero, simd.sub(zero, far), far);
    let x2 = simd.mul(x, x);
    let p = polynomial(simd, x2, [-5.704_953e-3, 2.063_905_4e-2, -5.373_970_4e-2, 0.133_314_42, -0.333_332_8]);
    let near = simd.fma(simd.mul(x, x2), p, x);
    simd.select_lt(magnitude, simd.splat(0.625), near, far)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    Sigmoid.value(simd, x)
}

/// The polynomial whose coefficients are given from the highest power down.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::V, coefficients: [f32; N]) -> S::V {
    let mut p = simd.splat(coefficients[0]);
    for c in &coefficients[1..] {
        p = simd.fma(p, x, simd.splat(*c));
    }
    p
}
