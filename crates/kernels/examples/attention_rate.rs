//! Rates of attention, one JSON line a shape. Training and prefill in GFLOP/s, counting only what is visible: 4 operations
//! for each visible pair and width forward, 10 backward; decoding in GB/s of keys and values read.

use attendant_kernels::attention::{
    Attention, Cells, Run, Sequence, Span, Visible, backward, backward_scratch, forward, forward_scratch,
};
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef, product, product_scratch};
use attendant_kernels::{Isa, Machine, Pool};
use std::time::Instant;

/// Sequences, query heads, key heads, length, head width.
const CAUSAL: [(usize, usize, usize, usize, usize); 5] =
    [(16, 6, 6, 256, 64), (8, 4, 4, 256, 32), (4, 9, 3, 512, 64), (1, 32, 8, 2048, 64), (1, 32, 8, 2048, 128)];

/// Sequences, query heads, key heads, keys, head width.
const DECODE: [(usize, usize, usize, usize, usize); 4] =
    [(1, 32, 8, 8192, 128), (8, 32, 8, 8192, 128), (8, 9, 3, 8192, 64), (1, 16, 16, 8192, 128)];

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    let pool = Pool::new(threads);
    let machine = Machine { isa: Isa::best(), executor: &pool };
    for shape in CAUSAL {
        train(machine, shape);
    }
    for shape in DECODE {
        decode(machine, shape);
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 10007) as f32 / 5003.5 - 1.0).collect()
}

fn spec(heads: usize, kv_heads: usize, d: usize) -> Attention<'static> {
    let scale = 1.0 / (d as f32).sqrt();
    Attention { heads, kv_heads, d_qk: d, d_v: d, scale, visible: Visible::Causal, softcap: None, bias: None, sink: None }
}

/// The fastest of several calls, in seconds.
fn fastest(seconds: f64, mut call: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        call();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// What a product reaches at the same time, in GFLOP/s.
fn product_rate(machine: Machine<'_>) -> f64 {
    let (m, n, k) = (4096, 384, 384);
    let (a, b, mut c) = (values(m * k), values(n * k), vec![0.0; m * n]);
    let mut scratch = vec![0.0; product_scratch(m, n, k, 2)];
    let time = fastest(0.3, || {
        let (a, b) = (MatrixRef::row_major(&a, m, k), MatrixRef::row_major(&b, n, k).transposed());
        product(machine, MatrixMut::row_major(&mut c, m, n), a, b, Accumulate::Store, &mut scratch);
    });
    (2 * m * n * k) as f64 / time / 1e9
}

fn train(machine: Machine<'_>, (sequences, heads, kv_heads, length, d): (usize, usize, usize, usize, usize)) {
    let spec = spec(heads, kv_heads, d);
    let rows = sequences * length;
    let (q, k, v) = (values(rows * heads * d), values(rows * kv_heads * d), values(rows * kv_heads * d));
    let runs: Vec<_> = (0..sequences)
        .map(|i| {
            [&k, &v].map(|data| {
                let data = &data[i * length * kv_heads * d..][..length * kv_heads * d];
                Run { first: 0, rows: length, data: Cells::F32(data), row_stride: kv_heads * d, head_stride: d }
            })
        })
        .collect();
    let calls: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(i, [keys, values])| Sequence {
            rows: i * length..(i + 1) * length,
            q_first: 0,
            k_end: length,
            keys: std::slice::from_ref(keys),
            values: std::slice::from_ref(values),
        })
        .collect();
    let spans: Vec<_> =
        calls.iter().map(|call| Span { rows: call.rows.clone(), q_first: 0, k_rows: call.rows.clone(), k_first: 0 }).collect();
    let (mut out, mut lse) = (vec![0.0; rows * heads * d], vec![0.0; rows * heads]);
    let mut scratch = vec![0.0; forward_scratch(&spec, &calls, 2)];
    let ahead = fastest(0.7, || forward(machine, &spec, &calls, &q, &mut out, Some(&mut lse), &mut scratch));
    let d_out = values(rows * heads * d);
    let [mut d_q, mut d_k, mut d_v] = [&q, &k, &v].map(|x| vec![0.0; x.len()]);
    let mut scratch = vec![0.0; backward_scratch(&spec, &spans, 2)];
    let back = fastest(1.0, || {
        backward(machine, &spec, &spans, &q, &k, &v, &out, &lse, &d_out, &mut d_q, &mut d_k, &mut d_v, None, None, &mut scratch);
    });
    let pairs = (sequences * heads * d) as f64 * (length * (length + 1) / 2) as f64;
    let rates = [4.0 * pairs / ahead, 10.0 * pairs / back, 14.0 * pairs / (ahead + back)].map(|rate| rate / 1e9);
    println!(
        r#"{{"shape": "{sequences} x {heads}/{kv_heads} heads, {length} x {d}", "forward": {:.1}, "backward": {:.1}, "both": {:.1}, "product": {:.1}, "forward_us": {:.0}, "backward_us": {:.0}}}"#,
        rates[0],
        rates[1],
        rates[2],
        product_rate(machine),
        ahead * 1e6,
        back * 1e6
    );
}

fn decode(machine: Machine<'_>, (sequences, heads, kv_heads, length, d): (usize, usize, usize, usize, usize)) {
    let spec = spec(heads, kv_heads, d);
    let planes: Vec<_> = (0..2 * sequences).map(|_| values(length * kv_heads * d)).collect();
    let runs: Vec<_> =
        planes.iter().map(|data| Run { first: 0, rows: length, data: Cells::F32(data), row_stride: kv_heads * d, head_stride: d }).collect();
    let calls: Vec<_> = (0..sequences)
        .map(|i| Sequence {
            rows: i..i + 1,
            q_first: length - 1,
            k_end: length,
            keys: &runs[2 * i..][..1],
            values: &runs[2 * i + 1..][..1],
        })
        .collect();
    let q = values(sequences * heads * d);
    let mut out = vec![0.0; q.len()];
    let mut scratch = vec![0.0; forward_scratch(&spec, &calls, 2)];
    let time = fastest(0.7, || forward(machine, &spec, &calls, &q, &mut out, None, &mut scratch));
    let bytes = (sequences * 2 * length * kv_heads * d * 4) as f64;
    // Plain reading of as much memory by all workers.
    let read = fastest(0.5, || {
        machine.executor.run(planes.len(), &|item, _| {
            let mut sums = [0.0; 32];
            for chunk in planes[item].as_chunks::<32>().0 {
                sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
            }
            std::hint::black_box(sums);
        });
    });
    println!(
        r#"{{"shape": "decode {sequences} x {heads}/{kv_heads} heads, {length} keys x {d}", "gb_per_s": {:.1}, "plain_read": {:.1}, "us": {:.0}}}"#,
        bytes / time / 1e9,
        bytes / read / 1e9,
        time * 1e6
    );
}
