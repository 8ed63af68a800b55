//! Causal attention over one sequence, forward and with its backward, with products of f32 or of bf16. Half of the square is counted: `2 H L L D`
//! operations forward, 3.5 times that with the backward.

use super::{Figure, limits, time, values, zeros};
use attendant_core::kernels::attention::{
    Attention, BackwardInputs, Cells, Gradients, Run, Sequence, Span, backward, backward_scratch, forward, forward_scratch,
};
use attendant_core::{Precision, Processor};
use std::time::Duration;

/// Query heads.
pub const HEADS: usize = 32;

/// What to measure: every combination.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// Key heads.
    pub kv_heads: Vec<usize>,
    /// Widths of a head.
    pub widths: Vec<usize>,
    /// Lengths.
    pub lengths: Vec<usize>,
}

/// Every combination, forward and with its backward.
pub fn figures(processor: &Processor, shapes: &Shapes, precision: Precision, budget: Duration, mut each: impl FnMut(Figure)) {
    for &d in &shapes.widths {
        for &kv in &shapes.kv_heads {
            for &length in &shapes.lengths {
                figures_of(processor, precision, kv, d, length, budget).into_iter().for_each(&mut each);
            }
        }
    }
}

fn figures_of(processor: &Processor, precision: Precision, kv: usize, d: usize, length: usize, budget: Duration) -> [Figure; 2] {
    let (limit, dtype): (fn(&Processor) -> f64, _) = match precision {
        Precision::F32 => (limits::operations_per_second, "f32"),
        Precision::Bf16 => (limits::bf16_operations_per_second, "bf16"),
    };
    let (machine, spec) = (processor.machine(), Attention { precision, ..Attention::causal(HEADS, kv, d) });
    let (q, k, v) = (values(length * HEADS * d), values(length * kv * d), values(length * kv * d));
    let run = |data| [Run::by_token(0, length, Cells::F32(data), kv, d)];
    let (keys, rows) = ([run(&k), run(&v)], 0..length);
    let sequences = [Sequence { rows: rows.clone(), q_first: 0, k_end: length, keys: &keys[0], values: &keys[1] }];
    let spans = [Span { rows: rows.clone(), q_first: 0, k_rows: rows, k_first: 0 }];
    let (mut out, mut lse) = (zeros(q.len()), zeros(length * HEADS));
    let workers = machine.executor.workers();
    let mut scratch = zeros(forward_scratch(&spec, &sequences, workers));
    let operations = 2.0 * (HEADS * d) as f64 * (length * length) as f64;

    let before = limit(processor);
    let ahead = time(budget, || forward(machine, &spec, &sequences, &q, &mut out, Some(&mut lse), &mut scratch));
    let d_out = values(out.len());
    let [mut d_q, mut d_k, mut d_v] = [&q, &k, &v].map(|x| zeros(x.len()));
    let mut back_scratch = zeros(backward_scratch(&spec, &spans, workers));
    let both = time(budget, || {
        forward(machine, &spec, &sequences, &q, &mut out, Some(&mut lse), &mut scratch);
        let inputs = BackwardInputs { q: &q, k: &k, v: &v, out: &out, lse: &lse, d_out: &d_out };
        let gradients = Gradients { d_q: &mut d_q, d_k: &mut d_k, d_v: &mut d_v, d_bias: None, d_sink: None };
        backward(machine, &spec, &spans, inputs, gradients, &mut back_scratch);
    });
    let ceiling = before.max(limit(processor));
    [("prefill", ahead, operations), ("bwd", both, 3.5 * operations)].map(|(what, timing, operations)| {
        let figure = Figure::new(processor, what, dtype, timing).operations(operations, ceiling);
        Figure { kv: Some(kv), d: Some(d), length: Some(length), batch: Some(1), ..figure }
    })
}
