//! The gradient of the selective scan: states within a chunk are computed again from its checkpoint, with the decays that led
//! to them, then rows are visited backwards.
//!
//! What several items add to (`B` and `C`: the strips of a group; `A` and `D`: the sequences) each item adds up by itself in
//! scratch. At the end these parts are added in order, so the sums do not depend on who was first.

use super::{STRIP, SelectiveScan, check, selective_scan_checkpoints};
use crate::Machine;
use crate::disjoint::{Disjoint, run, sized};
use crate::elementwise::add_assign;
use crate::expect;
use crate::scan::{CHUNK, chunks_before};
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Gradients of [`super::selective_scan`]: `d_x`, `d_dt [N, D] +=`; `d_a [D, S] +=`; `d_b`, `d_c [N, G * S] +=`;
/// `d_skip [D] +=`, if it is wanted. `d_state [sequences, D, S]` in: gradient of the final state,
/// out: of the initial one. `checkpoints` are those that the forward pass kept. [`selective_scan_backward_scratch`] says how
/// long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, groups do not divide the channels, or the sequences overlap or are out of order.
pub fn selective_scan_backward(
    machine: Machine<'_>,
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
    checkpoints: &[f32],
    scratch: &mut [f32],
) {
    check(scan, sequences, d_state, x, dt, a, b, c, skip);
    assert_eq!([d_x.len(), d_dt.len(), d_y.len()], [x.len(); 3], "gradients of x, dt and y");
    assert_eq!([d_a.len(), d_b.len(), d_c.len()], [a.len(), b.len(), c.len()], "gradients of a, b and c");
    expect::length("gradient of the skip", d_skip.as_ref().map_or(scan.channels, |d_skip| d_skip.len()), scan.channels);
    expect::length("checkpoints", checkpoints.len(), selective_scan_checkpoints(scan, sequences));
    let workers = machine.executor.workers();
    let rows = x.len() / scan.channels;
    let needed = selective_scan_backward_scratch(scan, sequences, rows, workers);
    let (own, parts) = expect::scratch(scratch, needed).split_at_mut(workers * Scratch::len(scan));
    let mut parts = Parts::new(scan, sequences, rows, parts);
    let small = sized(machine, x.len() * scan.state);
    {
        let own = Disjoint::new(own);
        let [d_x, d_dt, d_state] = [d_x, d_dt, d_state].map(Disjoint::new);
        let Parts { a: d_a, skip: d_skip, b: d_b, c: d_c, .. } = &mut parts;
        let [d_a, d_skip, d_b, d_c] = [d_a, d_skip, d_b, d_c].map(|part| Disjoint::new(part));
        run(small, sequences.len() * scan.strips(), &|item, worker| {
            let (sequence, strip) = (item / scan.strips(), scan.strip(item % scan.strips()));
            // SAFETY: workers that run at the same time have different numbers.
            let own = unsafe { own.slice(worker * Scratch::len(scan)..(worker + 1) * Scratch::len(scan)) };
            let mut own = Scratch::new(strip.channels.len() * scan.state, own);
            // SAFETY: no other item has this sequence and these channels.
            let [d_h, d_a, d_skip] = unsafe {
                let state = strip.state(scan, sequence);
                [d_state.slice(state.clone()), d_a.slice(state), d_skip.slice(strip.row(scan, sequence))]
            };
            d_a.fill(0.0);
            d_skip.fill(0.0);
            let first_chunk = chunks_before(sequences, sequence);
            let a = &a[strip.state(scan, 0)];
            let skip = skip.map(|skip| &skip[strip.channels.clone()]);
            let read = |row: usize| {
                let (channels, shared) = (strip.row(scan, row), strip.shared(scan, row));
                Row { x: &x[channels.clone()], dt: &dt[channels], a, b: &b[shared] }
            };
            let all = sequences[sequence].clone();
            for chunk in (0..all.len().div_ceil(CHUNK)).rev() {
                let start = all.start + chunk * CHUNK;
                let chunk_rows = start..all.end.min(start + CHUNK);
                own.start(&checkpoints[strip.state(scan, first_chunk + chunk)]);
                for (t, row) in chunk_rows.clone().enumerate() {
                    let (before, after, decay) = own.advance(t);
                    machine.isa.run(Advance { before, after, decay, row: read(row) });
                }
                for (t, row) in chunk_rows.enumerate().rev() {
                    let (channels, shared) = (strip.row(scan, row), strip.shared(scan, row));
                    let part = strip.shared(scan, strip.number * rows + row);
                    // SAFETY: sequences do not overlap (checked), so no other item has this row and these channels; nor, of
                    // the parts, this row, group and number of the strip within its group.
                    let [d_x, d_dt, d_b, d_c] = unsafe {
                        [d_x.slice(channels.clone()), d_dt.slice(channels.clone()), d_b.slice(part.clone()), d_c.slice(part)]
                    };
                    let (before, after, decay) = own.row(t);
                    let (c, d_y) = (&c[shared], &d_y[channels]);
                    let row = read(row);
                    machine.isa.run(Retreat { before, after, decay, d_h, row, c, skip, d_y, d_x, d_dt, d_a, d_b, d_c, d_skip });
                }
            }
        });
    }
    parts.add_to(machine, sequences, d_a, d_b, d_c, d_skip);
}

/// Values that [`selective_scan_backward`] needs as scratch for `rows` rows on an executor of `workers` workers.
pub fn selective_scan_backward_scratch(scan: SelectiveScan, sequences: &[Range<usize>], rows: usize, workers: usize) -> usize {
    workers * Scratch::len(scan) + Parts::len(scan, sequences, rows)
}

/// What the items add up by themselves.
struct Parts<'a> {
    /// `[sequences, D, S]`
    a: &'a mut [f32],
    /// `[sequences, D]`
    skip: &'a mut [f32],
    /// `[strips of a group, N, G * S]`
    b: &'a mut [f32],
    /// As `b`.
    c: &'a mut [f32],
    /// `G * S`.
    width: usize,
}

impl<'a> Parts<'a> {
    fn len(scan: SelectiveScan, sequences: &[Range<usize>], rows: usize) -> usize {
        sequences.len() * scan.channels * (scan.state + 1) + 2 * scan.strips() * rows * scan.state
    }

    fn new(scan: SelectiveScan, sequences: &[Range<usize>], rows: usize, scratch: &'a mut [f32]) -> Self {
        let (skip, rest) = scratch.split_at_mut(sequences.len() * scan.channels);
        let (a, rest) = rest.split_at_mut(sequences.len() * scan.channels * scan.state);
        let (b, c) = rest.split_at_mut(scan.strips() * rows * scan.state);
        Parts { a, skip, b, c, width: scan.groups * scan.state }
    }

    /// Adds what the items added up, in order.
    fn add_to(
        self,
        machine: Machine<'_>,
        sequences: &[Range<usize>],
        d_a: &mut [f32],
        d_b: &mut [f32],
        d_c: &mut [f32],
        d_skip: Option<&mut [f32]>,
    ) {
        for part in self.a.chunks_exact(d_a.len()) {
            add_assign(machine, d_a, part);
        }
        if let Some(d_skip) = d_skip {
            for part in self.skip.chunks_exact(d_skip.len()) {
                add_assign(machine, d_skip, part);
            }
        }
        for (d, parts) in [(d_b, self.b), (d_c, self.c)] {
            for part in parts.chunks_exact(d.len().max(1)) {
                for rows in sequences {
                    let values = rows.start * self.width..rows.end * self.width;
                    add_assign(machine, &mut d[values.clone()], &part[values]);
                }
            }
        }
    }
}

/// A worker's scratch, for the states of one strip.
struct Scratch<'a> {
    /// `[CHUNK + 1, channels, S]`: the state before each row of the chunk, and after its last.
    states: &'a mut [f32],
    /// `[CHUNK, channels, S]`: `exp(dt A)`.
    decays: &'a mut [f32],
    /// Values of one state.
    len: usize,
}

impl<'a> Scratch<'a> {
    fn len(scan: SelectiveScan) -> usize {
        (2 * CHUNK + 1) * STRIP.min(scan.channels / scan.groups) * scan.state
    }

    fn new(len: usize, scratch: &'a mut [f32]) -> Self {
        let (states, decays) = scratch.split_at_mut((CHUNK + 1) * len);
        Scratch { states, decays, len }
    }

    fn start(&mut self, state: &[f32]) {
        self.states[..self.len].copy_from_slice(state);
    }

    /// The state before row `t`, and the places of the state after it and of its decays.
    fn advance(&mut self, t: usize) -> (&[f32], &mut [f32], &mut [f32]) {
        let (before, after) = self.states[t * self.len..(t + 2) * self.len].split_at_mut(self.len);
        (before, after, &mut self.decays[t * self.len..(t + 1) * self.len])
    }

    /// The states before and after row `t`, and its decays.
    fn row(&self, t: usize) -> (&[f32], &[f32], &[f32]) {
        let (before, after) = self.states[t * self.len..(t + 2) * self.len].split_at(self.len);
        (before, after, &self.decays[t * self.len..(t + 1) * self.len])
    }
}

/// One row of one strip.
#[derive(Clone, Copy)]
struct Row<'a> {
    x: &'a [f32],
    dt: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
}

/// `after = exp(dt A) before + dt B x`
struct Advance<'a> {
    before: &'a [f32],
    after: &'a mut [f32],
    decay: &'a mut [f32],
    row: Row<'a>,
}

impl Kernel for Advance<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Row { x, dt, a, b } = self.row;
        let width = b.len();
        for channel in 0..x.len() {
            let state = channel * width..(channel + 1) * width;
            let (before, a) = (&self.before[state.clone()], &a[state.clone()]);
            let (after, decay) = (&mut self.after[state.clone()], &mut self.decay[state]);
            let dt = simd.splat(dt[channel]);
            let input = simd.mul(dt, simd.splat(x[channel]));
            for n in (0..width).step_by(S::LANES) {
                let factor = simd.exp(simd.mul(dt, load(simd, &a[n..])));
                store(simd, &mut decay[n..], factor);
                let new = simd.fma(factor, load(simd, &before[n..]), simd.mul(input, load(simd, &b[n..])));
                store(simd, &mut after[n..], new);
            }
        }
    }
}

/// One row of the backward pass: from the gradient of the state after it to that of the state before it.
struct Retreat<'a> {
    before: &'a [f32],
    after: &'a [f32],
    decay: &'a [f32],
    d_h: &'a mut [f32],
    row: Row<'a>,
    c: &'a [f32],
    skip: Option<&'a [f32]>,
    d_y: &'a [f32],
    d_x: &'a mut [f32],
    d_dt: &'a mut [f32],
    d_a: &'a mut [f32],
    /// Set, not added to, as is `d_c`.
    d_b: &'a mut [f32],
    d_c: &'a mut [f32],
    d_skip: &'a mut [f32],
}

impl Kernel for Retreat<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Row { x, dt, a, b } = self.row;
        let width = b.len();
        self.d_b.fill(0.0);
        self.d_c.fill(0.0);
        for first in (0..x.len()).step_by(S::LANES) {
            // Gradients of dt x, and of dt as far as the decay has it: sums over a channel's state.
            let (mut to_input, mut to_rate) = ([simd.splat(0.0); MAX_LANES], [simd.splat(0.0); MAX_LANES]);
            for (lane, channel) in (first..x.len().min(first + S::LANES)).enumerate() {
                let state = channel * width..(channel + 1) * width;
                let [before, after, decay, a] = [self.before, self.after, self.decay, a].map(|all| &all[state.clone()]);
                let (d_h, d_a) = (&mut self.d_h[state.clone()], &mut self.d_a[state]);
                let (dt, d_y) = (simd.splat(dt[channel]), simd.splat(self.d_y[channel]));
                let input = simd.mul(dt, simd.splat(x[channel]));
                for n in (0..width).step_by(S::LANES) {
                    let d_after = simd.fma(load(simd, &self.c[n..]), d_y, load(simd, &d_h[n..]));
                    let d_before = simd.mul(d_after, load(simd, &decay[n..]));
                    let d_exponent = simd.mul(d_before, load(simd, &before[n..]));
                    to_input[lane] = simd.fma(d_after, load(simd, &b[n..]), to_input[lane]);
                    to_rate[lane] = simd.fma(d_exponent, load(simd, &a[n..]), to_rate[lane]);
                    let d_c = simd.fma(load(simd, &after[n..]), d_y, load(simd, &self.d_c[n..]));
                    let d_b = simd.fma(d_after, input, load(simd, &self.d_b[n..]));
                    let d_a_sum = simd.fma(d_exponent, dt, load(simd, &d_a[n..]));
                    store(simd, &mut self.d_c[n..], d_c);
                    store(simd, &mut self.d_b[n..], d_b);
                    store(simd, &mut d_a[n..], d_a_sum);
                    store(simd, &mut d_h[n..], d_before);
                }
            }
            let (d_input, d_rate) = (simd.sum_each(to_input), simd.sum_each(to_rate));
            let [x, dt, d_y] = [load(simd, &x[first..]), load(simd, &dt[first..]), load(simd, &self.d_y[first..])];
            let skip = self.skip.map_or(simd.splat(0.0), |skip| load(simd, &skip[first..]));
            add(simd, &mut self.d_x[first..], simd.fma(dt, d_input, simd.mul(skip, d_y)));
            add(simd, &mut self.d_dt[first..], simd.fma(x, d_input, d_rate));
            add(simd, &mut self.d_skip[first..], simd.mul(x, d_y));
        }
    }
}

/// `y += x`, as many lanes as `y` has room for.
#[inline(always)]
fn add<S: Simd>(simd: S, y: &mut [f32], x: S::V) {
    let sum = simd.add(load(simd, y), x);
    store(simd, y, sum);
}
