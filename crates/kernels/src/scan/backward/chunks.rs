//! The backward of a scan whose rows have one decay for the whole state, chunk by chunk.

use super::{Call, parts};
use crate::isa::Isa;
use crate::product::{MatrixMut, MatrixRef};
use crate::scan::chunk::{Chunk, Decays, Scratch, Terms, scale_rows};
use crate::scan::{CHUNK, Scan};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

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
    let [at_keys, at_values] = parts(scan, head);
    for chunk in (0..rows.len().div_ceil(CHUNK)).rev() {
        let start = rows.start + chunk * CHUNK;
        let rows = start..rows.end.min(start + CHUNK);
        let [q, k] = [0, 1].map(|i| call.inputs[i].part(rows.clone(), at_keys.clone()));
        let [v, d_out] = [2, 3].map(|i| call.inputs[i].part(rows.clone(), at_values.clone()));
        let decays = Decays::new(rows.clone().map(|row| call.gate.row(scan, row, head)[0]));
        let state = MatrixRef::row_major(states(chunk), scan.d_k, scan.d_v);
        // SAFETY: the caller says that nobody else has this head of these rows.
        let gradients = unsafe { call.gradients_of(head, rows.clone()) };
        let chunk = Chunk { decays: &decays, q, k, d_out, state };
        let scratch = Scratch::new(scan, &mut *scratch);
        let d_decays = isa.run(Retreat { chunk, v, d_state: &mut *d_state, gradients, scratch });
        for (row, d_decay) in rows.zip(d_decays) {
            let at = (row * scan.heads + head) * call.gate_width;
            // SAFETY: as above.
            let d_gate = unsafe { call.d_gate.slice(at..at + call.gate_width) };
            for d_gate in d_gate.iter_mut() {
                *d_gate += d_decay;
            }
        }
    }
}

/// Values of scratch.
pub(super) fn scratch(scan: Scan) -> usize {
    Scratch::len(scan)
}

/// One chunk; gives the gradients of the decays.
struct Retreat<'a> {
    chunk: Chunk<'a>,
    v: MatrixRef<'a>,
    d_state: &'a mut [f32],
    gradients: [MatrixMut<'a>; 3],
    scratch: Scratch<'a>,
}

impl Kernel for Retreat<'_> {
    type Output = [f32; CHUNK];
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f32; CHUNK] {
        let Retreat { chunk, v, d_state, gradients: [mut d_q, mut d_k, mut d_v], mut scratch } = self;
        let (n, mut terms) = (v.rows(), Terms::default());
        chunk.score(simd, &mut scratch, false);
        chunk.add_to_written(simd, v, &mut d_v, d_state, &mut terms, &mut scratch);
        scale_rows(scratch.d_read, chunk.d_out, |t| chunk.decays.from_start[t]);
        chunk.add_to_rows(simd, v, n, [&mut d_q, &mut d_k], d_state, &mut terms, &mut scratch);
        chunk.decays.gradients(n, &terms)
    }
}
