//! The gated delta rule.

use super::Recurrence;
use crate::ops::target::Target;
use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::delta::{
    gated_delta, gated_delta_backward, gated_delta_backward_scratch, gated_delta_checkpoints, gated_delta_scratch,
};
use attendant_kernels::scan::Scan;
use std::ops::Range;

impl Tape {
    /// S <- decay S; S <- S + k (beta (v - S^T k))^T; out = S^T q, per head (Yang et al. 2024, 2412.06464): q and k
    /// `[N, H * d_k]`, v `[N, H * d_v]`, decay and beta `[N, H]`, initial `[B, H * d_k * d_v]` -> `[N, H * d_v]` and the final
    /// states. Keys longer than 1 make the states grow without bound.
    pub fn gated_delta(
        &mut self,
        q: Var,
        k: Var,
        v: Var,
        decay: Var,
        beta: Var,
        initial: Var,
        spec: Scan,
        sequences: &[Range<usize>],
    ) -> Recurrence {
        let (rows, width) = (self.rows(q), spec.heads * spec.d_v);
        let batch = self.rows(initial);
        let state_len = batch * self.width(initial);
        let saved = if self.recording() { gated_delta_checkpoints(spec, sequences) } else { 0 };
        let inputs = [q, k, v, decay, beta];
        // One row of saved values: the final states, then the states that the backward starts from.
        let op = |saved| DeltaOp { inputs, spec, sequences: sequences.to_vec(), saved, state_len };
        let (shape, kept) = ([rows, width], [1, state_len + saved]);
        let (out, kept) = self.operation_saving(&inputs, shape, kept, op, |tape, y, kept, buffers| {
            let machine = tape.processor().machine();
            let mut scratch = buffers.take(gated_delta_scratch(spec, machine.executor.workers()));
            let (state, checkpoints) = kept.split_at_mut(state_len);
            state.copy_from_slice(tape.value(initial));
            let [q, k, v, decay, beta] = inputs.map(|var| tape.value(var));
            let checkpoints = (saved > 0).then_some(checkpoints);
            gated_delta(machine, spec, sequences, y, state, q, k, v, decay, beta, checkpoints, &mut scratch);
            buffers.give(scratch);
        });
        Recurrence { rows: out, state: self.final_states(kept, [batch, state_len / batch.max(1)]) }
    }
}

struct DeltaOp {
    /// q, k, v, decay and beta.
    inputs: [Var; 5],
    spec: Scan,
    sequences: Vec<Range<usize>>,
    saved: Var,
    state_len: usize,
}

impl Op for DeltaOp {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let workers = pass.machine().executor.workers();
        let mut scratch = pass.scratch(gated_delta_backward_scratch(self.spec, workers));
        let mut d_state = pass.scratch(self.state_len);
        d_state.fill(0.0);
        let mut targets = self.inputs.map(|var| Target::new(pass, var));
        let [d_q, d_k, d_v, d_decay, d_beta] = targets.each_mut().map(Target::values);
        let [q, k, v, decay, beta] = self.inputs.map(|var| pass.value(var));
        gated_delta_backward(
            pass.machine(),
            self.spec,
            &self.sequences,
            d_q,
            d_k,
            d_v,
            d_decay,
            d_beta,
            &mut d_state,
            gradient,
            q,
            k,
            v,
            decay,
            beta,
            &pass.value(self.saved)[self.state_len..],
            &mut scratch,
        );
        targets.into_iter().for_each(|target| target.put(pass));
        pass.give(d_state);
        pass.give(scratch);
    }
}
