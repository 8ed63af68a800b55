//! Plain twins of [`crate::elementwise`].

use crate::Machine;

/// `y = a + b`.
pub fn add(_: Machine<'_>, y: &mut [f32], a: &[f32], b: &[f32]) {
    for i in 0..y.len() {
        y[i] = a[i] + b[i];
    }
}

/// `y += x`.
pub fn add_assign(_: Machine<'_>, y: &mut [f32], x: &[f32]) {
    for i in 0..y.len() {
        y[i] += x[i];
    }
}

/// `y = s x`.
pub fn scale(_: Machine<'_>, y: &mut [f32], x: &[f32], s: f32) {
    for i in 0..y.len() {
        y[i] = s * x[i];
    }
}

/// `y += s x`.
pub fn scale_add(_: Machine<'_>, y: &mut [f32], x: &[f32], s: f32) {
    for i in 0..y.len() {
        y[i] = (f64::from(y[i]) + f64::from(s) * f64::from(x[i])) as f32;
    }
}

/// `y = a b`.
pub fn multiply(_: Machine<'_>, y: &mut [f32], a: &[f32], b: &[f32]) {
    for i in 0..y.len() {
        y[i] = a[i] * b[i];
    }
}

/// `y += a b`.
pub fn multiply_add(_: Machine<'_>, y: &mut [f32], a: &[f32], b: &[f32]) {
    for i in 0..y.len() {
        y[i] = (f64::from(y[i]) + f64::from(a[i]) * f64::from(b[i])) as f32;
    }
}

/// `y [n, width] += bias [width]`.
pub fn add_bias(_: Machine<'_>, y: &mut [f32], bias: &[f32]) {
    for i in 0..y.len() {
        y[i] += bias[i % bias.len()];
    }
}

/// `d_bias [width] += ` the sum of the rows of `d_y [n, width]`.
pub fn sum_rows(_: Machine<'_>, d_bias: &mut [f32], d_y: &[f32], _scratch: &mut [f32]) {
    let width = d_bias.len();
    for (i, d) in d_bias.iter_mut().enumerate() {
        let sum: f64 = d_y.iter().skip(i).step_by(width).map(|x| f64::from(*x)).sum();
        *d = (f64::from(*d) + sum) as f32;
    }
}
