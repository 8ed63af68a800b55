//! Plain twins of [`crate::activation`].

use crate::Machine;
use crate::activation::{Gelu, Unary};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// `y = silu(gate) up`.
pub fn swiglu(_: Machine<'_>, y: &mut [f32], gate: &[f32], up: &[f32]) {
    for i in 0..y.len() {
        y[i] = (value(Unary::Silu, f64::from(gate[i])) * f64::from(up[i])) as f32;
    }
}

/// Gradients of [`swiglu`].
pub fn swiglu_backward(_: Machine<'_>, d_gate: &mut [f32], d_up: &mut [f32], d_y: &[f32], gate: &[f32], up: &[f32]) {
    for i in 0..d_y.len() {
        let (d_y, gate, up) = (f64::from(d_y[i]), f64::from(gate[i]), f64::from(up[i]));
        d_gate[i] = (f64::from(d_gate[i]) + d_y * up * derivative(Unary::Silu, gate)) as f32;
        d_up[i] = (f64::from(d_up[i]) + d_y * value(Unary::Silu, gate)) as f32;
    }
}

/// `y = gelu(x)`.
pub fn gelu(_: Machine<'_>, y: &mut [f32], x: &[f32], kind: Gelu) {
    for i in 0..y.len() {
        let x = f64::from(x[i]);
        y[i] = match kind {
            Gelu::Erf => x * normal_distribution(x),
            Gelu::Tanh => 0.5 * x * (1.0 + gelu_argument(x).tanh()),
        } as f32;
    }
}

/// Gradient of [`gelu`].
pub fn gelu_backward(_: Machine<'_>, d_x: &mut [f32], d_y: &[f32], x: &[f32], kind: Gelu) {
    for i in 0..d_x.len() {
        let x = f64::from(x[i]);
        let slope = match kind {
            Gelu::Erf => normal_distribution(x) + x * (-0.5 * x * x).exp() * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0,
            Gelu::Tanh => {
                let tanh = gelu_argument(x).tanh();
                let inner = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (1.0 + 3.0 * 0.044715 * x * x);
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
            }
        };
        d_x[i] = (f64::from(d_x[i]) + f64::from(d_y[i]) * slope) as f32;
    }
}

/// `y = f(x)`.
pub fn unary(_: Machine<'_>, y: &mut [f32], x: &[f32], kind: Unary) {
    for i in 0..y.len() {
        y[i] = value(kind, f64::from(x[i])) as f32;
    }
}

/// Gradient of [`unary`].
pub fn unary_backward(_: Machine<'_>, d_x: &mut [f32], d_y: &[f32], x: &[f32], _y: &[f32], kind: Unary) {
    for i in 0..d_x.len() {
        d_x[i] = (f64::from(d_x[i]) + f64::from(d_y[i]) * derivative(kind, f64::from(x[i]))) as f32;
    }
}

fn value(kind: Unary, x: f64) -> f64 {
    match kind {
        Unary::Silu => x * value(Unary::Sigmoid, x),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Tanh => x.tanh(),
        Unary::Exp => x.exp(),
        Unary::EluPlusOne if x > 0.0 => x + 1.0,
        Unary::EluPlusOne => x.exp(),
        Unary::Relu => x.max(0.0),
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

fn derivative(kind: Unary, x: f64) -> f64 {
    let sigmoid = value(Unary::Sigmoid, x);
    match kind {
        Unary::Silu => sigmoid + x * sigmoid * (1.0 - sigmoid),
        Unary::Sigmoid => sigmoid * (1.0 - sigmoid),
        Unary::Tanh => 1.0 / x.cosh().powi(2),
        Unary::Exp => x.exp(),
        Unary::EluPlusOne => x.min(0.0).exp(),
        Unary::Relu => f64::from(x > 0.0),
        Unary::Softplus => sigmoid,
    }
}

fn gelu_argument(x: f64) -> f64 {
    FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044715 * x.powi(3))
}

/// `Phi(x)`: by the power series where it converges fast, by the continued fraction of the tail elsewhere.
fn normal_distribution(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0;
    if x.abs() < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > 1e-18 {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let mut fraction = x.abs();
    for n in (1..200).rev() {
        fraction = x.abs() + f64::from(n) / fraction;
    }
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}
