//! Recurrences along a sequence. The final state is kept as rows without a gradient: going backward stops at the start of
//! the call, as truncated back-propagation does.

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
        let saved = if self.recording() { scan::scan_checkpoints(spec, sequences) } else { 0 };
        let mut checkpoints = vec![0.0; saved];
        let mut state = self.value(initial).to_vec();
        let checkpoint_rows = self.saved(1, saved);
        let inputs = [q, k, v, gate.var().unwrap_or(q)];
        let op = ScanOp {
            q,
            k,
            v,
            gate,
            spec,
            sequences: sequences.to_vec(),
            checkpoints: checkpoint_rows,
            batch: self.rows(initial),
        };
        let out = self.operation(&inputs, rows, width, op, |tape, y, buffers| {
            let machine = tape.processor().machine();
            let mut scratch = buffers.take(scan::gated_scan_scratch(spec, machine.executor.workers()));
            let gate = gate.with_values(|var| tape.value(var));
            let (q, k, v) = (tape.value(q), tape.value(k), tape.value(v));
            let kept = if saved > 0 { Some(&mut checkpoints[..]) } else { None };
            scan::gated_scan(machine, spec, sequences, y, &mut state, q, k, v, gate, kept, &mut scratch);
            buffers.give(scratch);
        });
        self.fill(checkpoint_rows, |_, to, _| to.copy_from_slice(&checkpoints));
        let state = self.constant(self.rows(initial), self.width(initial), &state);
        Recurrence { rows: out, state }
    }

    /// A gated recurrent unit (Cho et al. 2014, 1406.1078, in the form of cuDNN and PyTorch): x_gates `[N, 3h]` holds the
    /// input's part of reset, update and candidate; initial `[B, h]` -> `[N, h]` and the final states.
    pub fn gru(&mut self, x_gates: Var, w_hh: Var, b_hh: Var, initial: Var, sequences: &[Range<usize>]) -> Recurrence {
        let (rows, hidden) = (self.rows(x_gates), self.width(initial));
        let mut state = self.value(initial).to_vec();
        let mut gate_values = vec![0.0; rows * 4 * hidden];
        let gates = self.saved(rows, 4 * hidden);
        let op = GruOp { x_gates, w_hh, b_hh, initial, gates, sequences: sequences.to_vec() };
        let out = self.operation(&[x_gates, w_hh, b_hh], rows, hidden, op, |tape, y, buffers| {
            let mut scratch = buffers.take(gru_scratch(hidden));
            let (x, w, b) = (tape.value(x_gates), tape.value(w_hh), tape.value(b_hh));
            let machine = tape.processor().machine();
            gru(machine, hidden, sequences, y, &mut gate_values, x, w, b, &mut state, &mut scratch);
            buffers.give(scratch);
        });
        self.fill(gates, |_, to, _| to.copy_from_slice(&gate_values));
        let state = self.constant(self.rows(initial), hidden, &state);
        Recurrence { rows: out, state }
    }
}

struct ScanOp {
    q: Var,
    k: Var,
    v: Var,
    gate: ScanGate,
    spec: Scan,
    sequences: Vec<Range<usize>>,
    checkpoints: Var,
    batch: usize,
}

impl Op for ScanOp {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let inputs = [Some(self.q), Some(self.k), Some(self.v), self.gate.var()];
        let mut gradients = inputs.map(|var| var.and_then(|var| pass.gradient(var)));
        let mut spares = [0, 1, 2].map(|i| match &gradients[i] {
            Some(_) => Vec::new(),
            None => vec![0.0; inputs[i].map_or(0, |var| pass.rows(var) * pass.width(var))],
        });
        let workers = pass.machine().executor.workers();
        let mut scratch = pass.scratch(scan::gated_scan_backward_scratch(self.spec, workers));
        let mut d_state = vec![0.0; self.batch * self.spec.heads * self.spec.d_k * self.spec.d_v];
        {
            let [d_q, d_k, d_v, d_gate] = &mut gradients;
            let [spare_q, spare_k, spare_v] = &mut spares;
            scan::gated_scan_backward(
                pass.machine(),
                self.spec,
                &self.sequences,
                d_q.as_mut().map_or(spare_q, |d| d.values()),
                d_k.as_mut().map_or(spare_k, |d| d.values()),
                d_v.as_mut().map_or(spare_v, |d| d.values()),
                d_gate.as_mut().map(|d| d.values()),
                &mut d_state,
                gradient,
                pass.value(self.q),
                pass.value(self.k),
                pass.value(self.v),
                self.gate.with_values(|var| pass.value(var)),
                pass.value(self.checkpoints),
                &mut scratch,
            );
        }
        gradients.into_iter().flatten().for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}

struct GruOp {
    x_gates: Var,
    w_hh: Var,
    b_hh: Var,
    initial: Var,
    gates: Var,
    sequences: Vec<Range<usize>>,
}

impl Op for GruOp {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let (rows, hidden) = (pass.rows(self.x_gates), pass.width(self.initial));
        let inputs = [self.x_gates, self.w_hh, self.b_hh];
        let mut gradients = inputs.map(|var| pass.gradient(var));
        let mut spares = [0, 1, 2].map(|i| match &gradients[i] {
            Some(_) => Vec::new(),
            None => vec![0.0; pass.rows(inputs[i]) * pass.width(inputs[i])],
        });
        let mut scratch = pass.scratch(gru_backward_scratch(hidden, rows));
        let mut d_state = vec![0.0; pass.rows(self.initial) * hidden];
        {
            let [d_x, d_w, d_b] = &mut gradients;
            let [spare_x, spare_w, spare_b] = &mut spares;
            gru_backward(
                pass.machine(),
                hidden,
                &self.sequences,
                d_x.as_mut().map_or(spare_x, |d| d.values()),
                d_w.as_mut().map_or(spare_w, |d| d.values()),
                d_b.as_mut().map_or(spare_b, |d| d.values()),
                &mut d_state,
                gradient,
                pass.value(output),
                pass.value(self.gates),
                pass.value(self.w_hh),
                pass.value(self.initial),
                &mut scratch,
            );
        }
        gradients.into_iter().flatten().for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}
