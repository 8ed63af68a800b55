//! The gradient of the gated delta rule, a chunk of rows at a time, the last first (Yang et al. 2024, 2406.06484): the corrections
//! of a chunk solve a triangular system, and what they leave is a scan that writes corrections in place of values.
//!
//! With `C = d * K K^T` below the diagonal and the state `S` before the chunk, the errors are `E = V - b * K S - C U` and the
//! corrections `U = beta * E`. So `(1 + beta * C)^T` takes gradients of the former from those of the latter.

use super::check;
use crate::Machine;
use crate::disjoint::{Disjoint, run, sized};
use crate::expect;
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::scan::chunk::{self, Chunk, Decays, Square, Terms, add, product, scale_rows};
use crate::scan::{CHUNK, Scan, chunks_before, scan_checkpoints};
use crate::simd::{Kernel, Simd};
use crate::vector::{Dot, load, store, sum};
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
    assert_eq!(
        [d_q.len(), d_k.len(), d_v.len(), d_out.len()],
        [q.len(), k.len(), v.len(), v.len()],
        "gradients and what they are of: d_q, d_k, d_v, d_out"
    );
    assert_eq!([d_decay.len(), d_beta.len()], [decay.len(), beta.len()], "gradients of decay and beta");
    expect::length("checkpoints", checkpoints.len(), scan_checkpoints(scan, sequences));
    let scratch = expect::scratch(scratch, gated_delta_backward_scratch(scan, machine.executor.workers()));
    let Scan { heads, d_k: key_width, d_v: value_width } = scan;
    let (worker_scratch, state_len) = (Scratch::len(scan), key_width * value_width);
    let machine = sized(machine, v.len() * key_width);
    let all = |data, width| MatrixRef::row_major(data, decay.len() / heads, heads * width);
    let inputs = [all(q, key_width), all(k, key_width), all(v, value_width), all(d_out, value_width)];
    let all = |data, width| MatrixMut::row_major(data, decay.len() / heads, heads * width);
    let gradients = [all(d_q, key_width), all(d_k, key_width), all(d_v, value_width)];
    let [d_decay, d_beta, d_state, scratch] = [d_decay, d_beta, d_state, scratch].map(Disjoint::new);
    run(machine, sequences.len() * heads, &|item, worker| {
        let (sequence, head) = (item / heads, item % heads);
        // SAFETY: workers that run at the same time have different numbers.
        let scratch = unsafe { scratch.slice(worker * worker_scratch..(worker + 1) * worker_scratch) };
        // SAFETY: no other item has this sequence and head.
        let d_state = unsafe { d_state.slice(item * state_len..(item + 1) * state_len) };
        let rows = sequences[sequence].clone();
        let first_chunk = chunks_before(sequences, sequence);
        let (at_keys, at_values) = (head * key_width..(head + 1) * key_width, head * value_width..(head + 1) * value_width);
        for index in (0..rows.len().div_ceil(CHUNK)).rev() {
            let start = rows.start + index * CHUNK;
            let rows = start..rows.end.min(start + CHUNK);
            let at = ((first_chunk + index) * heads + head) * state_len;
            let [q, k] = [0, 1].map(|i| inputs[i].part(rows.clone(), at_keys.clone()));
            let [v, d_out] = [2, 3].map(|i| inputs[i].part(rows.clone(), at_values.clone()));
            let decays = Decays::new(rows.clone().map(|row| decay[row * heads + head]));
            let state = MatrixRef::row_major(&checkpoints[at..at + state_len], key_width, value_width);
            let chunk = Chunk { decays: &decays, q, k, d_out, state };
            let mut of_rows = [0.0; CHUNK];
            for (row, to) in rows.clone().zip(&mut of_rows) {
                *to = beta[row * heads + head];
            }
            // SAFETY: sequences do not overlap (checked), so no other item has these rows and this head. The three are parts of
            // different arrays.
            let gradients = unsafe {
                [
                    gradients[0].part(0, rows.clone(), at_keys.clone()),
                    gradients[1].part(0, rows.clone(), at_keys.clone()),
                    gradients[2].part(0, rows.clone(), at_values.clone()),
                ]
            };
            let scratch = Scratch::new(scan, &mut *scratch);
            let [of_decays, of_betas] =
                machine.isa.run(Retreat { chunk, v, beta: &of_rows, d_state: &mut *d_state, gradients, scratch });
            for (t, row) in rows.enumerate() {
                let at = row * heads + head;
                // SAFETY: as above.
                let (d_decay, d_beta) = unsafe { (d_decay.slice(at..at + 1), d_beta.slice(at..at + 1)) };
                d_decay[0] += of_decays[t];
                d_beta[0] += of_betas[t];
            }
        }
    });
}

/// Values that [`gated_delta_backward`] needs as scratch on an executor of `workers` workers.
pub fn gated_delta_backward_scratch(scan: Scan, workers: usize) -> usize {
    workers * Scratch::len(scan)
}

/// A worker's scratch, `[CHUNK, d_v]` each but for the first.
struct Scratch<'a> {
    chunk: chunk::Scratch<'a>,
    errors: &'a mut [f32],
    corrections: &'a mut [f32],
    /// Gradients of the corrections, then of the errors over beta.
    d_corrections: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn len(scan: Scan) -> usize {
        3 * CHUNK * scan.d_v + chunk::Scratch::len(scan)
    }

    fn new(scan: Scan, mut scratch: &'a mut [f32]) -> Self {
        let mut take = || scratch.split_off_mut(..CHUNK * scan.d_v).expect("as much as `len` says");
        let [errors, corrections, d_corrections] = [take(), take(), take()];
        Scratch { chunk: chunk::Scratch::new(scan, scratch), errors, corrections, d_corrections }
    }
}

/// One chunk; gives the gradients of the decays and of beta.
struct Retreat<'a> {
    chunk: Chunk<'a>,
    v: MatrixRef<'a>,
    beta: &'a [f32; CHUNK],
    d_state: &'a mut [f32],
    gradients: [MatrixMut<'a>; 3],
    scratch: Scratch<'a>,
}

impl Kernel for Retreat<'_> {
    type Output = [[f32; CHUNK]; 2];
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [[f32; CHUNK]; 2] {
        let Retreat { chunk, v, beta, d_state, gradients: [mut d_q, mut d_k, mut d_v], scratch } = self;
        let Scratch { chunk: mut scratch, errors, corrections, d_corrections } = scratch;
        let (n, width, decays) = (v.rows(), v.cols(), chunk.decays);
        let row = |t: usize| t * width..(t + 1) * width;
        let mut terms = Terms::default();

        chunk.score(simd, &mut scratch, true);
        let mut below: Square = [[0.0; CHUNK]; CHUNK];
        for t in 0..n {
            for s in 0..t {
                below[t][s] = decays.between[t][s] * scratch.scores[(n + t) * CHUNK + s];
            }
        }
        let mut recalled = MatrixMut::row_major(errors, n, width);
        product(simd, &mut recalled, chunk.k, chunk.state, Accumulate::Store, scratch.panels);
        for t in 0..n {
            let (before, own) = corrections.split_at_mut(t * width);
            let error = &mut errors[row(t)];
            let decay = simd.splat(decays.from_start[t]);
            for j in (0..width).step_by(S::LANES) {
                let mut left = simd.sub(load(simd, &v.row(t)[j..]), simd.mul(decay, load(simd, &error[j..])));
                for s in 0..t {
                    left = simd.fma(simd.splat(-below[t][s]), load(simd, &before[row(s)][j..]), left);
                }
                store(simd, &mut error[j..], left);
                store(simd, &mut own[j..width], simd.mul(simd.splat(beta[t]), left));
            }
        }
        let corrections = MatrixRef::row_major(corrections, n, width);

        d_corrections.fill(0.0);
        let mut d_written = MatrixMut::row_major(d_corrections, n, width);
        chunk.add_to_written(simd, corrections, &mut d_written, d_state, &mut terms, &mut scratch);
        let mut d_beta = [0.0; CHUNK];
        for t in (0..n).rev() {
            let (before, after) = d_corrections.split_at_mut((t + 1) * width);
            let own = &mut before[row(t)];
            for j in (0..width).step_by(S::LANES) {
                let mut left = load(simd, &own[j..]);
                for s in t + 1..n {
                    let later = load(simd, &after[row(s - t - 1)][j..]);
                    left = simd.fma(simd.splat(-beta[s] * below[s][t]), later, left);
                }
                store(simd, &mut own[j..], left);
            }
            d_beta[t] = sum(simd, Dot, [own, &errors[row(t)]]);
        }
        let d_errors = MatrixRef::row_major(d_corrections, n, width);
        scale_rows(scratch.scaled, d_errors, |t| beta[t]);
        for t in 0..n {
            add(simd, d_v.row_mut(t), &scratch.scaled[row(t)]);
        }

        let mut d_keys: Square = [[0.0; CHUNK]; CHUNK];
        let mut pairs = MatrixMut::strided(d_keys.as_flattened_mut(), n, n, CHUNK);
        product(simd, &mut pairs, d_errors, corrections.transposed(), Accumulate::Store, scratch.panels);
        for t in 0..n {
            d_keys[t][t] = 0.0;
            for s in 0..t {
                let pair = -beta[t] * d_keys[t][s];
                terms.between[t][s] += pair * below[t][s];
                // Of the dot product of two keys, for the one and for the other.
                (d_keys[t][s], d_keys[s][t]) = (pair * decays.between[t][s], pair * decays.between[t][s]);
            }
        }
        let pairs = MatrixRef::strided(d_keys.as_flattened(), n, n, CHUNK, 1);
        product(simd, &mut d_k, pairs, chunk.k, Accumulate::Add, scratch.panels);

        let (of_queries, of_keys) = scratch.d_read.split_at_mut(n * width);
        scale_rows(of_queries, chunk.d_out, |t| decays.from_start[t]);
        scale_rows(of_keys, d_errors, |t| -beta[t] * decays.from_start[t]);
        chunk.add_to_rows(simd, corrections, 2 * n, [&mut d_q, &mut d_k], d_state, &mut terms, &mut scratch);
        [decays.gradients(n, &terms), d_beta]
    }
}
