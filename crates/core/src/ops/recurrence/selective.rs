//! The selective scan of Mamba.

use super::Recurrence;
use crate::ops::target::Target;
use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::selective::{
    SelectiveScan, selective_scan, selective_scan_backward, selective_scan_backward_scratch, selective_scan_checkpoints,
};
use std::ops::Range;

/// What a selective scan reads beside its rows `x [N, D]`.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Step sizes `[N, D]`, positive.
    pub dt: Var,
    /// Rates `[D, S]`, negative.
    pub a: Var,
    /// What is written, `[N, G * S]`.
    pub b: Var,
    /// What is read, `[N, G * S]`.
    pub c: Var,
    /// What passes by the state, one factor for each of the D channels.
    pub skip: Option<Var>,
}

impl Tape {
    /// h <- exp(dt A) h + dt B x; y = C . h + D x, per channel (Gu & Dao 2023, 2312.00752): x `[N, D]`, initial `[B, D * S]` ->
    /// `[N, D]` and the final states.
    pub fn selective_scan(
        &mut self,
        x: Var,
        selection: Selection,
        initial: Var,
        spec: SelectiveScan,
        sequences: &[Range<usize>],
    ) -> Recurrence {
        let shape = [self.rows(x), self.width(x)];
        let batch = self.rows(initial);
        let state_len = batch * self.width(initial);
        let saved = if self.recording() { selective_scan_checkpoints(spec, sequences) } else { 0 };
        let Selection { dt, a, b, c, skip } = selection;
        let inputs = [x, dt, a, b, c];
        let all = [x, dt, a, b, c, skip.unwrap_or(x)];
        // One row of saved values: the final states, then the states that the backward starts from.
        let op = |saved| SelectiveOp { inputs, skip, spec, sequences: sequences.to_vec(), saved, state_len };
        let (out, kept) = self.operation_saving(&all, shape, [1, state_len + saved], op, |tape, y, kept, _| {
            let (state, checkpoints) = kept.split_at_mut(state_len);
            state.copy_from_slice(tape.value(initial));
            let [x, dt, a, b, c] = inputs.map(|var| tape.value(var));
            let skip = skip.map(|var| tape.value(var));
            let checkpoints = (saved > 0).then_some(checkpoints);
            selective_scan(tape.processor().machine(), spec, sequences, y, state, x, dt, a, b, c, skip, checkpoints);
        });
        Recurrence { rows: out, state: self.final_states(kept, [batch, state_len / batch.max(1)]) }
    }
}

struct SelectiveOp {
    /// x, dt, a, b and c.
    inputs: [Var; 5],
    skip: Option<Var>,
    spec: SelectiveScan,
    sequences: Vec<Range<usize>>,
    saved: Var,
    state_len: usize,
}

impl Op for SelectiveOp {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let (rows, workers) = (pass.rows(self.inputs[0]), pass.machine().executor.workers());
        let mut scratch = pass.scratch(selective_scan_backward_scratch(self.spec, &self.sequences, rows, workers));
        let mut d_state = pass.scratch(self.state_len);
        d_state.fill(0.0);
        let mut targets = self.inputs.map(|var| Target::new(pass, var));
        let mut d_skip = self.skip.and_then(|var| pass.gradient(var));
        let [d_x, d_dt, d_a, d_b, d_c] = targets.each_mut().map(Target::values);
        let [x, dt, a, b, c] = self.inputs.map(|var| pass.value(var));
        selective_scan_backward(
            pass.machine(),
            self.spec,
            &self.sequences,
            d_x,
            d_dt,
            d_a,
            d_b,
            d_c,
            d_skip.as_mut().map(|d| d.values()),
            &mut d_state,
            gradient,
            x,
            dt,
            a,
            b,
            c,
            self.skip.map(|var| pass.value(var)),
            &pass.value(self.saved)[self.state_len..],
            &mut scratch,
        );
        targets.into_iter().for_each(|target| target.put(pass));
        d_skip.into_iter().for_each(|d| pass.put(d));
        pass.give(d_state);
        pass.give(scratch);
    }
}
