//! The gradient of the gated delta rule: states within a chunk are computed again from its checkpoint, then rows are visited
//! backwards. The strips of a head follow one another within an item, because they add to the same queries and keys.

use super::{MOST, Step, check};
use crate::Machine;
use crate::disjoint::{Disjoint, run, sized};
use crate::scan::{CHUNK, STRIP, Scan, chunks_before, scan_checkpoints};
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Gradients of [`super::gated_delta`]: `d_q`, `d_k [N, H * d_k] +=`; `d_v [N, H * d_v] +=`; `d_decay`, `d_beta [N, H] +=`.
/// `d_state [sequences, H, d_k, d_v]` in: gradient of the final state, out: of the initial one. `checkpoints` are those that
/// the forward pass kept. [`gated_delta_backward_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, or the sequences overlap or are out of order.
pub fn gated_delta_backward(
    machine: Machine<'_>,
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
    checkpoints: &[f32],
    scratch: &mut [f32],
) {
    check(scan, sequences, d_state, q, k, v, decay, beta);
    assert_eq!([d_q.len(), d_k.len(), d_v.len(), d_out.len()], [q.len(), k.len(), v.len(), v.len()], "gradients");
    assert_eq!([d_decay.len(), d_beta.len()], [decay.len(), beta.len()], "gradients of decay and beta");
    assert_eq!(checkpoints.len(), scan_checkpoints(scan, sequences), "checkpoints");
    assert!(scratch.len() >= gated_delta_backward_scratch(scan, machine.executor.workers()), "scratch");
    let Scan { heads, d_k: key_width, d_v: value_width } = scan;
    let (worker_scratch, state_len) = (Scratch::len(scan), key_width * value_width);
    let machine = sized(machine, v.len() * key_width);
    let [d_q, d_k, d_v, d_decay, d_beta, d_state, scratch] =
        [d_q, d_k, d_v, d_decay, d_beta, d_state, scratch].map(Disjoint::new);
    run(machine, sequences.len() * heads, &|item, worker| {
        let (sequence, head) = (item / heads, item % heads);
        // SAFETY: workers that run at the same time have different numbers.
        let scratch = unsafe { scratch.slice(worker * worker_scratch..(worker + 1) * worker_scratch) };
        let mut scratch = Scratch::new(scan, scratch);
        // SAFETY: no other item has this sequence and head.
        let d_state = unsafe { d_state.slice(item * state_len..(item + 1) * state_len) };
        let rows = sequences[sequence].clone();
        let first_chunk = chunks_before(sequences, sequence);
        for column in (0..value_width).step_by(STRIP) {
            let columns = column..value_width.min(column + STRIP);
            take(scratch.d_state, d_state, &columns, value_width);
            for chunk in (0..rows.len().div_ceil(CHUNK)).rev() {
                let start = rows.start + chunk * CHUNK;
                let chunk_rows = start..rows.end.min(start + CHUNK);
                let at = ((first_chunk + chunk) * heads + head) * state_len;
                take(scratch.state(0), &checkpoints[at..at + state_len], &columns, value_width);
                let keys = |at: usize| at * key_width..(at + 1) * key_width;
                let values = |at: usize| at * value_width + columns.start..at * value_width + columns.end;
                for (t, row) in chunk_rows.clone().enumerate() {
                    let at = row * heads + head;
                    let (s, error) = scratch.advance(t);
                    let (q, k, v) = (&q[keys(at)], &k[keys(at)], &v[values(at)]);
                    machine.isa.run(Step { s, out: &mut [], error, q, k, v, decay: decay[at], beta: beta[at] });
                }
                for (t, row) in chunk_rows.enumerate().rev() {
                    let at = row * heads + head;
                    // SAFETY: sequences do not overlap (checked), so no other item has this row and head.
                    let [d_q, d_k, d_v, d_decay, d_beta] = unsafe {
                        [
                            d_q.slice(keys(at)),
                            d_k.slice(keys(at)),
                            d_v.slice(values(at)),
                            d_decay.slice(at..at + 1),
                            d_beta.slice(at..at + 1),
                        ]
                    };
                    let (q, k, d_out) = (&q[keys(at)], &k[keys(at)], &d_out[values(at)]);
                    let (decay, beta) = (decay[at], beta[at]);
                    let (before, after, error, d_state) = scratch.row(t);
                    machine.isa.run(Retreat {
                        before,
                        after,
                        error,
                        d_state,
                        q,
                        k,
                        decay,
                        beta,
                        d_out,
                        d_q,
                        d_k,
                        d_v,
                        d_decay,
                        d_beta,
                    });
                }
            }
            put(d_state, scratch.d_state, &columns, value_width);
        }
    });
}

/// Values that [`gated_delta_backward`] needs as scratch on an executor of `workers` workers.
pub fn gated_delta_backward_scratch(scan: Scan, workers: usize) -> usize {
    workers * Scratch::len(scan)
}

/// A worker's scratch.
struct Scratch<'a> {
    /// `[CHUNK + 1, d_k, STRIP]`: the state before each row of the chunk, and after its last.
    states: &'a mut [f32],
    /// `[CHUNK, STRIP]`: what each row corrected.
    errors: &'a mut [[f32; STRIP]],
    /// `[d_k, STRIP]`: gradient of the state.
    d_state: &'a mut [f32],
    /// Values of one state.
    len: usize,
}

impl<'a> Scratch<'a> {
    fn len(scan: Scan) -> usize {
        ((CHUNK + 2) * scan.d_k + CHUNK) * STRIP
    }

    fn new(scan: Scan, scratch: &'a mut [f32]) -> Self {
        let len = scan.d_k * STRIP;
        let (states, rest) = scratch.split_at_mut((CHUNK + 1) * len);
        let (errors, d_state) = rest.split_at_mut(CHUNK * STRIP);
        Scratch { states, errors: errors.as_chunks_mut().0, d_state, len }
    }

    fn state(&mut self, t: usize) -> &mut [f32] {
        &mut self.states[t * self.len..(t + 1) * self.len]
    }

    /// The state before row `t`, in the place of the one after it, and the place of the row's error.
    fn advance(&mut self, t: usize) -> (&mut [f32], &mut [f32]) {
        let (old, new) = self.states[t * self.len..(t + 2) * self.len].split_at_mut(self.len);
        new.copy_from_slice(old);
        (new, &mut self.errors[t])
    }

    /// The states before and after row `t`, its error, and the gradient of the state.
    fn row(&mut self, t: usize) -> (&[f32], &[f32], &[f32], &mut [f32]) {
        let (before, after) = self.states[t * self.len..(t + 2) * self.len].split_at(self.len);
        (before, after, &self.errors[t], self.d_state)
    }
}

/// `strip [d_k, STRIP] = state [d_k, d_v]` at `columns`, with zeros beyond them.
fn take(strip: &mut [f32], state: &[f32], columns: &Range<usize>, d_v: usize) {
    for (strip, row) in strip.chunks_exact_mut(STRIP).zip(state.chunks_exact(d_v)) {
        strip[..columns.len()].copy_from_slice(&row[columns.clone()]);
        strip[columns.len()..].fill(0.0);
    }
}

/// `state [d_k, d_v]` at `columns` `= strip [d_k, STRIP]`
fn put(state: &mut [f32], strip: &[f32], columns: &Range<usize>, d_v: usize) {
    for (strip, row) in strip.chunks_exact(STRIP).zip(state.chunks_exact_mut(d_v)) {
        row[columns.clone()].copy_from_slice(&strip[..columns.len()]);
    }
}

/// One row of the backward pass: from the gradient of the state after it to that of the state before it.
struct Retreat<'a> {
    before: &'a [f32],
    after: &'a [f32],
    error: &'a [f32],
    d_state: &'a mut [f32],
    q: &'a [f32],
    k: &'a [f32],
    decay: f32,
    beta: f32,
    d_out: &'a [f32],
    d_q: &'a mut [f32],
    d_k: &'a mut [f32],
    d_v: &'a mut [f32],
    d_decay: &'a mut [f32],
    d_beta: &'a mut [f32],
}

impl Kernel for Retreat<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let vectors = STRIP / S::LANES;
        let (decay, beta) = (simd.splat(self.decay), simd.splat(self.beta));
        let zero = simd.splat(0.0);
        let [before, after] = [self.before, self.after].map(|state| state.as_chunks::<STRIP>().0);
        let d_state = self.d_state.as_chunks_mut::<STRIP>().0;

        // The gradient of the state after the row, and of the correction that was written under the key.
        let (mut d_out, mut d_correction) = ([zero; MOST], [zero; MOST]);
        for j in 0..vectors {
            d_out[j] = load(simd, self.d_out.get(j * S::LANES..).unwrap_or_default());
        }
        for (d_state, (q, k)) in d_state.iter_mut().zip(self.q.iter().zip(self.k)) {
            for j in 0..vectors {
                let d_state = &mut d_state[j * S::LANES..];
                let d_after = simd.fma(simd.splat(*q), d_out[j], load(simd, d_state));
                store(simd, d_state, d_after);
                d_correction[j] = simd.fma(simd.splat(*k), d_after, d_correction[j]);
            }
        }

        // The error is v less what was recalled: the value gains what the recalled state and the key lose.
        let (mut correction, mut loss, mut d_beta, mut d_decay) = ([zero; MOST], [zero; MOST], zero, zero);
        for j in 0..vectors {
            let error = load(simd, &self.error[j * S::LANES..]);
            correction[j] = simd.mul(beta, error);
            let d_error = simd.mul(beta, d_correction[j]);
            loss[j] = simd.sub(zero, d_error);
            d_beta = simd.fma(error, d_correction[j], d_beta);
            let d_v = self.d_v.get_mut(j * S::LANES..).unwrap_or_default();
            let sum = simd.add(load(simd, d_v), d_error);
            store(simd, d_v, sum);
        }

        // Queries and keys get sums over columns: of as many rows of the state at a time as a vector has lanes.
        for first in (0..self.k.len()).step_by(S::LANES) {
            let (mut to_q, mut to_k) = ([zero; MAX_LANES], [zero; MAX_LANES]);
            for (lane, i) in (first..self.k.len().min(first + S::LANES)).enumerate() {
                let k = simd.splat(self.k[i]);
                for j in 0..vectors {
                    let columns = j * S::LANES..;
                    let [before, after] = [before, after].map(|state| load(simd, &state[i][columns.clone()]));
                    let d_after = load(simd, &d_state[i][columns.clone()]);
                    to_q[lane] = simd.fma(after, d_out[j], to_q[lane]);
                    let written = simd.fma(d_after, correction[j], to_k[lane]);
                    to_k[lane] = simd.fma(simd.mul(decay, before), loss[j], written);
                    let d_decayed = simd.fma(k, loss[j], d_after);
                    d_decay = simd.fma(d_decayed, before, d_decay);
                    store(simd, &mut d_state[i][columns], simd.mul(decay, d_decayed));
                }
            }
            for (d, sums) in [(&mut self.d_q[first..], to_q), (&mut self.d_k[first..], to_k)] {
                let sum = simd.add(load(simd, d), simd.sum_each(sums));
                store(simd, d, sum);
            }
        }
        self.d_decay[0] += simd.reduce_add(d_decay);
        self.d_beta[0] += simd.reduce_add(d_beta);
    }
}
