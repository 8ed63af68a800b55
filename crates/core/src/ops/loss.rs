//! Softmax cross-entropy.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::loss::{IGNORE, cross_entropy, cross_entropy_backward};

impl Tape {
    /// logits `[N, vocab]`, targets `[N]` -> the mean cross-entropy of the rows whose target is not [`IGNORE`], in nats, `[1, 1]`.
    ///
    /// # Panics
    /// If there are not `N` targets, all are ignored, or one is not below `vocab`.
    pub fn cross_entropy(&mut self, logits: Var, targets: &[u32]) -> Var {
        let (rows, vocab) = (self.rows(logits), self.width(logits));
        let counted = targets.iter().filter(|&&target| target != IGNORE).count();
        assert!(
            targets.len() == rows && counted > 0,
            "cross_entropy: {} targets, {counted} counted, for {rows} rows",
            targets.len()
        );
        let op = |lse| CrossEntropy { logits, lse, targets: targets.to_vec(), counted };
        let (loss, _) = self.operation_saving(&[logits], [1, 1], [1, rows], op, |tape, y, lse, buffers| {
            let mut losses = buffers.take(rows);
            cross_entropy(tape.processor().machine(), &mut losses, lse, tape.value(logits), targets, vocab);
            y[0] = (losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / counted as f64) as f32;
            buffers.give(losses);
        });
        loss
    }
}

struct CrossEntropy {
    logits: Var,
    lse: Var,
    targets: Vec<u32>,
    counted: usize,
}

impl Op for CrossEntropy {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let vocab = pass.width(self.logits);
        if let Some(mut d_logits) = pass.gradient(self.logits) {
            let mut weights = pass.scratch(self.targets.len());
            weights.fill(gradient[0] / self.counted as f32);
            let (logits, lse) = (pass.value(self.logits), pass.value(self.lse));
            cross_entropy_backward(pass.machine(), d_logits.values(), logits, lse, &self.targets, &weights, vocab);
            pass.put(d_logits);
            pass.give(weights);
        }
    }
}
