//! One token at a time over a cache kept in 16 bits: keys and values are read as stored, each once for all heads of its group.
//!
//! `cargo run --release -p attendant-kernels --example decode`

use attendant_kernels::attention::{Attention, Cells, Run, Sequence, forward, forward_scratch};
use attendant_kernels::{Isa, Machine, Pool};
use half::bf16;
use std::time::Instant;

const HEADS: usize = 32;
const KV_HEADS: usize = 8;
const D: usize = 128;
const ROOM: usize = 4096;

/// Keys or values of one sequence, head after head, so that a head's rows lie one after the other.
struct Plane(Vec<bf16>);

impl Plane {
    fn new() -> Plane {
        Plane(vec![bf16::ZERO; KV_HEADS * ROOM * D])
    }

    /// Stores the row `[KV_HEADS * D]` of a token.
    fn store(&mut self, position: usize, row: &[f32]) {
        for (head, part) in row.chunks_exact(D).enumerate() {
            let to = &mut self.0[(head * ROOM + position) * D..][..D];
            to.iter_mut().zip(part).for_each(|(to, &x)| *to = bf16::from_f32(x));
        }
    }

    fn run(&self, rows: usize) -> [Run<'_>; 1] {
        [Run::by_head(0, rows, Cells::Bf16(&self.0), ROOM, D)]
    }
}

fn main() {
    let pool = Pool::new(2);
    let machine = Machine { isa: Isa::best(), executor: &pool };
    let spec = Attention::causal(HEADS, KV_HEADS, D);
    let (mut keys, mut values) = (Plane::new(), Plane::new());
    let mut out = vec![0.0; HEADS * D];
    let mut scratch = Vec::new();
    let start = Instant::now();
    for position in 0..ROOM {
        // Here a model projects the token's row to q, k and v.
        let row = numbers(HEADS * D, position);
        keys.store(position, &row[..KV_HEADS * D]);
        values.store(position, &row[KV_HEADS * D..2 * KV_HEADS * D]);

        let (keys, values) = (keys.run(position + 1), values.run(position + 1));
        let sequence = [Sequence { rows: 0..1, q_first: position, k_end: position + 1, keys: &keys, values: &values }];
        // Grows now and then, like the cache it is for.
        scratch.resize(forward_scratch(&spec, &sequence, machine.workers()), 0.0);
        forward(machine, &spec, &sequence, &row, &mut out, None, &mut scratch);
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes = (2 * KV_HEADS * D * 2) as f64 * (ROOM * (ROOM + 1) / 2) as f64;
    println!(
        "{ROOM} tokens on {:?}: {:.0} tokens/s, {:.1} GB/s of cache",
        machine.isa,
        ROOM as f64 / seconds,
        bytes / seconds / 1e9
    );
    println!("the last output begins {:?}", &out[..4]);
}

fn numbers(count: usize, from: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + from * 31) * 7919 % 10007) as f32 / 5003.5 - 1.0).collect()
}
