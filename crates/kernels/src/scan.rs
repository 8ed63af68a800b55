//! The gated linear recurrence: linear attention, retention, gated linear attention.
//!
//! Each head keeps a state `S [d_k, d_v]`; at every row `S = diag(g) S + k v^T` and `out = S^T q`.

mod backward;

pub use backward::{gated_scan_backward, gated_scan_backward_scratch};

use crate::Machine;
use crate::disjoint::{Disjoint, check_sequences, run, sized};
use crate::simd::{Kernel, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Rows between two checkpoints of the state, from which the backward pass computes the states in between again.
const CHUNK: usize = 16;

/// Columns of the state in one work item: the columns of a state never meet.
const STRIP: usize = 32;

/// The widths of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Heads in a row.
    pub heads: usize,
    /// Width of a query or key, per head.
    pub d_k: usize,
    /// Width of a value, per head.
    pub d_v: usize,
}

/// How much of the state a row keeps.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'a> {
    /// All of it.
    None,
    /// `[N, H]`: one factor per head.
    Head(&'a [f32]),
    /// `[N, H * d_k]`: one factor per row of a head's state.
    Channel(&'a [f32]),
}

impl<'a> Gate<'a> {
    /// The factors of one head at one row: one for the whole state, or `d_k`.
    fn row(self, scan: Scan, row: usize, head: usize) -> &'a [f32] {
        let at = row * scan.heads + head;
        match self {
            Gate::None => &[1.0],
            Gate::Head(gate) => &gate[at..at + 1],
            Gate::Channel(gate) => &gate[at * scan.d_k..(at + 1) * scan.d_k],
        }
    }

    /// Factors of `rows` rows.
    fn len(self, scan: Scan, rows: usize) -> usize {
        match self {
            Gate::None => 0,
            Gate::Head(_) => rows * scan.heads,
            Gate::Channel(_) => rows * scan.heads * scan.d_k,
        }
    }

    fn check(self, scan: Scan, rows: usize) {
        if let Gate::Head(gate) | Gate::Channel(gate) = self {
            assert_eq!(gate.len(), self.len(scan, rows), "gate");
        }
    }
}

/// `out [N, H * d_v]` and the states `state [sequences, H, d_k, d_v]`, in: before the first row of each sequence, out: after
/// its last. `q`, `k [N, H * d_k]`; `v [N, H * d_v]`; `sequences` are ranges of rows, ascending. Rows that belong to no
/// sequence are left as they are.
///
/// With `checkpoints` ([`scan_checkpoints`] values) the states that [`gated_scan_backward`] starts from are kept there.
/// [`gated_scan_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, or the sequences overlap or are out of order.
pub fn gated_scan(
    machine: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    out: &mut [f32],
    state: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    gate: Gate<'_>,
    checkpoints: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    let Scan { heads, d_k, d_v } = scan;
    let strips = d_v.div_ceil(STRIP);
    let kept = checkpoints.is_some();
    let checkpoints = checkpoints.unwrap_or_default();
    check(scan, sequences, state, q, k, v, gate);
    assert_eq!(out.len(), v.len(), "out");
    assert!(!kept || checkpoints.len() == scan_checkpoints(scan, sequences), "checkpoints");
    let worker_scratch = d_k * STRIP;
    assert!(scratch.len() >= gated_scan_scratch(scan, machine.executor.workers()), "scratch");
    let [out, state, checkpoints, scratch] = [out, state, checkpoints, scratch].map(Disjoint::new);
    let machine = sized(machine, v.len() * d_k);
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
            let (at_k, at_v) = ((row * heads + head) * d_k, (row * heads + head) * d_v);
            let values = at_v + columns.start..at_v + columns.end;
            machine.isa.run(Step {
                s,
                // SAFETY: sequences do not overlap (checked), so no other item has this row, head and columns.
                out: unsafe { out.slice(values.clone()) },
                q: &q[at_k..at_k + d_k],
                k: &k[at_k..at_k + d_k],
                v: &v[values],
                gate: gate.row(scan, row, head),
            });
        }
        for (i, s) in s.chunks_exact(STRIP).enumerate() {
            state_row(i).copy_from_slice(&s[..columns.len()]);
        }
    });
}

/// Values of checkpoints that [`gated_scan`] keeps for the backward pass.
pub fn scan_checkpoints(scan: Scan, sequences: &[Range<usize>]) -> usize {
    chunks_before(sequences, sequences.len()) * scan.heads * scan.d_k * scan.d_v
}

/// Values that [`gated_scan`] needs as scratch on an executor of `workers` workers.
pub fn gated_scan_scratch(scan: Scan, workers: usize) -> usize {
    workers * scan.d_k * STRIP
}

fn chunks_before(sequences: &[Range<usize>], sequence: usize) -> usize {
    sequences[..sequence].iter().map(|rows| rows.len().div_ceil(CHUNK)).sum()
}

/// Panics unless the shapes fit and the sequences are disjoint, on which the soundness of parallel writing rests.
fn check(scan: Scan, sequences: &[Range<usize>], state: &[f32], q: &[f32], k: &[f32], v: &[f32], gate: Gate<'_>) {
    let Scan { heads, d_k, d_v } = scan;
    assert!(heads > 0 && d_k > 0 && d_v > 0, "{scan:?}");
    let rows = q.len() / (heads * d_k);
    assert_eq!([q.len(), k.len(), v.len()], [rows * heads * d_k, rows * heads * d_k, rows * heads * d_v], "q, k and v");
    gate.check(scan, rows);
    assert_eq!(state.len(), sequences.len() * heads * d_k * d_v, "state");
    check_sequences(sequences, rows);
}

/// One row: `s = diag(gate) s + k v^T`, `out = s^T q`, on a strip of columns `s [d_k, STRIP]`.
struct Step<'a> {
    s: &'a mut [f32],
    out: &'a mut [f32],
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    gate: &'a [f32],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        const MOST: usize = STRIP / 8;
        let vectors = STRIP / S::LANES;
        let mut v = [simd.splat(0.0); MOST];
        let mut out = [simd.splat(0.0); MOST];
        for j in 0..vectors {
            v[j] = load(simd, self.v.get(j * S::LANES..).unwrap_or_default());
        }
        let gate_step = usize::from(self.gate.len() > 1);
        for (i, (s, (q, k))) in self.s.chunks_exact_mut(STRIP).zip(self.q.iter().zip(self.k)).enumerate() {
            let (q, k, gate) = (simd.splat(*q), simd.splat(*k), simd.splat(self.gate[i * gate_step]));
            for j in 0..vectors {
                // SAFETY: `s` has STRIP = vectors * LANES values.
                let old = unsafe { simd.load(s.as_ptr().add(j * S::LANES)) };
                let new = simd.fma(k, v[j], simd.mul(gate, old));
                // SAFETY: as above.
                unsafe { simd.store(s.as_mut_ptr().add(j * S::LANES), new) };
                out[j] = simd.fma(q, new, out[j]);
            }
        }
        for j in 0..vectors {
            store(simd, self.out.get_mut(j * S::LANES..).unwrap_or_default(), out[j]);
        }
    }
}
