//! Recurrences along a sequence. The final state is kept as rows without a gradient: going backward stops at the start of
//! the call, as truncated back-propagation does.

mod delta;
mod selective;

pub use selective::Selection;

use super::target::Target;
use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::gru::{gru, gru_backward, gru_backward_scratch, gru_scratch};
use attendant_kernels::scan::{self, Gate, Scan};
use std::ops::Range;

/// The rows a recurrence gives and the state it ends in, one row per sequence.
#[derive(Clone, Copy, Debug)]
pub struct Recurrence {
    /// A row per input row.
    pub rows: Var,
    /// A row per sequence; no gradient flows through it.
    pub state: Var,
}

/// How the state of a gated scan decays before each row is added.
#[derive(Clone, Copy, Debug)]
pub enum ScanGate {
    /// Not at all.
    None,
    /// One factor per head, `[N, H]`.
    Head(Var),
    /// One factor per key channel, `[N, H * d_k]`.
    Channel(Var),
}

impl ScanGate {
    fn var(self) -> Option<Var> {
        match self {
            ScanGate::None => None,
            ScanGate::Head(var) | ScanGate::Channel(var) => Some(var),
        }
    }

    fn with_values<'a>(self, value: impl Fn(Var) -> &'a [f32]) -> Gate<'a> {
        match self {
            ScanGate::None => Gate::None,
            ScanGate::Head(var) => Gate::Head(value(var)),
            ScanGate::Channel(var) => Gate::Channel(value(var)),
        }
    }
}

impl Tape {
    /// S <- diag(gate) S + k v^T; out = S^T q, per head: q and k `[N, H * d_k]`, v `[N, H * d_v]`, initial `[B, H * d_k * d_v]` ->
    /// `[N, H * d_v]` and the final states.
    pub fn gated_scan(
        &mut self,
        q: Var,
        k: Var,
        v: Var,
        gate: ScanGate,
        initial: Var,
        spec: Scan,
        sequences: &[Range<usize>],
    ) -> Recurrence {
        let (rows, width) = (self.rows(q), spec.heads * spec.d_v);
        let batch = self.rows(initial);
        let state_len = batch * self.width(initial);
        let saved = if self.recording() { scan::scan_checkpoints(spec, sequences) } else { 0 };
        let inputs = [q, k, v, gate.var().unwrap_or(q)];
        // One row of saved values: the final states, then the states that the backward starts from.
        let op = |saved| ScanOp { q, k, v, gate, spec, sequences: sequences.to_vec(), saved, batch };
        let shape = [rows, width];
        let (out, kept) = self.operation_saving(&inputs, shape, [1, state_len + saved], op, |tape, y, kept, buffers| {
            let machine = tape.processor().machine();
            let mut scratch = buffers.take(scan::gated_scan_scratch(spec, machine.executor.workers()));
            let (state, checkpoints) = kept.split_at_mut(state_len);
            state.copy_from_slice(tape.value(initial));
            let gate = gate.with_values(|var| tape.value(var));
            let (q, k, v) = (tape.value(q), tape.value(k), tape.value(v));
            let checkpoints = (saved > 0).then_some(checkpoints);
            scan::gated_scan(machine, spec, sequences, y, state, q, k, v, gate, checkpoints, &mut scratch);
            buffers.give(scratch);
        });
        Recurrence { rows: out, state: self.final_states(kept, [batch, state_len / batch.max(1)]) }
    }

    /// A gated recurrent unit (Cho et al. 2014, 1406.1078, in the form of cuDNN and PyTorch): x_gates `[N, 3h]` holds the
    /// input's part of reset, update and candidate; initial `[B, h]` -> `[N, h]` and the final states.
    pub fn gru(&mut self, x_gates: Var, w_hh: Var, b_hh: Var, initial: Var, sequences: &[Range<usize>]) -> Recurrence {
        let (rows, hidden) = (self.rows(x_gates), self.width(initial));
        let batch = self.rows(initial);
        // One row of saved values: the final states, then the gates of every row.
        let op = |saved| GruOp { x_gates, w_hh, b_hh, initial, saved, sequences: sequences.to_vec() };
        let (inputs, shape) = ([x_gates, w_hh, b_hh], [rows, hidden]);
        let saved = [1, (batch + 4 * rows) * hidden];
        let (out, kept) = self.operation_saving(&inputs, shape, saved, op, |tape, y, kept, buffers| {
            let mut scratch = buffers.take(gru_scratch(hidden));
            let (state, gates) = kept.split_at_mut(batch * hidden);
            state.copy_from_slice(tape.value(initial));
            let (x, w, b) = (tape.value(x_gates), tape.value(w_hh), tape.value(b_hh));
            gru(tape.processor().machine(), hidden, sequences, y, gates, x, w, b, state, &mut scratch);
            buffers.give(scratch);
        });
        Recurrence { rows: out, state: self.final_states(kept, [batch, hidden]) }
    }

    /// The final states, which stand at the start of what a recurrence saved.
    fn final_states(&mut self, saved: Var, [rows, width]: [usize; 2]) -> Var {
        let states = self.columns(saved, 0..rows * width);
        self.reshape(states, width)
    }
}

struct ScanOp {
    q: Var,
    k: Var,
    v: Var,
    gate: ScanGate,
    spec: Scan,
    sequences: Vec<Range<usize>>,
    saved: Var,
    batch: usize,
}

impl Op for ScanOp {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let workers = pass.machine().executor.workers();
        let mut scratch = pass.scratch(scan::gated_scan_backward_scratch(self.spec, workers));
        let state_len = self.batch * self.spec.heads * self.spec.d_k * self.spec.d_v;
        let mut d_state = pass.scratch(state_len);
        d_state.fill(0.0);
        let mut targets = [self.q, self.k, self.v].map(|var| Target::new(pass, var));
        let mut d_gate = self.gate.var().and_then(|var| pass.gradient(var));
        let [d_q, d_k, d_v] = targets.each_mut().map(Target::values);
        scan::gated_scan_backward(
            pass.machine(),
            self.spec,
            &self.sequences,
            d_q,
            d_k,
            d_v,
            d_gate.as_mut().map(|d| d.values()),
            &mut d_state,
            gradient,
            pass.value(self.q),
            pass.value(self.k),
            pass.value(self.v),
            self.gate.with_values(|var| pass.value(var)),
            &pass.value(self.saved)[state_len..],
            &mut scratch,
        );
        targets.into_iter().for_each(|target| target.put(pass));
        d_gate.into_iter().for_each(|d| pass.put(d));
        pass.give(d_state);
        pass.give(scratch);
    }
}

struct GruOp {
    x_gates: Var,
    w_hh: Var,
    b_hh: Var,
    initial: Var,
    saved: Var,
    sequences: Vec<Range<usize>>,
}

impl Op for GruOp {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let (rows, hidden) = (pass.rows(self.x_gates), pass.width(self.initial));
        let mut scratch = pass.scratch(gru_backward_scratch(hidden, rows));
        let mut d_state = pass.scratch(pass.rows(self.initial) * hidden);
        d_state.fill(0.0);
        let mut targets = [self.x_gates, self.w_hh, self.b_hh].map(|var| Target::new(pass, var));
        let [d_x, d_w, d_b] = targets.each_mut().map(Target::values);
        gru_backward(
            pass.machine(),
            hidden,
            &self.sequences,
            d_x,
            d_w,
            d_b,
            &mut d_state,
            gradient,
            pass.value(output),
            &pass.value(self.saved)[pass.rows(self.initial) * hidden..],
            pass.value(self.w_hh),
            pass.value(self.initial),
            &mut scratch,
        );
        targets.into_iter().for_each(|target| target.put(pass));
        pass.give(d_state);
        pass.give(scratch);
    }
}
