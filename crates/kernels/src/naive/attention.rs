use crate::Precision;
use crate::attention::{
    Attention, BackwardInputs, Gradients, KEYS, Run, SLACK, Sequence, Span, Statistics, is_in_place, keys, part,
};
use crate::pairs::Pair;
use half::bf16;
use std::f32::consts::{LN_2, LOG2_E};
use std::iter::zip;

/// q `[N, H * d_qk]` -> out `[N, H * d_v]`, lse `[N, H]`.
pub fn attention_forward(
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    out: &mut [f32],
    mut lse: Option<&mut [f32]>,
) {
    let q = scored_queries(spec, q);
    for (sequence, i, head) in rows_and_heads(spec, sequences) {
        let place = (sequence.rows.start + i) * spec.heads + head;
        let tiles = if is_in_place(spec, sequence) { Tiles { keys: KEYS, part: part(spec) } } else { Tiles::OF_MANY_ROWS };
        let (weights, row_lse) = weights(spec, &scores(spec, sequence, &q, i, head), head, tiles);
        let mut sums = vec![0.0; spec.d_v];
        for (k_pos, weight) in weights {
            let values = stored(spec, &row_at(sequence.values, k_pos, key_head(spec, head), spec.d_v), sequence);
            zip(&mut sums, values).for_each(|(sum, value)| *sum += weight * f64::from(value));
        }
        zip(&mut out[place * spec.d_v..], sums).for_each(|(out, sum)| *out = sum as f32);
        if let Some(lse) = lse.as_deref_mut() {
            lse[place] = row_lse as f32;
        }
    }
}

/// The probabilities of every sequence, `[H, T, k_end]` each: zero where a key is not visible. A sink takes its share and has no
/// column.
pub fn attention_probs(spec: &Attention<'_>, sequences: &[Sequence<'_>], q: &[f32]) -> Vec<Vec<f32>> {
    let q = scored_queries(spec, q);
    let of_sequence = |sequence: &Sequence<'_>| {
        let mut all = vec![0.0; spec.heads * sequence.rows.len() * sequence.k_end];
        for (sequence, i, head) in rows_and_heads(spec, std::slice::from_ref(sequence)) {
            let (probs, _) = softmax(scores(spec, sequence, &q, i, head), spec.sink.map(|sink| sink[head]));
            let place = (head * sequence.rows.len() + i) * sequence.k_end;
            probs.into_iter().for_each(|(k_pos, prob)| all[place + k_pos] = prob as f32);
        }
        all
    };
    sequences.iter().map(of_sequence).collect()
}

/// The statistics of [`crate::attention::statistics`], from all probabilities of a row at once.
pub fn attention_statistics(spec: &Attention<'_>, sequences: &[Sequence<'_>], q: &[f32], out: Statistics<'_>) {
    let Statistics { entropy, first, distance, top_keys, top_probs } = out;
    let top = top_keys.len() / entropy.len().max(1);
    let q = scored_queries(spec, q);
    for (sequence, i, head) in rows_and_heads(spec, sequences) {
        let place = (sequence.rows.start + i) * spec.heads + head;
        let q_pos = sequence.q_first + i;
        let (mut probs, lse) = softmax(scores(spec, sequence, &q, i, head), spec.sink.map(|sink| sink[head]));
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

/// Every row of every sequence, counted from its first, with every query head.
fn rows_and_heads<'a>(
    spec: &'a Attention<'_>,
    sequences: &'a [Sequence<'a>],
) -> impl Iterator<Item = (&'a Sequence<'a>, usize, usize)> {
    let rows = sequences.iter().flat_map(|sequence| (0..sequence.rows.len()).map(move |i| (sequence, i)));
    rows.flat_map(|(sequence, i)| (0..spec.heads).map(move |head| (sequence, i, head)))
}

/// Scores of a query head of row `i` of a sequence with every key that it sees. `q` are [`scored_queries`].
fn scores(spec: &Attention<'_>, sequence: &Sequence<'_>, q: &[f32], i: usize, head: usize) -> Vec<(usize, f64)> {
    let q_pos = sequence.q_first + i;
    let q = &q[((sequence.rows.start + i) * spec.heads + head) * spec.d_qk..][..spec.d_qk];
    let seen = spec.visible.spans(q_pos, sequence.k_end).into_iter().flatten();
    seen.map(|k_pos| {
        let key = stored(spec, &row_at(sequence.keys, k_pos, key_head(spec, head), spec.d_qk), sequence);
        (k_pos, Score::new(spec, head, q_pos, k_pos, q, &key).value)
    })
    .collect()
}

fn key_head(spec: &Attention<'_>, head: usize) -> usize {
    head / (spec.heads / spec.kv_heads)
}

/// An operand as products take it.
fn round(spec: &Attention<'_>, x: f32) -> f32 {
    match spec.precision {
        Precision::F32 => x,
        Precision::Bf16 => bf16::from_f32(x).to_f32(),
    }
}

fn rounded(spec: &Attention<'_>, x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| round(spec, x)).collect()
}

/// A stored key or value of a sequence as products take it, which in place is as it is stored.
fn stored(spec: &Attention<'_>, x: &[f32], sequence: &Sequence<'_>) -> Vec<f32> {
    if is_in_place(spec, sequence) { x.to_vec() } else { rounded(spec, x) }
}

/// An operand that was computed.
fn nearest(spec: &Attention<'_>, x: f64) -> f64 {
    match spec.precision {
        Precision::F32 => x,
        Precision::Bf16 => f64::from(round(spec, x as f32)),
    }
}

/// Queries whose scores are those of queries that are rounded once they are scaled: in base 2, or ready for the cap.
fn scored_queries(spec: &Attention<'_>, q: &[f32]) -> Vec<f32> {
    let factor = spec.softcap.map_or(spec.scale * LOG2_E, |cap| spec.scale / cap);
    match spec.precision {
        Precision::F32 => q.to_vec(),
        Precision::Bf16 => q.iter().map(|q| round(spec, q * factor) / factor).collect(),
    }
}

/// Keys that are met together, and those after which the largest score is forgotten.
struct Tiles {
    keys: usize,
    part: usize,
}

impl Tiles {
    const OF_MANY_ROWS: Tiles = Tiles { keys: keys::<Pair>(), part: usize::MAX };
}

/// What values are multiplied by, and the log-sum-exp, of the scores of ascending keys.
fn weights(spec: &Attention<'_>, scores: &[(usize, f64)], head: usize, tiles: Tiles) -> (Vec<(usize, f64)>, f64) {
    let (probs, lse) = softmax(scores.to_vec(), spec.sink.map(|sink| sink[head]));
    if spec.precision == Precision::F32 {
        return (probs, lse);
    }
    let (mut max, mut part, mut all) = (f64::NEG_INFINITY, 0, Vec::new());
    for tile in scores.chunk_by(|a, b| a.0 / tiles.keys == b.0 / tiles.keys) {
        if tile[0].0 / tiles.part != part {
            (max, part) = (f64::NEG_INFINITY, tile[0].0 / tiles.part);
        }
        let top = tile.iter().map(|&(_, score)| score).fold(f64::NEG_INFINITY, f64::max);
        if top > max + f64::from(SLACK) * f64::from(LN_2) {
            max = top;
        }
        all.extend(tile.iter().map(|&(k_pos, score)| (k_pos, nearest(spec, (score - max).exp()) * (max - lse).exp())));
    }
    (all, lse)
}

/// Adds the gradients. Computes the softmax and the outputs afresh: reads neither `out` nor `lse`.
pub fn attention_backward(spec: &Attention<'_>, spans: &[Span], inputs: BackwardInputs<'_>, gradients: Gradients<'_>) {
    // Scores are taken of the first, and the keys' gradients are made of the second.
    let (scored, q) = (scored_queries(spec, inputs.q), rounded(spec, inputs.q));
    let [k, v, d_out] = [inputs.k, inputs.v, inputs.d_out].map(|x| rounded(spec, x));
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
                let (weights, lse) = weights(spec, &scores, head, Tiles::OF_MANY_ROWS);
                let sink = spec.sink.map(|sink| sink[head]);
                let (probs, _) = softmax(scores, sink);
                let d_out = &d_out[(row * heads + head) * spec.d_v..][..spec.d_v];
                let d_prob = |k_pos| dot(d_out, &v[key_at(k_pos, spec.d_v)..][..spec.d_v]);
                let delta: f64 = weights.iter().map(|&(k_pos, weight)| weight * d_prob(k_pos)).sum();
                for &(k_pos, prob) in &probs {
                    let d_score = prob * (d_prob(k_pos) - delta);
                    let d_dot = nearest(spec, d_score * score(k_pos).slope);
                    let k_at = key_at(k_pos, spec.d_qk);
                    for d in 0..spec.d_qk {
                        sums[0][q_at + d] += d_dot * f64::from(k[k_at + d]);
                        sums[1][k_at + d] += d_dot * f64::from(q[q_at + d]);
                    }
                    for d in 0..spec.d_v {
                        sums[2][key_at(k_pos, spec.d_v) + d] += nearest(spec, prob) * f64::from(d_out[d]);
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
