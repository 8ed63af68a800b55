//! Attention with its backward: fits queries so that attention reproduces a given output, by gradient steps.
//!
//! `cargo run --release -p attendant-kernels --example training_step`

use attendant_kernels::attention::{
    Attention, BackwardInputs, Cells, Gradients, Run, Sequence, Span, backward, backward_scratch, forward, forward_scratch,
};
use attendant_kernels::{Isa, Machine, Pool};

const HEADS: usize = 4;
const D: usize = 16;
const ROWS: usize = 32;

fn main() {
    let pool = Pool::new(2);
    let machine = Machine { isa: Isa::best(), executor: &pool };
    let spec = Attention::causal(HEADS, HEADS, D);
    let width = HEADS * D;
    let [k, v, truth] = [1, 2, 3].map(|salt| numbers(ROWS * width, salt));
    let run = |data| [Run::by_token(0, ROWS, Cells::F32(data), HEADS, D)];
    let (keys, values) = (run(&k), run(&v));
    let sequences = [Sequence { rows: 0..ROWS, q_first: 0, k_end: ROWS, keys: &keys, values: &values }];
    let spans = [Span { rows: 0..ROWS, q_first: 0, k_rows: 0..ROWS, k_first: 0 }];

    // What the true queries give is what ours should give.
    let (mut target, mut out, mut lse) = (vec![0.0; ROWS * width], vec![0.0; ROWS * width], vec![0.0; ROWS * HEADS]);
    let mut scratch = vec![0.0; forward_scratch(&spec, &sequences, machine.workers())];
    let mut back_scratch = vec![0.0; backward_scratch(&spec, &spans, machine.workers())];
    forward(machine, &spec, &sequences, &truth, &mut target, None, &mut scratch);

    let mut q = vec![0.0; ROWS * width];
    for step in 0..=400 {
        // The backward needs the log-sum-exp of every row, and recomputes the probabilities from it.
        forward(machine, &spec, &sequences, &q, &mut out, Some(&mut lse), &mut scratch);
        let d_out: Vec<f32> = out.iter().zip(&target).map(|(out, target)| out - target).collect();
        let loss: f32 = d_out.iter().map(|d| d * d).sum::<f32>() / 2.0;
        if step % 100 == 0 {
            println!("step {step:>3}: loss {loss:.4}");
        }
        // Gradients are added to what is there.
        let [mut d_q, mut d_k, mut d_v] = [(); 3].map(|()| vec![0.0; ROWS * width]);
        let inputs = BackwardInputs { q: &q, k: &k, v: &v, out: &out, lse: &lse, d_out: &d_out };
        let gradients = Gradients { d_q: &mut d_q, d_k: &mut d_k, d_v: &mut d_v, d_bias: None, d_sink: None };
        backward(machine, &spec, &spans, inputs, gradients, &mut back_scratch);
        q.iter_mut().zip(&d_q).for_each(|(q, d)| *q -= 3.0 * d);
    }
}

fn numbers(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + salt * 4999) * 7919 % 10007) as f32 / 5003.5 - 1.0).collect()
}
