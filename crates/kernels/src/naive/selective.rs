//! Plain twins of [`crate::selective`].

use crate::Machine;
use crate::selective::SelectiveScan;
use std::ops::Range;

/// Where the group of a channel starts in the rows of `B` and `C`.
fn shared(scan: SelectiveScan, row: usize, channel: usize) -> usize {
    (row * scan.groups + channel / (scan.channels / scan.groups)) * scan.state
}

/// The states before the first row of a sequence and after each of its rows, for one channel: `[rows + 1][S]`.
fn states(
    scan: SelectiveScan,
    channel: usize,
    rows: Range<usize>,
    initial: &[f32],
    x: &[f32],
    dt: &[f32],
    a: &[f32],
    b: &[f32],
) -> Vec<Vec<f64>> {
    let mut states: Vec<Vec<f64>> = vec![initial.iter().map(|h| f64::from(*h)).collect()];
    for row in rows {
        let (x, dt) = (f64::from(x[row * scan.channels + channel]), f64::from(dt[row * scan.channels + channel]));
        let next = |(n, h): (usize, &f64)| {
            let decay = (dt * f64::from(a[channel * scan.state + n])).exp();
            decay * h + dt * f64::from(b[shared(scan, row, channel) + n]) * x
        };
        let next = states[states.len() - 1].iter().enumerate().map(next).collect();
        states.push(next);
    }
    states
}

/// `h = exp(dt A) h + dt B x`, `y = C . h + D x`. Keeps no checkpoints: [`selective_scan_backward`] here goes through the whole
/// history.
pub fn selective_scan(
    _: Machine<'_>,
    scan: SelectiveScan,
    sequences: &[Range<usize>],
    y: &mut [f32],
    state: &mut [f32],
    x: &[f32],
    dt: &[f32],
    a: &[f32],
    b: &[f32],
    c: &[f32],
    skip: Option<&[f32]>,
    _checkpoints: Option<&mut [f32]>,
) {
    for (item, state) in state.chunks_exact_mut(scan.state).enumerate() {
        let (rows, channel) = (sequences[item / scan.channels].clone(), item % scan.channels);
        let states = states(scan, channel, rows.clone(), state, x, dt, a, b);
        let skip = skip.map_or(0.0, |skip| f64::from(skip[channel]));
        for (row, h) in rows.zip(&states[1..]) {
            let at = row * scan.channels + channel;
            let c = &c[shared(scan, row, channel)..];
            let read: f64 = h.iter().zip(c).map(|(h, c)| h * f64::from(*c)).sum();
            y[at] = (read + skip * f64::from(x[at])) as f32;
        }
        for (state, h) in state.iter_mut().zip(&states[states.len() - 1]) {
            *state = *h as f32;
        }
    }
}

/// Gradients of [`selective_scan`]. In place of checkpoints it takes the initial states `[sequences, D, S]`.
pub fn selective_scan_backward(
    _: Machine<'_>,
    scan: SelectiveScan,
    sequences: &[Range<usize>],
    d_x: &mut [f32],
    d_dt: &mut [f32],
    d_a: &mut [f32],
    d_b: &mut [f32],
    d_c: &mut [f32],
    d_skip: Option<&mut [f32]>,
    d_state: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    dt: &[f32],
    a: &[f32],
    b: &[f32],
    c: &[f32],
    skip: Option<&[f32]>,
    initial: &[f32],
    _scratch: &mut [f32],
) {
    // Sums over channels and rows, in double precision to their end.
    let [mut sum_a, mut sum_b, mut sum_c, mut sum_skip] = [a.len(), b.len(), c.len(), scan.channels].map(|len| vec![0.0; len]);
    let add = |to: &mut f32, x: f64| *to = (f64::from(*to) + x) as f32;
    let initials = initial.chunks_exact(scan.state).zip(d_state.chunks_exact_mut(scan.state));
    for (item, (initial, d_state)) in initials.enumerate() {
        let (rows, channel) = (sequences[item / scan.channels].clone(), item % scan.channels);
        let states = states(scan, channel, rows.clone(), initial, x, dt, a, b);
        let mut d_h: Vec<f64> = d_state.iter().map(|d| f64::from(*d)).collect();
        for (t, row) in rows.enumerate().rev() {
            let at = row * scan.channels + channel;
            let (x, dt, d_y) = (f64::from(x[at]), f64::from(dt[at]), f64::from(d_y[at]));
            sum_skip[channel] += x * d_y;
            let mut d_x_here = skip.map_or(0.0, |skip| f64::from(skip[channel])) * d_y;
            let mut d_dt_here = 0.0;
            for n in 0..scan.state {
                let (own, group) = (channel * scan.state + n, shared(scan, row, channel) + n);
                let (a, b) = (f64::from(a[own]), f64::from(b[group]));
                d_h[n] += f64::from(c[group]) * d_y;
                sum_c[group] += states[t + 1][n] * d_y;
                sum_b[group] += d_h[n] * dt * x;
                d_x_here += d_h[n] * dt * b;
                let d_exponent = d_h[n] * states[t][n] * (dt * a).exp();
                d_dt_here += d_h[n] * b * x + d_exponent * a;
                sum_a[own] += d_exponent * dt;
                d_h[n] *= (dt * a).exp();
            }
            add(&mut d_x[at], d_x_here);
            add(&mut d_dt[at], d_dt_here);
        }
        for (d, d_h) in d_state.iter_mut().zip(d_h) {
            *d = d_h as f32;
        }
    }
    let sums = [(d_a, sum_a), (d_b, sum_b), (d_c, sum_c), (d_skip.unwrap_or_default(), sum_skip)];
    for (d, sums) in sums {
        d.iter_mut().zip(sums).for_each(|(d, sum)| add(d, sum));
    }
}
