//! Plain twins of [`crate::optimizer`].

use crate::Machine;
use crate::optimizer::AdamW;

/// Sum of the squares of `x`.
pub fn sum_squares(_: Machine<'_>, x: &[f32], _scratch: &mut [f64]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum()
}

/// One step of AdamW.
pub fn adamw(
    _: Machine<'_>,
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: u64,
    settings: &AdamW,
    gradient_scale: f32,
) {
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } = *settings;
    for i in 0..p.len() {
        let g = f64::from(g[i]) * f64::from(gradient_scale);
        let mean = beta1 * f64::from(m[i]) + (1.0 - beta1) * g;
        let square = beta2 * f64::from(v[i]) + (1.0 - beta2) * g * g;
        let corrected_mean = mean / (1.0 - beta1.powf(step as f64));
        let corrected_square = square / (1.0 - beta2.powf(step as f64));
        let decayed = f64::from(p[i]) * (1.0 - learning_rate * weight_decay);
        p[i] = (decayed - learning_rate * corrected_mean / (corrected_square.sqrt() + epsilon)) as f32;
        m[i] = mean as f32;
        v[i] = square as f32;
    }
}
