//! The gated linear recurrence: linear attention, retention, gated linear attention.
//!
//! Each head keeps a state `S [d_k, d_v]`; at every row `S = diag(g) S + k v^T` and `out = S^T q`.

mod backward;
pub(crate) mod chunk;
mod strips;

pub use backward::{gated_scan_backward, gated_scan_backward_scratch};

pub(crate) use strips::{STRIP, Strip, each_strip, strips_scratch};

use crate::Machine;
use crate::disjoint::check_sequences;
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Rows between two checkpoints of the state, from which the backward pass computes the states in between again.
pub(crate) const CHUNK: usize = 16;

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
    check(scan, sequences, state, q, k, v, gate);
    assert_eq!(out.len(), v.len(), "out");
    each_strip(machine, scan, sequences, out, state, checkpoints, scratch, |strip| {
        let Strip { row, head, s, out, values } = strip;
        let keys = (row * scan.heads + head) * scan.d_k..(row * scan.heads + head + 1) * scan.d_k;
        let (q, k, v, gate) = (&q[keys.clone()], &k[keys], &v[values], gate.row(scan, row, head));
        machine.isa.run(Step { s, out, q, k, v, gate });
    });
}

/// Values of checkpoints that [`gated_scan`] keeps for the backward pass.
pub fn scan_checkpoints(scan: Scan, sequences: &[Range<usize>]) -> usize {
    chunks_before(sequences, sequences.len()) * scan.heads * scan.d_k * scan.d_v
}

/// Values that [`gated_scan`] needs as scratch on an executor of `workers` workers.
pub fn gated_scan_scratch(scan: Scan, workers: usize) -> usize {
    strips_scratch(scan, workers)
}

/// Chunks of the sequences before `sequence`.
pub(crate) fn chunks_before(sequences: &[Range<usize>], sequence: usize) -> usize {
    sequences[..sequence].iter().map(|rows| rows.len().div_ceil(CHUNK)).sum()
}

/// Panics unless the shapes fit and the sequences are disjoint, on which the soundness of parallel writing rests.
pub(crate) fn check(scan: Scan, sequences: &[Range<usize>], state: &[f32], q: &[f32], k: &[f32], v: &[f32], gate: Gate<'_>) {
    let Scan { heads, d_k, d_v } = scan;
    assert!(heads > 0 && d_k > 0 && d_v > 0, "{scan:?}");
    let rows = q.len() / (heads * d_k);
    assert_eq!([q.len(), k.len(), v.len()], [rows * heads * d_k, rows * heads * d_k, rows * heads * d_v], "q, k and v");
    gate.check(scan, rows);
    expect::length("state", state.len(), sequences.len() * heads * d_k * d_v);
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
