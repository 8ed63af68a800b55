//! The gradient of the scan: states within a chunk are computed again from its checkpoint, then rows are visited backwards.
//!
//! States lie transposed here, with `d_k` cut into blocks: `[blocks, d_v, LANES]`. The gradients of query, key and gate then
//! grow lane by lane, only that of the value is a sum over lanes, and memory is read in order.

use super::{CHUNK, Gate, Scan, check, chunks_before, scan_checkpoints};
use crate::Machine;
use crate::disjoint::{Disjoint, run, sized};
use crate::simd::{Kernel, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Lanes of a block: the most that a vector has.
const LANES: usize = 16;

/// Gradients of [`super::gated_scan`]: `d_q`, `d_k [N, H * d_k] +=`; `d_v [N, H * d_v] +=`; `d_gate +=`, shaped as the gate.
/// `d_state [sequences, H, d_k, d_v]` in: gradient of the final state, out: of the initial one. `checkpoints` are those that
/// the forward pass kept. [`gated_scan_backward_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, or the sequences overlap or are out of order.
pub fn gated_scan_backward(
    machine: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    d_q: &mut [f32],
    d_k: &mut [f32],
    d_v: &mut [f32],
    d_gate: Option<&mut [f32]>,
    d_state: &mut [f32],
    d_out: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    gate: Gate<'_>,
    checkpoints: &[f32],
    scratch: &mut [f32],
) {
    check(scan, sequences, d_state, q, k, v, gate);
    assert_eq!([d_q.len(), d_k.len(), d_v.len(), d_out.len()], [q.len(), k.len(), v.len(), v.len()], "gradients");
    assert_eq!(checkpoints.len(), scan_checkpoints(scan, sequences), "checkpoints");
    let rows = q.len() / (scan.heads * scan.d_k);
    let wanted = d_gate.is_some();
    let d_gate = d_gate.unwrap_or_default();
    assert!(!wanted || d_gate.len() == gate.len(scan, rows), "gradient of the gate");
    let gate_width = if wanted { gate.len(scan, 1) / scan.heads } else { 0 };
    let worker_scratch = Scratch::len(scan);
    assert!(scratch.len() >= gated_scan_backward_scratch(scan, machine.executor.workers()), "scratch");
    let state_len = scan.d_k * scan.d_v;
    let [d_q, d_k, d_v, d_gate, d_state, scratch] = [d_q, d_k, d_v, d_gate, d_state, scratch].map(Disjoint::new);
    let machine = sized(machine, v.len() * scan.d_k);
    run(machine, sequences.len() * scan.heads, &|item, worker| {
        let (sequence, head) = (item / scan.heads, item % scan.heads);
        // SAFETY: workers that run at the same time have different numbers.
        let scratch = unsafe { scratch.slice(worker * worker_scratch..(worker + 1) * worker_scratch) };
        let mut scratch = Scratch::new(scan, scratch);
        // SAFETY: no other item has this sequence and head.
        let d_state = unsafe { d_state.slice(item * state_len..(item + 1) * state_len) };
        block(scratch.d_state, d_state, scan);
        let rows = sequences[sequence].clone();
        let first_chunk = chunks_before(sequences, sequence);
        for chunk in (0..rows.len().div_ceil(CHUNK)).rev() {
            let start = rows.start + chunk * CHUNK;
            let chunk_rows = start..rows.end.min(start + CHUNK);
            let at = ((first_chunk + chunk) * scan.heads + head) * state_len;
            block(scratch.state(0), &checkpoints[at..at + state_len], scan);
            let part = |width: usize, row: usize| (row * scan.heads + head) * width..(row * scan.heads + head + 1) * width;
            let read = |row: usize| Row {
                q: &q[part(scan.d_k, row)],
                k: &k[part(scan.d_k, row)],
                v: &v[part(scan.d_v, row)],
                gate: gate.row(scan, row, head),
            };
            for (t, row) in chunk_rows.clone().enumerate().take(chunk_rows.len() - 1) {
                let (old, new) = scratch.states(t);
                machine.isa.run(Advance { old, new, row: read(row) });
            }
            for (t, row) in chunk_rows.enumerate().rev() {
                // SAFETY: sequences do not overlap (checked), so no other item has this row and head.
                let [d_q, d_k, d_v, d_gate] = unsafe {
                    [
                        d_q.slice(part(scan.d_k, row)),
                        d_k.slice(part(scan.d_k, row)),
                        d_v.slice(part(scan.d_v, row)),
                        d_gate.slice(part(gate_width, row)),
                    ]
                };
                let d_out = &d_out[part(scan.d_v, row)];
                let Scratch { states, d_state, d_value, len } = &mut scratch;
                let state = &states[t * *len..(t + 1) * *len];
                machine.isa.run(Retreat { state, d_state, d_value, row: read(row), d_out, d_q, d_k, d_v, d_gate });
            }
        }
        unblock(d_state, scratch.d_state, scan);
    });
}

/// Values that [`gated_scan_backward`] needs as scratch on an executor of `workers` workers.
pub fn gated_scan_backward_scratch(scan: Scan, workers: usize) -> usize {
    workers * Scratch::len(scan)
}

/// One row of one head.
#[derive(Clone, Copy)]
struct Row<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    gate: &'a [f32],
}

impl Row<'_> {
    /// The gate at channels `i..`.
    #[inline(always)]
    fn gate<S: Simd>(&self, simd: S, i: usize) -> S::V {
        match self.gate {
            [one] => simd.splat(*one),
            many => load(simd, &many[i..]),
        }
    }
}

/// A worker's scratch.
struct Scratch<'a> {
    /// `[CHUNK, blocks, d_v, LANES]`: the state before each row of the chunk.
    states: &'a mut [f32],
    /// `[blocks, d_v, LANES]`: gradient of the state.
    d_state: &'a mut [f32],
    /// `[d_v, LANES]`: gradient of a row's value, before the sum over lanes.
    d_value: &'a mut [f32],
    /// Values of one state.
    len: usize,
}

impl<'a> Scratch<'a> {
    fn len(scan: Scan) -> usize {
        (CHUNK + 1) * blocked_len(scan) + scan.d_v * LANES
    }

    fn new(scan: Scan, scratch: &'a mut [f32]) -> Self {
        let len = blocked_len(scan);
        let (states, rest) = scratch.split_at_mut(CHUNK * len);
        let (d_state, d_value) = rest.split_at_mut(len);
        Scratch { states, d_state, d_value, len }
    }

    fn state(&mut self, t: usize) -> &mut [f32] {
        &mut self.states[t * self.len..(t + 1) * self.len]
    }

    /// The states before rows `t` and `t + 1`.
    fn states(&mut self, t: usize) -> (&[f32], &mut [f32]) {
        let (old, new) = self.states[t * self.len..(t + 2) * self.len].split_at_mut(self.len);
        (old, new)
    }
}

/// Values of a state in blocks.
fn blocked_len(scan: Scan) -> usize {
    scan.d_k.next_multiple_of(LANES) * scan.d_v
}

/// `blocked [blocks, d_v, LANES] = state [d_k, d_v]`, with zeros beyond `d_k`.
fn block(blocked: &mut [f32], state: &[f32], scan: Scan) {
    for (b, block) in blocked.chunks_exact_mut(scan.d_v * LANES).enumerate() {
        for (lane, i) in (b * LANES..(b + 1) * LANES).enumerate() {
            for (j, lanes) in block.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                lanes[lane] = if i < scan.d_k { state[i * scan.d_v + j] } else { 0.0 };
            }
        }
    }
}

/// `state [d_k, d_v] = blocked [blocks, d_v, LANES]`
fn unblock(state: &mut [f32], blocked: &[f32], scan: Scan) {
    for (i, row) in state.chunks_exact_mut(scan.d_v).enumerate() {
        let block = &blocked[i / LANES * scan.d_v * LANES..];
        for (x, lanes) in row.iter_mut().zip(block.as_chunks::<LANES>().0) {
            *x = lanes[i % LANES];
        }
    }
}

/// `new = diag(gate) old + k v^T`, in blocks.
struct Advance<'a> {
    old: &'a [f32],
    new: &'a mut [f32],
    row: Row<'a>,
}

impl Kernel for Advance<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Row { k, v, .. } = self.row;
        for i in (0..k.len()).step_by(S::LANES) {
            let (block, lane) = (i / LANES * v.len() * LANES, i % LANES);
            let (key, gate) = (load(simd, &k[i..]), self.row.gate(simd, i));
            let old = self.old[block..].as_chunks::<LANES>().0;
            let new = self.new[block..].as_chunks_mut::<LANES>().0;
            for ((new, old), v) in new.iter_mut().zip(old).zip(v) {
                let old = load(simd, &old[lane..]);
                store(simd, &mut new[lane..], simd.fma(simd.splat(*v), key, simd.mul(gate, old)));
            }
        }
    }
}

/// One row of the backward pass: from the gradient of the state after it to that of the state before it.
struct Retreat<'a> {
    /// The state before the row.
    state: &'a [f32],
    d_state: &'a mut [f32],
    d_value: &'a mut [f32],
    row: Row<'a>,
    d_out: &'a [f32],
    d_q: &'a mut [f32],
    d_k: &'a mut [f32],
    d_v: &'a mut [f32],
    d_gate: &'a mut [f32],
}

impl Kernel for Retreat<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let d_value = self.d_value.as_chunks_mut::<LANES>().0;
        d_value.as_flattened_mut().fill(0.0);
        let mut d_whole_gate = 0.0;
        for i in (0..self.d_k.len()).step_by(S::LANES) {
            let (block, lane) = (i / LANES * self.d_v.len() * LANES, i % LANES);
            let (q, k, gate) = (load(simd, &self.row.q[i..]), load(simd, &self.row.k[i..]), self.row.gate(simd, i));
            let mut d_q = load(simd, &self.d_q[i..]);
            let mut d_k = load(simd, &self.d_k[i..]);
            let mut d_gate = simd.splat(0.0);
            let states = self.state[block..].as_chunks::<LANES>().0;
            let d_states = self.d_state[block..].as_chunks_mut::<LANES>().0;
            let columns = states.iter().zip(d_states).zip(&mut *d_value).zip(self.row.v.iter().zip(self.d_out));
            for (((before, d_state), d_value), (v, d_out)) in columns {
                let (v, d_out) = (simd.splat(*v), simd.splat(*d_out));
                let before = load(simd, &before[lane..]);
                let after = simd.fma(v, k, simd.mul(gate, before));
                let d_after = simd.fma(d_out, q, load(simd, &d_state[lane..]));
                d_q = simd.fma(d_out, after, d_q);
                d_k = simd.fma(v, d_after, d_k);
                d_gate = simd.fma(d_after, before, d_gate);
                let value = simd.fma(d_after, k, load(simd, &*d_value));
                store(simd, d_value, value);
                store(simd, &mut d_state[lane..], simd.mul(gate, d_after));
            }
            store(simd, &mut self.d_q[i..], d_q);
            store(simd, &mut self.d_k[i..], d_k);
            match self.d_gate.len() {
                0 => {}
                1 => d_whole_gate += simd.reduce_add(d_gate),
                _ => {
                    let d = &mut self.d_gate[i..];
                    store(simd, d, simd.add(load(simd, d), d_gate));
                }
            }
        }
        if let [d_gate] = self.d_gate {
            *d_gate += d_whole_gate;
        }
        for (d_v, lanes) in self.d_v.iter_mut().zip(d_value) {
            *d_v += simd.reduce_add(load(simd, lanes));
        }
    }
}
