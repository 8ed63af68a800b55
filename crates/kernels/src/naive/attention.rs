use crate::attention::{Attention, BackwardInputs, Gradients, KEYS, Run, Sequence, Span, Statistics};
use half::bf16;
use std::f32::consts::LOG2_E;

/// q `[N, H * d_qk]` -> out `[N, H * d_v]`, lse `[N, H]`.
pub fn attention_forward(spec: &Attention<'_>, sequences: &[Sequence<'_>], q: &[f32], out: &mut [f32], lse: Option<&mut [f32]>) {
    forward(spec, sequences, q, out, lse, Operands::F32);
}

/// The same of operands rounded to bf16: scaled queries, keys, values, and weights relative to the largest score so far.
pub fn attention_forward_bf16(
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    out: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    forward(spec, sequences, &rounded_queries(spec, q), out, lse, Operands::Bf16);
}

/// What products multiply.
#[derive(Clone, Copy)]
enum Operands {
    F32,
    Bf16,
}

impl Operands {
    fn round(self, x: f32) -> f32 {
        match self {
            Operands::F32 => x,
            Operands::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }

    fn rounded(self, x: &[f32]) -> Vec<f32> {
        x.iter().map(|&x| self.round(x)).collect()
    }

    /// An operand that was computed.
    fn nearest(self, x: f64) -> f64 {
        match self {
            Operands::F32 => x,
            Operands::Bf16 => f64::from(self.round(x as f32)),
        }
    }

    /// What values are multiplied by, and the log-sum-exp, of the scores of ascending keys.
    fn weights(self, scores: &[(usize, f64)], sink: Option<f32>) -> (Vec<(usize, f64)>, f64) {
        let (probs, lse) = softmax(scores.to_vec(), sink);
        if let Operands::F32 = self {
            return (probs, lse);
        }
        let (mut max, mut all) = (f64::NEG_INFINITY, Vec::new());
        for tile in scores.chunk_by(|a, b| a.0 / KEYS == b.0 / KEYS) {
            max = tile.iter().map(|&(_, score)| score).fold(max, f64::max);
            all.extend(tile.iter().map(|&(k_pos, score)| (k_pos, self.nearest((score - max).exp()) * (max - lse).exp())));
        }
        (all, lse)
    }
}

/// Queries whose scores, in base 2 or ready for the cap, are those of rounded queries.
fn rounded_queries(spec: &Attention<'_>, q: &[f32]) -> Vec<f32> {
    let factor = spec.softcap.map_or(spec.scale * LOG2_E, |cap| spec.scale / cap);
    q.iter().map(|q| Operands::Bf16.round(q * factor) / factor).collect()
}

fn forward(
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    out: &mut [f32],
    mut lse: Option<&mut [f32]>,
    operands: Operands,
) {
    let row_at = |runs, k_pos, head, width| operands.rounded(&row_at(runs, k_pos, head, width));
    let Attention { heads, d_qk, d_v, .. } = *spec;
    for sequence in sequences {
        for (i, row) in sequence.rows.clone().enumerate() {
            let q_pos = sequence.q_first + i;
            for head in 0..heads {
                let q = &q[(row * heads + head) * d_qk..][..d_qk];
                let key_head = head / (heads / spec.kv_heads);
                let scores = spec.visible.spans(q_pos, sequence.k_end).into_iter().flatten().map(|k_pos| {
                    let key = row_at(sequence.keys, k_pos, key_head, d_qk);
                    (k_pos, Score::new(spec, head, q_pos, k_pos, q, &key).value)
                });
                let (weights, row_lse) = operands.weights(&scores.collect::<Vec<_>>(), spec.sink.map(|sink| sink[head]));
                let out = &mut out[(row * heads + head) * d_v..][..d_v];
                let mut sums = vec![0.0; d_v];
                for (k_pos, weight) in weights {
                    let values = row_at(sequence.values, k_pos, key_head, d_v);
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * f64::from(value));
                }
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
                if let Some(lse) = lse.as_deref_mut() {
                    lse[row * heads + head] = row_lse as f32;
                }
            }
        }
    }
}

/// The probabilities of every sequence, `[H, T, k_end]` each: zero where a key is not visible. A sink takes its share and has no
/// column.
pub fn attention_probs(spec: &Attention<'_>, sequences: &[Sequence<'_>], q: &[f32]) -> Vec<Vec<f32>> {
    let of_sequence = |sequence: &Sequence<'_>| {
        let mut all = vec![0.0; spec.heads * sequence.rows.len() * sequence.k_end];
        for head in 0..spec.heads {
            for (i, row) in sequence.rows.clone().enumerate() {
                let q_pos = sequence.q_first + i;
                let q = &q[(row * spec.heads + head) * spec.d_qk..][..spec.d_qk];
                let scores = spec.visible.spans(q_pos, sequence.k_end).into_iter().flatten().map(|k_pos| {
                    let key = row_at(sequence.keys, k_pos, head / (spec.heads / spec.kv_heads), spec.d_qk);
                    (k_pos, Score::new(spec, head, q_pos, k_pos, q, &key).value)
                });
                let (probs, _) = softmax(scores.collect(), spec.sink.map(|sink| sink[head]));
                let place = (head * sequence.rows.len() + i) * sequence.k_end;
                probs.into_iter().for_each(|(k_pos, prob)| all[place + k_pos] = prob as f32);
            }
        }
        all
    };
    sequences.iter().map(of_sequence).collect()
}

/// The statistics of [`crate::attention::statistics`], from all probabilities of a row at once.
pub fn attention_statistics(spec: &Attention<'_>, sequences: &[Sequence<'_>], q: &[f32], out: Statistics<'_>) {
    let Statistics { entropy, first, distance, top_keys, top_probs } = out;
    let top = top_keys.len() / entropy.len().max(1);
    for sequence in sequences {
        for (i, row) in sequence.rows.clone().enumerate() {
            let q_pos = sequence.q_first + i;
            for head in 0..spec.heads {
                let place = row * spec.heads + head;
                let q = &q[place * spec.d_qk..][..spec.d_qk];
                let scores = spec.visible.spans(q_pos, sequence.k_end).into_iter().flatten().map(|k_pos| {
                    let key = row_at(sequence.keys, k_pos, head / (spec.heads / spec.kv_heads), spec.d_qk);
                    (k_pos, Score::new(spec, head, q_pos, k_pos, q, &key).value)
                });
                let (mut probs, lse) = softmax(scores.collect(), spec.sink.map(|sink| sink[head]));
                let sink = spec.sink.map(|sink| (f64::from(sink[head]) - lse).exp());
                let surprise = |prob: f64| if prob > 0.0 { -prob * prob.ln() } else { 0.0 };
                let of_keys = probs.iter().map(|&(_, prob)| surprise(prob));
                entropy[place] = of_keys.chain(sink.map(surprise)).sum::<f64>() as f32;
                first[place] = probs.iter().find(|&&(k_pos, _)| k_pos == 0).map_or(0.0, |&(_, prob)| prob as f32);
                distance[place] = probs.iter().map(|&(k_pos, prob)| prob * (q_pos as f64 - k_pos as f64)).sum::<f64>() as f32;
                probs.sort_by(|a, b| b.1.total_cmp(&a.1));
                for n in 0..top {
                    let (k_pos, prob) = probs.get(n).map_or((u32::MAX, 0.0), |&(k_pos, prob)| (k_pos as u32, prob));
                    (top_keys[place * top + n], top_probs[place * top + n]) = (k_pos, prob as f32);
                }
            }
        }
    }
}

/// Adds the gradients. Computes the softmax and the outputs afresh: reads neither `out` nor `lse`.
pub fn attention_backward(spec: &Attention<'_>, spans: &[Span], inputs: BackwardInputs<'_>, gradients: Gradients<'_>) {
    backward(spec, spans, [inputs.q, inputs.q], inputs, gradients, Operands::F32);
}

/// The same of operands rounded to bf16: queries, as they are and scaled, keys, values, gradients of outputs, probabilities and gradients
/// of dot products; in the outputs, weights as [`attention_forward_bf16`] rounds them.
pub fn attention_backward_bf16(spec: &Attention<'_>, spans: &[Span], inputs: BackwardInputs<'_>, gradients: Gradients<'_>) {
    let scaled = rounded_queries(spec, inputs.q);
    let BackwardInputs { q, k, v, d_out, .. } = inputs;
    let [q, k, v, d_out] = [q, k, v, d_out].map(|x| Operands::Bf16.rounded(x));
    let rounded = BackwardInputs { q: &q, k: &k, v: &v, d_out: &d_out, ..inputs };
    backward(spec, spans, [&scaled, &q], rounded, gradients, Operands::Bf16);
}

/// Of the queries the first are those whose scores are taken, the second those that the keys' gradients are made of.
fn backward(
    spec: &Attention<'_>,
    spans: &[Span],
    [scored, q]: [&[f32]; 2],
    inputs: BackwardInputs<'_>,
    gradients: Gradients<'_>,
    operands: Operands,
) {
    let BackwardInputs { k, v, d_out, .. } = inputs;
    let Gradients { d_q, d_k, d_v, d_bias, d_sink } = gradients;
    let (heads, group) = (spec.heads, spec.heads / spec.kv_heads);
    let mut sums = [d_q.len(), d_k.len(), d_v.len()].map(|len| vec![0.0; len]);
    let mut bias_sum = vec![0.0; spec.bias.map_or(0, |bias| bias.table.len())];
    let mut sink_sum = vec![0.0; heads];
    for span in spans {
        for (i, row) in span.rows.clone().enumerate() {
            let q_pos = span.q_first + i;
            let visible = spec.visible.spans(q_pos, span.k_first + span.k_rows.len());
            for head in 0..heads {
                let q_at = (row * heads + head) * spec.d_qk;
                let key_at =
                    |k_pos: usize, width| ((span.k_rows.start + k_pos - span.k_first) * spec.kv_heads + head / group) * width;
                let score = |k_pos| {
                    let key = &k[key_at(k_pos, spec.d_qk)..][..spec.d_qk];
                    Score::new(spec, head, q_pos, k_pos, &scored[q_at..][..spec.d_qk], key)
                };
                let scores: Vec<_> = visible.clone().into_iter().flatten().map(|k_pos| (k_pos, score(k_pos).value)).collect();
                let sink = spec.sink.map(|sink| sink[head]);
                let (weights, lse) = operands.weights(&scores, sink);
                let (probs, _) = softmax(scores, sink);
                let d_out = &d_out[(row * heads + head) * spec.d_v..][..spec.d_v];
                let d_prob = |k_pos| dot(d_out, &v[key_at(k_pos, spec.d_v)..][..spec.d_v]);
                let delta: f64 = weights.iter().map(|&(k_pos, weight)| weight * d_prob(k_pos)).sum();
                for &(k_pos, prob) in &probs {
                    let d_score = prob * (d_prob(k_pos) - delta);
                    let d_dot = operands.nearest(d_score * score(k_pos).slope);
                    let k_at = key_at(k_pos, spec.d_qk);
                    for d in 0..spec.d_qk {
                        sums[0][q_at + d] += d_dot * f64::from(k[k_at + d]);
                        sums[1][k_at + d] += d_dot * f64::from(q[q_at + d]);
                    }
                    for d in 0..spec.d_v {
                        sums[2][key_at(k_pos, spec.d_v) + d] += operands.nearest(prob) * f64::from(d_out[d]);
                    }
                    if let Some(bias) = spec.bias {
                        bias_sum[bias_index(&bias, head, q_pos, k_pos)] += d_score;
                    }
                }
                if let Some(sink) = sink {
                    sink_sum[head] -= (f64::from(sink) - lse).exp() * delta;
                }
            }
        }
    }
    let [sum_q, sum_k, sum_v] = &sums;
    add(d_q, sum_q);
    add(d_k, sum_k);
    add(d_v, sum_v);
    if let Some(d_bias) = d_bias {
        add(d_bias, &bias_sum);
    }
    if let Some(d_sink) = d_sink {
        add(d_sink, &sink_sum);
    }
}

/// One score and its derivative by the dot product of query and key.
struct Score {
    value: f64,
    slope: f64,
}

impl Score {
    fn new(spec: &Attention<'_>, head: usize, q_pos: usize, k_pos: usize, q: &[f32], key: &[f32]) -> Score {
        let scale = f64::from(spec.scale);
        let scaled = scale * dot(q, key);
        let (capped, slope) = match spec.softcap.map(f64::from) {
            Some(cap) => (cap * (scaled / cap).tanh(), scale * (1.0 - (scaled / cap).tanh().powi(2))),
            None => (scaled, scale),
        };
        let bias = spec.bias.map_or(0.0, |bias| f64::from(bias.table[bias_index(&bias, head, q_pos, k_pos)]));
        Score { value: capped + bias, slope }
    }
}

fn bias_index(bias: &crate::attention::DistanceBias<'_>, head: usize, q_pos: usize, k_pos: usize) -> usize {
    let distance = k_pos as isize - q_pos as isize - bias.first;
    assert!((0..bias.width as isize).contains(&distance), "bias of distance {}", k_pos as isize - q_pos as isize);
    head * bias.width + distance as usize
}

fn softmax(scores: Vec<(usize, f64)>, sink: Option<f32>) -> (Vec<(usize, f64)>, f64) {
    let sink = sink.map_or(f64::NEG_INFINITY, f64::from);
    let max = scores.iter().map(|&(_, score)| score).fold(sink, f64::max);
    if max == f64::NEG_INFINITY {
        return (scores.into_iter().map(|(k_pos, _)| (k_pos, 0.0)).collect(), max);
    }
    let sum = scores.iter().map(|&(_, score)| (score - max).exp()).sum::<f64>() + (sink - max).exp();
    (scores.into_iter().map(|(k_pos, score)| (k_pos, (score - max).exp() / sum)).collect(), max + sum.ln())
}

fn row_at(runs: &[Run<'_>], pos: usize, head: usize, width: usize) -> Vec<f32> {
    let run = runs.iter().find(|run| (run.first..run.first + run.rows).contains(&pos));
    let run = run.unwrap_or_else(|| panic!("no run holds position {pos}"));
    run.values(pos - run.first, head, width)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn add(to: &mut [f32], sum: &[f64]) {
    for (to, sum) in to.iter_mut().zip(sum) {
        *to = (f64::from(*to) + sum) as f32;
    }
}
