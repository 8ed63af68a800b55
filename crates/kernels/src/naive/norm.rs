//! Plain twins of [`crate::norm`].

use crate::Machine;

/// `y [n, width] = x / sqrt(mean(x^2) + eps) * weight`.
pub fn rms_norm(_: Machine<'_>, y: &mut [f32], x: &[f32], weight: Option<&[f32]>, width: usize, eps: f32) {
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let square: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
        for i in 0..width {
            y[i] = (f64::from(x[i]) / (square + f64::from(eps)).sqrt() * weight.map_or(1.0, |w| f64::from(w[i]))) as f32;
        }
    }
}

/// Gradients of [`rms_norm`].
pub fn rms_norm_backward(
    _: Machine<'_>,
    d_x: &mut [f32],
    d_weight: Option<&mut [f32]>,
    d_y: &[f32],
    x: &[f32],
    weight: Option<&[f32]>,
    width: usize,
    eps: f32,
    _scratch: &mut [f32],
) {
    let mut d_w = vec![0.0f64; width];
    for row in 0..x.len() / width {
        let span = row * width..(row + 1) * width;
        let x: Vec<f64> = x[span.clone()].iter().map(|x| f64::from(*x)).collect();
        let d_y: Vec<f64> = d_y[span.clone()].iter().map(|x| f64::from(*x)).collect();
        let factor = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / width as f64 + f64::from(eps)).sqrt();
        let g: Vec<f64> = (0..width).map(|i| d_y[i] * weight.map_or(1.0, |w| f64::from(w[i]))).collect();
        let along: f64 = (0..width).map(|i| g[i] * x[i]).sum::<f64>() / width as f64;
        for (i, d_x) in d_x[span].iter_mut().enumerate() {
            *d_x = (f64::from(*d_x) + factor * g[i] - factor.powi(3) * x[i] * along) as f32;
            d_w[i] += d_y[i] * x[i] * factor;
        }
    }
    for (d, sum) in d_weight.into_iter().flatten().zip(d_w) {
        *d = (f64::from(*d) + sum) as f32;
    }
}

/// `y [n, width] = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`.
pub fn layer_norm(
    _: Machine<'_>,
    y: &mut [f32],
    x: &[f32],
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    width: usize,
    eps: f32,
) {
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
        for i in 0..width {
            let standard = (f64::from(x[i]) - mean) / (variance + f64::from(eps)).sqrt();
            y[i] = (standard * weight.map_or(1.0, |w| f64::from(w[i])) + bias.map_or(0.0, |b| f64::from(b[i]))) as f32;
        }
    }
}

/// Gradients of [`layer_norm`].
pub fn layer_norm_backward(
    _: Machine<'_>,
    d_x: &mut [f32],
    d_weight: Option<&mut [f32]>,
    d_bias: Option<&mut [f32]>,
    d_y: &[f32],
    x: &[f32],
    weight: Option<&[f32]>,
    width: usize,
    eps: f32,
    _scratch: &mut [f32],
) {
    let n = width as f64;
    let (mut d_w, mut d_b) = (vec![0.0f64; width], vec![0.0f64; width]);
    for row in 0..x.len() / width {
        let span = row * width..(row + 1) * width;
        let x: Vec<f64> = x[span.clone()].iter().map(|x| f64::from(*x)).collect();
        let d_y: Vec<f64> = d_y[span.clone()].iter().map(|x| f64::from(*x)).collect();
        let mean = x.iter().sum::<f64>() / n;
        let factor = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + f64::from(eps)).sqrt();
        let g: Vec<f64> = (0..width).map(|i| d_y[i] * weight.map_or(1.0, |w| f64::from(w[i]))).collect();
        let level = g.iter().sum::<f64>() / n;
        let along = (0..width).map(|i| g[i] * (x[i] - mean)).sum::<f64>() / n;
        for (i, d_x) in d_x[span].iter_mut().enumerate() {
            *d_x = (f64::from(*d_x) + factor * (g[i] - level) - factor.powi(3) * (x[i] - mean) * along) as f32;
            d_w[i] += d_y[i] * (x[i] - mean) * factor;
            d_b[i] += d_y[i];
        }
    }
    for (d, sums) in [(d_weight, d_w), (d_bias, d_b)] {
        for (d, sum) in d.into_iter().flatten().zip(sums) {
            *d = (f64::from(*d) + sum) as f32;
        }
    }
}
