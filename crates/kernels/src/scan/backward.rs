//! The gradient of the scan, chunk by chunk from the last, each from the state before it, that the forward pass kept: by products of
//! matrices where a row has one factor for the whole state, row by row where it has one for each row of it.

mod chunks;
mod rows;

use super::{Gate, Scan, check, chunks_before, scan_checkpoints};
use crate::Machine;
use crate::disjoint::{Disjoint, run, sized};
use crate::expect;
use crate::product::{MatrixMut, MatrixRef};
use std::ops::Range;

/// What a call reads and adds to.
struct Call<'a> {
    scan: Scan,
    /// Queries and keys `[N, H * d_k]`, values and gradients of outputs `[N, H * d_v]`.
    inputs: [MatrixRef<'a>; 4],
    gate: Gate<'a>,
    /// Of queries, keys and values.
    gradients: [MatrixMut<'a>; 3],
    /// `[N, H * gate_width]`; of width zero if it is not wanted.
    d_gate: Disjoint<'a, f32>,
    gate_width: usize,
}

impl Call<'_> {
    /// Gradients of some rows of one head.
    ///
    /// # Safety
    /// While they live, nobody else may have any of this head and these rows.
    unsafe fn gradients_of(&self, head: usize, rows: Range<usize>) -> [MatrixMut<'_>; 3] {
        let [at_keys, at_values] = parts(self.scan, head);
        let [d_q, d_k, d_v] = &self.gradients;
        // SAFETY: the caller's promise; parts of different arrays.
        unsafe { [d_q.part(0, rows.clone(), at_keys.clone()), d_k.part(0, rows.clone(), at_keys), d_v.part(0, rows, at_values)] }
    }
}

/// Where a head's keys and its values lie in a row.
fn parts(scan: Scan, head: usize) -> [Range<usize>; 2] {
    [scan.d_k, scan.d_v].map(|width| head * width..(head + 1) * width)
}

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
    assert_eq!(
        [d_q.len(), d_k.len(), d_v.len(), d_out.len()],
        [q.len(), k.len(), v.len(), v.len()],
        "gradients and what they are of: d_q, d_k, d_v, d_out"
    );
    expect::length("checkpoints", checkpoints.len(), scan_checkpoints(scan, sequences));
    let rows = q.len() / (scan.heads * scan.d_k);
    let wanted = d_gate.is_some();
    let d_gate = d_gate.unwrap_or_default();
    if wanted {
        expect::length("gradient of the gate", d_gate.len(), gate.len(scan, rows));
    }
    let worker_scratch = gated_scan_backward_scratch(scan, 1);
    let scratch = expect::scratch(scratch, gated_scan_backward_scratch(scan, machine.executor.workers()));
    let state_len = scan.d_k * scan.d_v;
    let machine = sized(machine, v.len() * scan.d_k);
    let (key_width, value_width) = (scan.heads * scan.d_k, scan.heads * scan.d_v);
    let inputs = [(q, key_width), (k, key_width), (v, value_width), (d_out, value_width)];
    let gradients = [(d_q, key_width), (d_k, key_width), (d_v, value_width)];
    let call = Call {
        scan,
        inputs: inputs.map(|(data, width)| MatrixRef::row_major(data, rows, width)),
        gate,
        gradients: gradients.map(|(data, width)| MatrixMut::row_major(data, rows, width)),
        d_gate: Disjoint::new(d_gate),
        gate_width: if wanted { gate.len(scan, 1) / scan.heads } else { 0 },
    };
    let [d_state, scratch] = [d_state, scratch].map(Disjoint::new);
    run(machine, sequences.len() * scan.heads, &|item, worker| {
        let (sequence, head) = (item / scan.heads, item % scan.heads);
        // SAFETY: workers that run at the same time have different numbers.
        let scratch = unsafe { scratch.slice(worker * worker_scratch..(worker + 1) * worker_scratch) };
        // SAFETY: no other item has this sequence and head.
        let d_state = unsafe { d_state.slice(item * state_len..(item + 1) * state_len) };
        let first_chunk = chunks_before(sequences, sequence);
        let states = |chunk: usize| &checkpoints[((first_chunk + chunk) * scan.heads + head) * state_len..][..state_len];
        // Sequences do not overlap (checked), so no other item has these rows and this head.
        let (isa, rows) = (machine.isa, sequences[sequence].clone());
        match gate {
            Gate::Channel(_) => rows::retreat(isa, &call, head, rows, states, d_state, scratch),
            Gate::None | Gate::Head(_) => chunks::retreat(isa, &call, head, rows, states, d_state, scratch),
        }
    });
}

/// Values that [`gated_scan_backward`] needs as scratch on an executor of `workers` workers.
pub fn gated_scan_backward_scratch(scan: Scan, workers: usize) -> usize {
    workers * rows::scratch(scan).max(chunks::scratch(scan))
}
