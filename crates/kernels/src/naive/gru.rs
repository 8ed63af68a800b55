//! Plain twins of [`crate::gru`](mod@crate::gru).

use crate::Machine;
use std::ops::Range;

/// `y [N, h]`, `gates [N, 4 h]` and the final `state [sequences, h]`.
pub fn gru(
    _: Machine<'_>,
    hidden: usize,
    sequences: &[Range<usize>],
    y: &mut [f32],
    gates: &mut [f32],
    x_gates: &[f32],
    w_hh: &[f32],
    b_hh: &[f32],
    state: &mut [f32],
    _scratch: &mut [f32],
) {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    for (state, rows) in state.chunks_exact_mut(hidden).zip(sequences) {
        let mut h: Vec<f64> = state.iter().map(|x| f64::from(*x)).collect();
        for row in rows.clone() {
            let from_hidden = |j: usize| {
                let weight = &w_hh[j * hidden..(j + 1) * hidden];
                f64::from(b_hh[j]) + weight.iter().zip(&h).map(|(w, h)| f64::from(*w) * h).sum::<f64>()
            };
            let from_input = |j: usize| f64::from(x_gates[3 * row * hidden + j]);
            let step = (0..hidden).map(|i| {
                let r = sigmoid(from_input(i) + from_hidden(i));
                let z = sigmoid(from_input(hidden + i) + from_hidden(hidden + i));
                let h_n = from_hidden(2 * hidden + i);
                let n = (from_input(2 * hidden + i) + r * h_n).tanh();
                for (slot, value) in [r, z, n, h_n].into_iter().enumerate() {
                    gates[(4 * row + slot) * hidden + i] = value as f32;
                }
                (1.0 - z) * n + z * h[i]
            });
            h = step.collect();
            for (y, h) in y[row * hidden..(row + 1) * hidden].iter_mut().zip(&h) {
                *y = *h as f32;
            }
        }
        for (state, h) in state.iter_mut().zip(h) {
            *state = h as f32;
        }
    }
}

/// Gradients of [`gru`].
pub fn gru_backward(
    _: Machine<'_>,
    hidden: usize,
    sequences: &[Range<usize>],
    d_x_gates: &mut [f32],
    d_w_hh: &mut [f32],
    d_b_hh: &mut [f32],
    d_state: &mut [f32],
    d_y: &[f32],
    y: &[f32],
    gates: &[f32],
    w_hh: &[f32],
    initial: &[f32],
    _scratch: &mut [f32],
) {
    let mut d_w = vec![0.0f64; d_w_hh.len()];
    let mut d_b = vec![0.0f64; d_b_hh.len()];
    for (s, rows) in sequences.iter().enumerate() {
        let d_state = &mut d_state[s * hidden..(s + 1) * hidden];
        let mut d_h: Vec<f64> = d_state.iter().map(|x| f64::from(*x)).collect();
        for row in rows.clone().rev() {
            let before = if row == rows.start { &initial[s * hidden..] } else { &y[(row - 1) * hidden..] };
            let mut d_gates = vec![0.0f64; 3 * hidden];
            let mut d_before = vec![0.0f64; hidden];
            for i in 0..hidden {
                let [r, z, n, h_n] = [0, 1, 2, 3].map(|slot| f64::from(gates[(4 * row + slot) * hidden + i]));
                let d = d_h[i] + f64::from(d_y[row * hidden + i]);
                let d_n = d * (1.0 - z) * (1.0 - n * n);
                let d_z = d * (f64::from(before[i]) - n) * z * (1.0 - z);
                let d_r = d_n * h_n * r * (1.0 - r);
                for (slot, (own, input)) in [(d_r, d_r), (d_z, d_z), (d_n * r, d_n)].into_iter().enumerate() {
                    d_gates[slot * hidden + i] = own;
                    let to = &mut d_x_gates[(3 * row + slot) * hidden + i];
                    *to = (f64::from(*to) + input) as f32;
                }
                d_before[i] = d * z;
            }
            for j in 0..3 * hidden {
                d_b[j] += d_gates[j];
                for i in 0..hidden {
                    d_w[j * hidden + i] += d_gates[j] * f64::from(before[i]);
                    d_before[i] += d_gates[j] * f64::from(w_hh[j * hidden + i]);
                }
            }
            d_h = d_before;
        }
        for (d, d_h) in d_state.iter_mut().zip(d_h) {
            *d = d_h as f32;
        }
    }
    for (d, sum) in d_w_hh.iter_mut().zip(d_w).chain(d_b_hh.iter_mut().zip(d_b)) {
        *d = (f64::from(*d) + sum) as f32;
    }
}
