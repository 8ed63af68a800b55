//! Attention over a whole prompt: grouped-query, causal, two prompts of different lengths in one call.
//!
//! `cargo run --release -p attendant-kernels --example prefill`

use attendant_kernels::attention::{Attention, Cells, Run, Sequence, forward, forward_scratch};
use attendant_kernels::{Isa, Machine, Pool};
use std::time::Instant;

const HEADS: usize = 8;
const KV_HEADS: usize = 2;
const D: usize = 64;

fn main() {
    // Threads are made once and reused; every kernel takes the machine first.
    let pool = Pool::new(2);
    let machine = Machine { isa: Isa::best(), executor: &pool };

    // The projections of a layer, one row a token: q [N, HEADS * D], k and v [N, KV_HEADS * D].
    let prompts = [0..700, 700..1000];
    let rows = 1000;
    let [q, k, v] = [HEADS, KV_HEADS, KV_HEADS].map(|heads| numbers(rows * heads * D));

    let spec = Attention::causal(HEADS, KV_HEADS, D);
    // Keys and values are read where they lie: runs of rows, told how far rows and heads are apart.
    let width = KV_HEADS * D;
    let runs = prompts.clone().map(|prompt| {
        [&k, &v].map(|data| {
            let data = Cells::F32(&data[prompt.start * width..prompt.end * width]);
            [Run::by_token(0, prompt.len(), data, KV_HEADS, D)]
        })
    });
    let sequences: Vec<_> = prompts
        .iter()
        .zip(&runs)
        .map(|(prompt, [keys, values])| Sequence { rows: prompt.clone(), q_first: 0, k_end: prompt.len(), keys, values })
        .collect();

    let mut out = vec![0.0; rows * HEADS * D];
    let mut scratch = vec![0.0; forward_scratch(&spec, &sequences, machine.workers())];
    let start = Instant::now();
    forward(machine, &spec, &sequences, &q, &mut out, None, &mut scratch);
    println!("{rows} rows on {:?} in {:.2} ms", machine.isa, start.elapsed().as_secs_f64() * 1e3);

    // The first token of each prompt sees itself alone, so its output is its own value.
    for prompt in prompts {
        let (out, value) = (&out[prompt.start * HEADS * D..][..D], &v[prompt.start * width..][..D]);
        let apart = out.iter().zip(value).map(|(out, value)| (out - value).abs()).fold(0.0, f32::max);
        println!("row {:>3}: {apart:.1e} from its own value", prompt.start);
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 10007) as f32 / 5003.5 - 1.0).collect()
}
