//! Plain twins of [`crate::scan`].

use crate::Machine;
use crate::scan::{Gate, Scan};
use std::ops::Range;

/// The states before the first row of a sequence and after each of its rows, for one head: `[rows + 1][d_k * d_v]`.
fn states(scan: Scan, head: usize, rows: Range<usize>, initial: &[f32], k: &[f32], v: &[f32], gate: Gate<'_>) -> Vec<Vec<f64>> {
    let Scan { heads, d_k, d_v } = scan;
    let mut states: Vec<Vec<f64>> = vec![initial.iter().map(|x| f64::from(*x)).collect()];
    for row in rows {
        let at = row * heads + head;
        let before = &states[states.len() - 1];
        let after = (0..d_k * d_v).map(|ij| {
            let (i, j) = (ij / d_v, ij % d_v);
            factor(scan, gate, at, i) * before[ij] + f64::from(k[at * d_k + i]) * f64::from(v[at * d_v + j])
        });
        let after = after.collect();
        states.push(after);
    }
    states
}

fn factor(scan: Scan, gate: Gate<'_>, at: usize, i: usize) -> f64 {
    match gate {
        Gate::None => 1.0,
        Gate::Head(gate) => f64::from(gate[at]),
        Gate::Channel(gate) => f64::from(gate[at * scan.d_k + i]),
    }
}

/// `S = diag(g) S + k v^T`, `out = S^T q`. Keeps no checkpoints: [`gated_scan_backward`] here reads the whole history.
pub fn gated_scan(
    _: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    out: &mut [f32],
    state: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    gate: Gate<'_>,
    _checkpoints: Option<&mut [f32]>,
    _scratch: &mut [f32],
) {
    let Scan { heads, d_k, d_v } = scan;
    for (item, state) in state.chunks_exact_mut(d_k * d_v).enumerate() {
        let (rows, head) = (sequences[item / heads].clone(), item % heads);
        let states = states(scan, head, rows.clone(), state, k, v, gate);
        for (row, s) in rows.zip(&states[1..]) {
            let at = row * heads + head;
            for j in 0..d_v {
                out[at * d_v + j] = (0..d_k).map(|i| f64::from(q[at * d_k + i]) * s[i * d_v + j]).sum::<f64>() as f32;
            }
        }
        for (state, s) in state.iter_mut().zip(&states[states.len() - 1]) {
            *state = *s as f32;
        }
    }
}

/// Gradients of [`gated_scan`]. In place of checkpoints it takes the initial states `[sequences, H, d_k, d_v]`.
pub fn gated_scan_backward(
    _: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    d_q: &mut [f32],
    d_k: &mut [f32],
    d_v: &mut [f32],
    mut d_gate: Option<&mut [f32]>,
    d_state: &mut [f32],
    d_out: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    gate: Gate<'_>,
    initial: &[f32],
    _scratch: &mut [f32],
) {
    let (wk, wv) = (scan.d_k, scan.d_v);
    let add = |to: &mut f32, x: f64| *to = (f64::from(*to) + x) as f32;
    for (item, d_state) in d_state.chunks_exact_mut(wk * wv).enumerate() {
        let (rows, head) = (sequences[item / scan.heads].clone(), item % scan.heads);
        let states = states(scan, head, rows.clone(), &initial[item * wk * wv..(item + 1) * wk * wv], k, v, gate);
        let mut d_s: Vec<f64> = d_state.iter().map(|x| f64::from(*x)).collect();
        for (t, row) in rows.enumerate().rev() {
            let at = row * scan.heads + head;
            let (before, after) = (&states[t], &states[t + 1]);
            let q = |i: usize| f64::from(q[at * wk + i]);
            let k = |i: usize| f64::from(k[at * wk + i]);
            let v = |j: usize| f64::from(v[at * wv + j]);
            let d_out = |j: usize| f64::from(d_out[at * wv + j]);
            for ij in 0..wk * wv {
                d_s[ij] += q(ij / wv) * d_out(ij % wv);
            }
            for i in 0..wk {
                let columns = i * wv..(i + 1) * wv;
                add(&mut d_q[at * wk + i], columns.clone().map(|ij| after[ij] * d_out(ij % wv)).sum());
                add(&mut d_k[at * wk + i], columns.clone().map(|ij| d_s[ij] * v(ij % wv)).sum());
            }
            for j in 0..wv {
                add(&mut d_v[at * wv + j], (0..wk).map(|i| d_s[i * wv + j] * k(i)).sum());
            }
            let d_factor = |i: usize| (i * wv..(i + 1) * wv).map(|ij| d_s[ij] * before[ij]).sum::<f64>();
            match (gate, &mut d_gate) {
                (Gate::Head(_), Some(d)) => add(&mut d[at], (0..wk).map(d_factor).sum()),
                (Gate::Channel(_), Some(d)) => (0..wk).for_each(|i| add(&mut d[at * wk + i], d_factor(i))),
                _ => {}
            }
            for ij in 0..wk * wv {
                d_s[ij] *= factor(scan, gate, at, ij / wv);
            }
        }
        for (d, d_s) in d_state.iter_mut().zip(d_s) {
            *d = d_s as f32;
        }
    }
}
