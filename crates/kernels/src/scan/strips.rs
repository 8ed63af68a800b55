//! How a scan goes over its states: an item for each sequence, head and strip of columns, since the columns of a state never
//! meet.

use super::{CHUNK, Scan, chunks_before, scan_checkpoints};
use crate::Machine;
use crate::disjoint::{Disjoint, check_sequences, run, sized};
use crate::expect;
use std::ops::Range;

/// Columns of the state in one work item.
pub(crate) const STRIP: usize = 32;

/// A strip of a head's state at one row.
pub(crate) struct Strip<'a> {
    pub(crate) row: usize,
    pub(crate) head: usize,
    /// `[d_k, STRIP]`: the state before the row, to become the one after it. Columns that the state does not have are 0.
    pub(crate) s: &'a mut [f32],
    /// The strip's part of the row's output.
    pub(crate) out: &'a mut [f32],
    /// Where that part lies in all of them, and so in the values.
    pub(crate) values: Range<usize>,
}

/// Calls `step` for every row of every sequence in order, for each head and strip of columns, and keeps the states
/// `state [sequences, H, d_k, d_v]` and, every `CHUNK` rows, the checkpoints. `scratch` has [`strips_scratch`] values.
///
/// # Panics
/// If the checkpoints or the scratch do not fit, or the sequences overlap or are out of order.
pub(crate) fn each_strip(
    machine: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    out: &mut [f32],
    state: &mut [f32],
    checkpoints: Option<&mut [f32]>,
    scratch: &mut [f32],
    step: impl Fn(Strip<'_>) + Sync,
) {
    let Scan { heads, d_k, d_v } = scan;
    let strips = d_v.div_ceil(STRIP);
    let kept = checkpoints.is_some();
    let checkpoints = checkpoints.unwrap_or_default();
    check_sequences(sequences, out.len() / (heads * d_v));
    if kept {
        expect::length("checkpoints", checkpoints.len(), scan_checkpoints(scan, sequences));
    }
    let scratch = expect::scratch(scratch, strips_scratch(scan, machine.executor.workers()));
    let worker_scratch = strips_scratch(scan, 1);
    let machine = sized(machine, out.len() * d_k);
    let [out, state, checkpoints, scratch] = [out, state, checkpoints, scratch].map(Disjoint::new);
    run(machine, sequences.len() * heads * strips, &|item, worker| {
        let (sequence, head, strip) = (item / strips / heads, item / strips % heads, item % strips);
        let columns = strip * STRIP..d_v.min((strip + 1) * STRIP);
        // SAFETY: workers that run at the same time have different numbers.
        let s = unsafe { scratch.slice(worker * worker_scratch..(worker + 1) * worker_scratch) };
        let state_row = |i: usize| {
            let start = ((sequence * heads + head) * d_k + i) * d_v;
            // SAFETY: no other item has this sequence, head and columns, and this one takes one row at a time.
            unsafe { state.slice(start + columns.start..start + columns.end) }
        };
        for (i, s) in s.chunks_exact_mut(STRIP).enumerate() {
            s[..columns.len()].copy_from_slice(state_row(i));
            s[columns.len()..].fill(0.0);
        }
        let first_chunk = chunks_before(sequences, sequence);
        for (t, row) in sequences[sequence].clone().enumerate() {
            if kept && t % CHUNK == 0 {
                for (i, s) in s.chunks_exact(STRIP).enumerate() {
                    let start = (((first_chunk + t / CHUNK) * heads + head) * d_k + i) * d_v;
                    // SAFETY: no other item has this sequence, head and columns, and this one takes one row at a time.
                    let kept = unsafe { checkpoints.slice(start + columns.start..start + columns.end) };
                    kept.copy_from_slice(&s[..columns.len()]);
                }
            }
            let at = (row * heads + head) * d_v;
            let values = at + columns.start..at + columns.end;
            // SAFETY: sequences do not overlap (checked), so no other item has this row, head and columns.
            let out = unsafe { out.slice(values.clone()) };
            step(Strip { row, head, s, out, values });
        }
        for (i, s) in s.chunks_exact(STRIP).enumerate() {
            state_row(i).copy_from_slice(&s[..columns.len()]);
        }
    });
}

/// Values that [`each_strip`] needs as scratch on an executor of `workers` workers.
pub(crate) fn strips_scratch(scan: Scan, workers: usize) -> usize {
    workers * scan.d_k * STRIP
}
