//! What a tape multiplies in bf16.

use attendant_core::ops::{Keys, Softmax, Span, Visible};
use attendant_core::{Precision, Processor, Random, Tape};

const ROWS: usize = 37;
const INNER: usize = 21;
const OUTER: usize = 70;

/// Output of a linear layer, and gradients of its input and weight for a given gradient of the output.
fn linear(precision: Precision, [x, weight, d_y]: [&[f32]; 3]) -> [Vec<f32>; 3] {
    let mut tape = Tape::new(Processor::new(2)).poisoned().with_precision(precision);
    let (x, weight) = (tape.leaf(ROWS, INNER, x), tape.leaf(OUTER, INNER, weight));
    let y = tape.linear(x, weight, None);
    let out = tape.value(y).to_vec();
    tape.backward_with(y, d_y);
    [out, tape.gradient(x).unwrap().to_vec(), tape.gradient(weight).unwrap().to_vec()]
}

#[test]
fn a_linear_layer_in_bf16_is_one_of_rounded_operands() {
    let mut random = Random::new(3, "linear");
    // Seven bits, which a bf16 holds, and the same with something that rounding takes away.
    let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| random.below(128) as f32 - 63.5).collect() };
    let exact = [values(ROWS * INNER), values(OUTER * INNER), values(ROWS * OUTER)];
    let near = exact.each_ref().map(|x| x.iter().map(|x| x * 1.001).collect::<Vec<_>>());
    let [exact, near] = [&exact, &near].map(|operands| operands.each_ref().map(|x| &x[..]));
    let want = linear(Precision::F32, exact);
    assert_eq!(linear(Precision::Bf16, exact), want);
    assert_eq!(linear(Precision::Bf16, near), want);
    assert_ne!(linear(Precision::F32, near), want);
}

/// What attention over one sequence gives, and gradients of its queries, keys and values.
fn attention(precision: Precision) -> [Vec<f32>; 4] {
    const WIDTH: usize = 12;
    let mut random = Random::new(5, "attention");
    let mut tape = Tape::new(Processor::new(2)).poisoned().with_precision(precision);
    let mut rows = || (0..ROWS * WIDTH).map(|_| random.normal() as f32).collect::<Vec<_>>();
    let [q, k, v, d_y] = [(); 4].map(|()| rows());
    let [q, k, v] = [q, k, v].map(|rows| tape.leaf(ROWS, WIDTH, &rows));
    let (heads, d) = (2, WIDTH / 2);
    let (visible, scale) = (Visible::Causal, 0.4);
    let spec = Softmax { heads, kv_heads: heads, d_qk: d, d_v: d, scale, visible, softcap: None, bias: None, sink: None };
    let [keys, values] = [k, v].map(|new| Keys { past: &[], new });
    let y = tape.attention(q, keys, values, &spec, &[Span { rows: 0..ROWS, q_first: 0, k_rows: 0..ROWS, k_first: 0 }]);
    let out = tape.value(y).to_vec();
    tape.backward_with(y, &d_y);
    let [d_q, d_k, d_v] = [q, k, v].map(|var| tape.gradient(var).unwrap().to_vec());
    [out, d_q, d_k, d_v]
}

#[test]
fn attention_in_bf16_is_off_by_roundings_forward_and_backward() {
    let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    for (got, want) in attention(Precision::Bf16).iter().zip(&attention(Precision::F32)) {
        let error: Vec<f32> = got.iter().zip(want).map(|(got, want)| got - want).collect();
        let error = norm(&error) / norm(want);
        assert!((1e-4..1e-2).contains(&error), "{error}");
    }
}
