//! Plain twins of [`crate::delta`].

use crate::Machine;
use crate::scan::Scan;
use std::ops::Range;

/// What one head does at one row.
struct Row {
    /// The state before the row, `[d_k * d_v]`.
    before: Vec<f64>,
    /// The state before the row once it has decayed.
    decayed: Vec<f64>,
    /// `v - S^T k`.
    error: Vec<f64>,
    after: Vec<f64>,
}

fn row(scan: Scan, at: usize, before: Vec<f64>, k: &[f32], v: &[f32], decay: &[f32], beta: &[f32]) -> Row {
    let Scan { d_k, d_v, .. } = scan;
    let k = |i: usize| f64::from(k[at * d_k + i]);
    let decayed: Vec<f64> = before.iter().map(|s| f64::from(decay[at]) * s).collect();
    let recalled = |j: usize| (0..d_k).map(|i| decayed[i * d_v + j] * k(i)).sum::<f64>();
    let error: Vec<f64> = (0..d_v).map(|j| f64::from(v[at * d_v + j]) - recalled(j)).collect();
    let correction = |ij: usize| k(ij / d_v) * f64::from(beta[at]) * error[ij % d_v];
    let after = (0..d_k * d_v).map(|ij| decayed[ij] + correction(ij)).collect();
    Row { before, decayed, error, after }
}

/// `S = a S`, `S = S + k (b (v - S^T k))^T`, `out = S^T q`. Keeps no checkpoints: [`gated_delta_backward`] here goes through
/// the whole history.
pub fn gated_delta(
    _: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    out: &mut [f32],
    state: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    decay: &[f32],
    beta: &[f32],
    _checkpoints: Option<&mut [f32]>,
    _scratch: &mut [f32],
) {
    let Scan { heads, d_k, d_v } = scan;
    for (item, state) in state.chunks_exact_mut(d_k * d_v).enumerate() {
        let mut s: Vec<f64> = state.iter().map(|s| f64::from(*s)).collect();
        for n in sequences[item / heads].clone() {
            let at = n * heads + item % heads;
            s = row(scan, at, s, k, v, decay, beta).after;
            for j in 0..d_v {
                out[at * d_v + j] = (0..d_k).map(|i| s[i * d_v + j] * f64::from(q[at * d_k + i])).sum::<f64>() as f32;
            }
        }
        for (state, s) in state.iter_mut().zip(s) {
            *state = s as f32;
        }
    }
}

/// Gradients of [`gated_delta`]. In place of checkpoints it takes the initial states `[sequences, H, d_k, d_v]`.
pub fn gated_delta_backward(
    _: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    d_q: &mut [f32],
    d_k: &mut [f32],
    d_v: &mut [f32],
    d_decay: &mut [f32],
    d_beta: &mut [f32],
    d_state: &mut [f32],
    d_out: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    decay: &[f32],
    beta: &[f32],
    initial: &[f32],
    _scratch: &mut [f32],
) {
    let Scan { heads, d_k: wk, d_v: wv } = scan;
    let add = |to: &mut f32, x: f64| *to = (f64::from(*to) + x) as f32;
    let states = initial.chunks_exact(wk * wv).zip(d_state.chunks_exact_mut(wk * wv));
    for (item, (initial, d_state)) in states.enumerate() {
        let places: Vec<usize> = sequences[item / heads].clone().map(|n| n * heads + item % heads).collect();
        let mut s: Vec<f64> = initial.iter().map(|s| f64::from(*s)).collect();
        let mut history = Vec::new();
        for &at in &places {
            let row = row(scan, at, s, k, v, decay, beta);
            s = row.after.clone();
            history.push(row);
        }
        let mut d_s: Vec<f64> = d_state.iter().map(|d| f64::from(*d)).collect();
        for (Row { before, decayed, error, after }, at) in history.into_iter().zip(places).rev() {
            let (a, b) = (f64::from(decay[at]), f64::from(beta[at]));
            let k = |i: usize| f64::from(k[at * wk + i]);
            let d_out = |j: usize| f64::from(d_out[at * wv + j]);
            for i in 0..wk {
                add(&mut d_q[at * wk + i], (0..wv).map(|j| after[i * wv + j] * d_out(j)).sum());
                (0..wv).for_each(|j| d_s[i * wv + j] += f64::from(q[at * wk + i]) * d_out(j));
            }
            // S = decayed + k (b error)^T
            let d_correction: Vec<f64> = (0..wv).map(|j| (0..wk).map(|i| d_s[i * wv + j] * k(i)).sum()).collect();
            add(&mut d_beta[at], (0..wv).map(|j| d_correction[j] * error[j]).sum());
            let d_error = |j: usize| b * d_correction[j];
            (0..wv).for_each(|j| add(&mut d_v[at * wv + j], d_error(j)));
            // error = v - decayed^T k
            for i in 0..wk {
                let d = |j: usize| d_s[i * wv + j] * b * error[j] - decayed[i * wv + j] * d_error(j);
                add(&mut d_k[at * wk + i], (0..wv).map(d).sum());
                (0..wv).for_each(|j| d_s[i * wv + j] -= k(i) * d_error(j));
            }
            // decayed = a before
            add(&mut d_decay[at], (0..wk * wv).map(|ij| d_s[ij] * before[ij]).sum());
            d_s.iter_mut().for_each(|d| *d *= a);
        }
        for (d, d_s) in d_state.iter_mut().zip(d_s) {
            *d = d_s as f32;
        }
    }
}
