//! The gated delta rule (Yang et al. 2024, 2412.06464): a memory that corrects what it recalls.
//!
//! Each head keeps a state `S [d_k, d_v]`; at every row `S = a S`, then `S = S + k (b (v - S^T k))^T` and `out = S^T q`. With
//! `a = 1` it is the delta rule of DeltaNet (2406.06484). The state stays bounded while `b |k|^2` is at most 2: normalised keys
//! and a sigmoid for `b` see to that, and both are the caller's, as is a scale of the query.

mod backward;

pub use backward::{gated_delta_backward, gated_delta_backward_scratch};

use crate::Machine;
use crate::scan::{self, Gate, STRIP, Scan, Strip, each_strip, scan_checkpoints, strips_scratch};
use crate::simd::{Kernel, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Vectors in a row of a strip, of the narrowest.
const MOST: usize = STRIP / 8;

/// `out [N, H * d_v]` and the states `state [sequences, H, d_k, d_v]`, in: before the first row of each sequence, out: after
/// its last. `q`, `k [N, H * d_k]`; `v [N, H * d_v]`; `decay`, `beta [N, H]`; `sequences` are ranges of rows, ascending. Rows
/// that belong to no sequence are left as they are.
///
/// With `checkpoints` ([`gated_delta_checkpoints`] values) the states that [`gated_delta_backward`] starts from are kept there.
/// [`gated_delta_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, or the sequences overlap or are out of order.
pub fn gated_delta(
    machine: Machine<'_>,
    scan: Scan,
    sequences: &[Range<usize>],
    out: &mut [f32],
    state: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    decay: &[f32],
    beta: &[f32],
    checkpoints: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    check(scan, sequences, state, q, k, v, decay, beta);
    assert_eq!(out.len(), v.len(), "out");
    each_strip(machine, scan, sequences, out, state, checkpoints, scratch, |strip| {
        let Strip { row, head, s, out, values } = strip;
        let at = row * scan.heads + head;
        let keys = at * scan.d_k..(at + 1) * scan.d_k;
        let (q, k, v) = (&q[keys.clone()], &k[keys], &v[values]);
        machine.isa.run(Step { s, out, error: &mut [], q, k, v, decay: decay[at], beta: beta[at] });
    });
}

/// Values of checkpoints that [`gated_delta`] keeps for the backward pass.
pub fn gated_delta_checkpoints(scan: Scan, sequences: &[Range<usize>]) -> usize {
    scan_checkpoints(scan, sequences)
}

/// Values that [`gated_delta`] needs as scratch on an executor of `workers` workers.
pub fn gated_delta_scratch(scan: Scan, workers: usize) -> usize {
    strips_scratch(scan, workers)
}

/// Panics unless the shapes fit and the sequences are disjoint, on which the soundness of parallel writing rests.
fn check(scan: Scan, sequences: &[Range<usize>], state: &[f32], q: &[f32], k: &[f32], v: &[f32], decay: &[f32], beta: &[f32]) {
    scan::check(scan, sequences, state, q, k, v, Gate::Head(decay));
    assert_eq!(beta.len(), decay.len(), "beta");
}

/// One row on a strip of columns `s [d_k, STRIP]`: first what the decayed state recalls under the key, then the correction.
struct Step<'a> {
    s: &'a mut [f32],
    out: &'a mut [f32],
    /// Receives `v - S^T k`, for the backward pass; may be empty.
    error: &'a mut [f32],
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    decay: f32,
    beta: f32,
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let vectors = STRIP / S::LANES;
        let (decay, beta) = (simd.splat(self.decay), simd.splat(self.beta));
        let rows = self.s.as_chunks_mut::<STRIP>().0;
        let mut recalled = [simd.splat(0.0); MOST];
        for (s, k) in rows.iter().zip(self.k) {
            for j in 0..vectors {
                recalled[j] = simd.fma(simd.splat(*k), load(simd, &s[j * S::LANES..]), recalled[j]);
            }
        }
        let mut correction = [simd.splat(0.0); MOST];
        for j in 0..vectors {
            let v = load(simd, self.v.get(j * S::LANES..).unwrap_or_default());
            // The decay is one factor for the whole state, so it may come after the sum.
            let error = simd.sub(v, simd.mul(decay, recalled[j]));
            store(simd, self.error.get_mut(j * S::LANES..).unwrap_or_default(), error);
            correction[j] = simd.mul(beta, error);
        }
        let mut out = [simd.splat(0.0); MOST];
        for (s, (q, k)) in rows.iter_mut().zip(self.q.iter().zip(self.k)) {
            for j in 0..vectors {
                let s = &mut s[j * S::LANES..];
                let new = simd.fma(simd.splat(*k), correction[j], simd.mul(decay, load(simd, s)));
                store(simd, s, new);
                out[j] = simd.fma(simd.splat(*q), new, out[j]);
            }
        }
        for j in 0..vectors {
            store(simd, self.out.get_mut(j * S::LANES..).unwrap_or_default(), out[j]);
        }
    }
}
