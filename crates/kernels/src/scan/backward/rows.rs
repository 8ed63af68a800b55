//! The backward of a scan whose gate has a factor for each row of the state: states within a chunk are computed again from the one
//! before it, then rows are visited backwards.
//!
//! States lie transposed here, with `d_k` cut into blocks: `[blocks, d_v, LANES]`. The gradients of query, key and gate then
//! grow lane by lane, only that of the value is a sum over lanes, and memory is read in order.

use super::{Call, parts};
use crate::isa::Isa;
use crate::scan::{CHUNK, Scan};
use crate::simd::{Kernel, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Lanes of a block: the most that a vector has.
const LANES: usize = 16;

/// Goes over the chunks of one head of one sequence, the last first. `states` gives the one before a chunk.
pub(super) fn retreat<'s>(
    isa: Isa,
    call: &Call<'_>,
    head: usize,
    rows: Range<usize>,
    states: impl Fn(usize) -> &'s [f32],
    d_state: &mut [f32],
    scratch: &mut [f32],
) {
    let scan = call.scan;
    let mut scratch = Scratch::new(scan, scratch);
    block(scratch.d_state, d_state, scan);
    for chunk in (0..rows.len().div_ceil(CHUNK)).rev() {
        let start = rows.start + chunk * CHUNK;
        let chunk_rows = start..rows.end.min(start + CHUNK);
        block(scratch.state(0), states(chunk), scan);
        let [at_keys, at_values] = parts(scan, head);
        let part = |input: usize, row: usize| {
            let columns = if input < 2 { at_keys.clone() } else { at_values.clone() };
            &call.inputs[input].row(row)[columns]
        };
        let read = |row: usize| Row { q: part(0, row), k: part(1, row), v: part(2, row), gate: call.gate.row(scan, row, head) };
        for (t, row) in chunk_rows.clone().enumerate().take(chunk_rows.len() - 1) {
            let (old, new) = scratch.states(t);
            isa.run(Advance { old, new, row: read(row) });
        }
        for (t, row) in chunk_rows.enumerate().rev() {
            let gate = (row * scan.heads + head) * call.gate_width;
            // SAFETY: the caller says that nobody else has this head of these rows; parts of different arrays.
            let ([mut d_q, mut d_k, mut d_v], d_gate) =
                unsafe { (call.gradients_of(head, row..row + 1), call.d_gate.slice(gate..gate + call.gate_width)) };
            let Scratch { states, d_state, d_value, len } = &mut scratch;
            let (state, row) = (&states[t * *len..(t + 1) * *len], (read(row), part(3, row)));
            let (d_q, d_k, d_v) = (d_q.row_mut(0), d_k.row_mut(0), d_v.row_mut(0));
            isa.run(Retreat { state, d_state, d_value, row: row.0, d_out: row.1, d_q, d_k, d_v, d_gate });
        }
    }
    unblock(d_state, scratch.d_state, scan);
}

/// Values of scratch.
pub(super) fn scratch(scan: Scan) -> usize {
    Scratch::len(scan)
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
        load(simd, &self.gate[i..])
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
            if let Some(d) = self.d_gate.get_mut(i..) {
                let sum = simd.add(load(simd, d), d_gate);
                store(simd, d, sum);
            }
        }
        for (d_v, lanes) in self.d_v.iter_mut().zip(d_value) {
            *d_v += simd.reduce_add(load(simd, lanes));
        }
    }
}
