//! Backward against the twin and against PyTorch.

use crate::case::Spec;
use crate::check::{
    INTERPRETED, Random, affordable, assert_close, assert_close_at, assert_same_bits, bound, for_random_cases, machines, poison,
    shapes,
};
use crate::oracle::{self, FILES, Oracle};
use attendant_kernels::attention::{
    self, BackwardInputs, Cells, Run, Sequence, Span, Visible, backward, backward_scratch, forward, forward_scratch,
};
use attendant_kernels::{Machine, Precision, naive};
use std::ops::Range;

/// A training batch.
pub(crate) struct Batch {
    pub(crate) spec: Spec,
    spans: Vec<Span>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    d_out: Vec<f32>,
}

/// Gradients of one batch: d_q, d_k, d_v, d_bias, d_sink.
pub(crate) type BatchGradients = [Vec<f32>; 5];

pub(crate) const NAMES: [&str; 5] = ["d_q", "d_k", "d_v", "d_bias", "d_sink"];

impl Batch {
    pub(crate) fn random(random: &mut Random) -> Batch {
        let spec = Spec::random(random);
        let (mut rows, mut key_rows) = (0, 0);
        let count = random.in_range(1..=if INTERPRETED { 2 } else { 3 });
        let spans = (0..count).map(|_| random_span(random, &spec, &mut rows, &mut key_rows)).collect();
        Batch::new(random, spec, spans, rows, key_rows)
    }

    pub(crate) fn new(random: &mut Random, spec: Spec, spans: Vec<Span>, rows: usize, key_rows: usize) -> Batch {
        Batch {
            q: random.values(rows * spec.heads * spec.d_qk),
            k: random.values(key_rows * spec.kv_heads * spec.d_qk),
            v: random.values(key_rows * spec.kv_heads * spec.d_v),
            d_out: random.values(rows * spec.heads * spec.d_v),
            spans,
            spec,
        }
    }

    /// `out` and `lse`.
    pub(crate) fn forward(&self, machine: Machine<'_>) -> [Vec<f32>; 2] {
        let Spec { heads, kv_heads, d_qk, d_v, .. } = self.spec;
        let run = |span: &Span, data: &'_ [f32], width: usize| {
            let (first, rows) = (span.k_first, span.k_rows.len());
            (first, rows, span.k_rows.start * kv_heads * width, data.len())
        };
        let runs: Vec<[Run<'_>; 2]> = self
            .spans
            .iter()
            .map(|span| {
                [(&self.k, d_qk), (&self.v, d_v)].map(|(data, width)| {
                    let (first, rows, start, end) = run(span, data, width);
                    Run::by_token(first, rows, Cells::F32(&data[start..end]), kv_heads, width)
                })
            })
            .collect();
        let sequences: Vec<_> = self
            .spans
            .iter()
            .zip(&runs)
            .map(|(span, [keys, values])| Sequence {
                rows: span.rows.clone(),
                q_first: span.q_first,
                k_end: span.k_first + span.k_rows.len(),
                keys: std::slice::from_ref(keys),
                values: std::slice::from_ref(values),
            })
            .collect();
        let rows = self.q.len() / (heads * d_qk);
        let (mut out, mut lse) = (poison(rows * heads * d_v), poison(rows * heads));
        let (spec, workers) = (self.spec.view(), machine.executor.workers());
        let mut scratch = poison(forward_scratch(&spec, &sequences, workers));
        forward(machine, &spec, &sequences, &self.q, &mut out, Some(&mut lse), &mut scratch);
        [out, lse]
    }

    /// What every gradient starts from: backward adds.
    fn start(&self) -> BatchGradients {
        let Spec { bias, sink, .. } = &self.spec;
        let sizes = [
            self.q.len(),
            self.k.len(),
            self.v.len(),
            bias.as_ref().map_or(0, |(table, ..)| table.len()),
            sink.as_ref().map_or(0, Vec::len),
        ];
        sizes.map(|size| (0..size).map(|i| (1 + i % 5) as f32 * 0.25).collect())
    }

    pub(crate) fn backward(&self, machine: Machine<'_>, [out, lse]: &[Vec<f32>; 2]) -> BatchGradients {
        let mut gradients = self.start();
        let [d_q, d_k, d_v, d_bias, d_sink] = &mut gradients;
        let spec = self.spec.view();
        let mut scratch = poison(backward_scratch(&spec, &self.spans, machine.executor.workers()));
        let (d_bias, d_sink) = (spec.bias.map(|_| d_bias.as_mut_slice()), spec.sink.map(|_| d_sink.as_mut_slice()));
        let Batch { spans, q, k, v, d_out, .. } = self;
        let inputs = BackwardInputs { q, k, v, out, lse, d_out };
        backward(machine, &spec, spans, inputs, attention::Gradients { d_q, d_k, d_v, d_bias, d_sink }, &mut scratch);
        gradients
    }

    pub(crate) fn twin(&self) -> BatchGradients {
        let mut gradients = self.start();
        let [d_q, d_k, d_v, d_bias, d_sink] = &mut gradients;
        let spec = self.spec.view();
        let (d_bias, d_sink) = (spec.bias.map(|_| d_bias.as_mut_slice()), spec.sink.map(|_| d_sink.as_mut_slice()));
        let Batch { spans, q, k, v, d_out, .. } = self;
        let inputs = BackwardInputs { q, k, v, out: &[], lse: &[], d_out };
        naive::attention_backward(&spec, spans, inputs, attention::Gradients { d_q, d_k, d_v, d_bias, d_sink });
        gradients
    }
}

/// A span whose queries see only keys that it has: now and then its keys begin where its queries' chunk or window does.
fn random_span(random: &mut Random, spec: &Spec, rows: &mut usize, key_rows: &mut usize) -> Span {
    let t = affordable(random.pick(&[0, 1, 5, 17, 63, 65, 100, 140, 200, 300]));
    let q_first = affordable(random.pick(&[0, 0, 0, 7, 150]));
    let k_end = if random.chance(3) { random.in_range(0..=q_first + t + 20) } else { q_first + t };
    let k_first = match spec.visible {
        Visible::Chunk(size) => (q_first / size * size).min(k_end),
        Visible::Near(n) => q_first.saturating_sub(n).min(k_end),
        Visible::Window { window, keep: 0 } => (q_first + 1).saturating_sub(window).min(k_end),
        _ => 0,
    };
    let gap = random.pick(&[0, 0, 3]);
    let take = |from: &mut usize, count: usize| -> Range<usize> {
        let start = *from + gap;
        *from = start + count;
        start..*from
    };
    Span { rows: take(rows, t), q_first, k_rows: take(key_rows, k_end - k_first), k_first }
}

fn check_against_twin(batch: &Batch) {
    let want = batch.twin();
    let mut one_thread = BatchGradients::default();
    for machine in machines() {
        let got = batch.backward(machine, &batch.forward(machine));
        for i in 0..NAMES.len() {
            let what = format!("{} on {:?}, {} workers: {:?}", NAMES[i], machine.isa, machine.executor.workers(), batch.spec);
            // Where sums are few all may cancel: those of a sink, over all rows, have terms of order one, those of queries and keys
            // of one value terms of the order of the scale.
            let scale = match NAMES[i] {
                "d_sink" => 1.0,
                "d_q" | "d_k" => f64::from(batch.spec.view().scale.abs()),
                _ => 0.0,
            };
            assert_close_at(&what, &got[i], &want[i], scale, bound::ATTENTION_GRADIENT);
            if machine.executor.workers() == 2 {
                assert_same_bits(&what, &got[i], &one_thread[i]);
            }
        }
        one_thread = got;
    }
}

#[test]
fn random_batches_agree_with_the_twin() {
    for_random_cases(60, |random| check_against_twin(&Batch::random(random)));
}

#[test]
fn published_widths_agree_with_the_twin() {
    for_random_cases(1, |random| {
        for (d_qk, d_v) in shapes([(32, 32), (64, 64), (128, 128), (192, 128)]) {
            let mut spec = Spec::random(random);
            let (kv_heads, rows) = if INTERPRETED { (1, 7) } else { (2, 150) };
            (spec.heads, spec.kv_heads, spec.d_qk, spec.d_v) = (2 * kv_heads, kv_heads, d_qk, d_v);
            (spec.bias, spec.sink, spec.visible) = (None, None, Visible::Causal);
            let spans = vec![Span { rows: 0..rows, q_first: 0, k_rows: 0..rows, k_first: 0 }];
            check_against_twin(&Batch::new(random, spec, spans, rows, rows));
        }
    });
}

#[test]
fn a_span_alone_has_the_bits_it_has_in_company() {
    for_random_cases(20, |random| {
        let mut batch = Batch::random(random);
        let machine = random.pick(&machines());
        let together = batch.backward(machine, &batch.forward(machine));
        let start = batch.start();
        let alone = batch.spans.swap_remove(random.below(batch.spans.len()));
        let Spec { heads, kv_heads, d_qk, d_v, .. } = batch.spec;
        batch.spans = vec![alone.clone()];
        let got = batch.backward(machine, &batch.forward(machine));
        let parts = [(alone.rows, heads * d_qk), (alone.k_rows.clone(), kv_heads * d_qk), (alone.k_rows, kv_heads * d_v)];
        for (i, (rows, width)) in parts.into_iter().enumerate() {
            let own = rows.start * width..rows.end * width;
            assert_same_bits(NAMES[i], &got[i][own.clone()], &together[i][own.clone()]);
            assert_same_bits("before the span", &got[i][..own.start], &start[i][..own.start]);
            assert_same_bits("after the span", &got[i][own.end..], &start[i][own.end..]);
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "too many operations for an interpreter")]
fn gradients_agree_with_pytorch() {
    for (name, visible, q_first, k_ends) in FILES {
        let oracle = Oracle::read(name);
        let spec = oracle::spec(&oracle, visible);
        let (t, keys) = (oracle.shape("q")[2], oracle.shape("k")[2]);
        let spans = (0..2)
            .map(|b| Span { rows: b * t..(b + 1) * t, q_first, k_rows: b * keys..b * keys + k_ends[b], k_first: 0 })
            .collect();
        let [q, k, v, d_out] = ["q", "k", "v", "dout"].map(|name| oracle.rows(name));
        let mut batch = Batch { spec, spans, q, k, v, d_out };
        check_against_pytorch(&batch, &oracle, name, bound::ATTENTION_GRADIENT);
        // Large scores of rounded queries and keys are far off.
        if name != "big_scores" {
            batch.spec.precision = Precision::Bf16;
            check_against_pytorch(&batch, &oracle, name, bound::BF16_FOR_F32);
        }
    }
}

fn check_against_pytorch(batch: &Batch, oracle: &Oracle, name: &str, bound: f64) {
    for machine in machines() {
        let got = batch.backward(machine, &batch.forward(machine));
        let start = batch.start();
        for (i, want) in ["dq", "dk", "dv"].into_iter().enumerate() {
            let got: Vec<f32> = got[i].iter().zip(&start[i]).map(|(got, start)| got - start).collect();
            let what = format!("{want} of {name} on {:?}", machine.isa);
            assert_close(&what, &got, &oracle.rows(want), bound);
        }
        if let Some(want) = oracle.get("dsink") {
            let want: Vec<f32> = want.iter().zip(&start[4]).map(|(want, start)| want + start).collect();
            assert_close("dsink", &got[4], &want, bound);
        }
    }
}

#[test]
fn gradients_of_scores_of_ten_thousand_stay_finite() {
    for_random_cases(4, |random| {
        let mut spec = Spec::random(random);
        (spec.softcap, spec.bias, spec.visible) = (None, None, Visible::Causal);
        spec.scale = 1e4 / spec.d_qk as f32;
        let rows = affordable(70);
        let spans = vec![Span { rows: 0..rows, q_first: 0, k_rows: 0..rows, k_first: 0 }];
        let batch = Batch::new(random, spec, spans, rows, rows);
        for machine in machines() {
            let gradients = batch.backward(machine, &batch.forward(machine));
            assert!(gradients.iter().flatten().all(|value| value.is_finite()));
        }
    });
}

/// Scores of 1e8 are rounded to eights, and the backward adds their terms in another order than the forward did.
#[test]
fn scores_rounded_in_another_order_give_no_probability_above_one() {
    for_random_cases(20, |random| {
        let mut spec = Spec::random(random);
        (spec.softcap, spec.bias, spec.sink, spec.visible) = (None, None, None, Visible::All);
        spec.scale = 1e8;
        let rows = affordable(70);
        let spans = vec![Span { rows: 0..rows, q_first: 0, k_rows: 0..rows, k_first: 0 }];
        let batch = Batch::new(random, spec, spans, rows, rows);
        for machine in machines() {
            let gradients = batch.backward(machine, &batch.forward(machine));
            assert!(gradients.iter().flatten().all(|value| value.is_finite()));
        }
    });
}
