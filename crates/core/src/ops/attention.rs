//! Softmax attention over rows on the tape and, when nothing records, over rows of the past in place.

use super::target::Target;
use crate::tape::{Activations, Backward, Op, Tape, Var};
use attendant_kernels::attention::{
    Attention, BackwardInputs, Cells, DistanceBias, Gradients, Run, Sequence, Span, Visible, backward, backward_scratch, forward,
    forward_scratch, gains_by_bf16,
};
use attendant_kernels::{Precision, naive};

/// What one attention computes; see [`Attention`] for each field.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Width of a query or key, per head.
    pub d_qk: usize,
    /// Width of a value, per head.
    pub d_v: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Which keys a query sees.
    pub visible: Visible,
    /// Cap of the scores.
    pub softcap: Option<f32>,
    /// `[H, width]` bias by distance, and the smallest `k_pos - q_pos` it holds.
    pub bias: Option<(Var, isize)>,
    /// `[H]` learned sink.
    pub sink: Option<Var>,
}

/// Keys or values of every sequence: rows of the past in place, then new rows on the tape.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Past rows, for each sequence; empty when there is no past at all.
    pub past: &'a [Vec<Run<'a>>],
    /// New rows `[Nk, kv_heads * width]`, where `width` may exceed what is read of it (values as a prefix of keys).
    pub new: Var,
}

impl Softmax {
    fn with_values<'a>(&self, precision: Precision, value: impl Fn(Var) -> &'a [f32]) -> Attention<'a> {
        let bias = self.bias.map(|(table, first)| {
            let table = value(table);
            DistanceBias { table, first, width: table.len() / self.heads }
        });
        Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_qk: self.d_qk,
            d_v: self.d_v,
            scale: self.scale,
            visible: self.visible,
            softcap: self.softcap,
            bias,
            sink: self.sink.map(value),
            precision,
        }
    }
}

impl Tape {
    /// q `[N, H * d_qk]`, keys and values of every sequence -> `[N, H * d_v]`. `spans` says which rows belong to which sequence,
    /// and at which position the new keys begin. What its products multiply, forward and backward, is rounded as
    /// [`Tape::precision`] says; to bf16 too if that is faster for every span ([`gains_by_bf16`]), where rows are rounded to bytes on meeting
    /// weights of few bits.
    ///
    /// # Panics
    /// If shapes do not agree, or if the tape records and there is a past: make it rows on the tape first.
    pub fn attention(&mut self, q: Var, keys: Keys<'_>, values: Keys<'_>, spec: &Softmax, spans: &[Span]) -> Var {
        let rows = self.rows(q);
        assert!(!self.recording() || keys.past.is_empty(), "attention: a past in place has no backward");
        let (bias, sink) = (spec.bias.map(|(table, _)| table), spec.sink);
        let inputs = [q, keys.new, values.new, bias.unwrap_or(q), sink.unwrap_or(q)];
        let saved = if self.recording() { rows } else { 0 };
        let op = |lse| Attend { q, k: keys.new, v: values.new, lse, spec: spec.clone(), spans: spans.to_vec() };
        let shape = [rows, spec.heads * spec.d_v];
        let (y, _) = self.operation_saving(&inputs, shape, [saved, spec.heads], op, |tape, y, lse, buffers| {
            let mut attention = spec.with_values(tape.precision(), |var| tape.value(var));
            let machine = tape.processor().machine();
            let lse = tape.recording().then_some(lse);
            let rounds = !tape.recording() && tape.activations() == Activations::Int8 && tape.has_few_bits();
            tape.with_sequences(spec.kv_heads, keys, values, spans, |sequences| {
                if rounds && sequences.iter().all(|sequence| gains_by_bf16(machine.isa, &attention, sequence)) {
                    attention.precision = Precision::Bf16;
                }
                let mut scratch = buffers.take(forward_scratch(&attention, sequences, machine.executor.workers()));
                forward(machine, &attention, sequences, tape.value(q), y, lse, &mut scratch);
                buffers.give(scratch);
            });
        });
        y
    }

    /// The probabilities of the same attention, `[H, T, L]` for every span: for looking at, computed plainly. `L` is the largest
    /// key position plus one; what a query does not see is zero, and a sink has no column.
    pub fn attention_probs(&self, q: Var, keys: Keys<'_>, spec: &Softmax, spans: &[Span]) -> Vec<Vec<f32>> {
        let attention = spec.with_values(self.precision(), |var| self.value(var));
        let probs = |sequences: &[Sequence<'_>]| naive::attention_probs(&attention, sequences, self.value(q));
        self.with_sequences(spec.kv_heads, keys, keys, spans, probs)
    }

    fn with_sequences<T>(
        &self,
        kv_heads: usize,
        keys: Keys<'_>,
        values: Keys<'_>,
        spans: &[Span],
        read: impl FnOnce(&[Sequence<'_>]) -> T,
    ) -> T {
        let runs: Vec<[Vec<Run<'_>>; 2]> =
            (0..spans.len()).map(|i| [keys, values].map(|rows| rows.runs(self, kv_heads, i, &spans[i]))).collect();
        let sequences: Vec<Sequence<'_>> = spans
            .iter()
            .zip(&runs)
            .map(|(span, [keys, values])| Sequence {
                rows: span.rows.clone(),
                q_first: span.q_first,
                k_end: keys.iter().map(|run| run.first + run.rows).max().unwrap_or(0),
                keys,
                values,
            })
            .collect();
        read(&sequences)
    }
}

impl<'a> Keys<'a> {
    /// Every row of one sequence that a query may see, in ascending position.
    fn runs(&self, tape: &'a Tape, heads: usize, index: usize, span: &Span) -> Vec<Run<'a>> {
        let width = tape.width(self.new);
        let mut runs = self.past.get(index).cloned().unwrap_or_default();
        if !span.k_rows.is_empty() {
            let data = Cells::F32(&tape.value(self.new)[span.k_rows.start * width..span.k_rows.end * width]);
            let (first, rows) = (span.k_first, span.k_rows.len());
            runs.push(Run::by_token(first, rows, data, heads, width / heads));
        }
        runs
    }
}

struct Attend {
    q: Var,
    k: Var,
    v: Var,
    lse: Var,
    spec: Softmax,
    spans: Vec<Span>,
}

impl Op for Attend {
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]) {
        let mut targets = [self.q, self.k, self.v].map(|var| Target::new(pass, var));
        let bias = self.spec.bias.map(|(table, _)| table);
        let mut extras = [bias, self.spec.sink].map(|var| var.and_then(|var| pass.gradient(var)));
        let (workers, precision) = (pass.machine().executor.workers(), pass.precision());
        let mut scratch =
            pass.scratch(backward_scratch(&self.spec.with_values(precision, |var| pass.value(var)), &self.spans, workers));
        let spec = self.spec.with_values(precision, |var| pass.value(var));
        let inputs = BackwardInputs {
            q: pass.value(self.q),
            k: pass.value(self.k),
            v: pass.value(self.v),
            out: pass.value(output),
            lse: pass.value(self.lse),
            d_out: gradient,
        };
        let [d_q, d_k, d_v] = targets.each_mut().map(Target::values);
        let [d_bias, d_sink] = extras.each_mut().map(|extra| extra.as_mut().map(|d| d.values()));
        let gradients = Gradients { d_q, d_k, d_v, d_bias, d_sink };
        backward(pass.machine(), &spec, &self.spans, inputs, gradients, &mut scratch);
        targets.into_iter().for_each(|target| target.put(pass));
        extras.into_iter().flatten().for_each(|d| pass.put(d));
        pass.give(scratch);
    }
}
