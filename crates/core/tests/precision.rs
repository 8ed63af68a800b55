//! What a tape multiplies in bf16.

use attendant_core::kernels::attention::{Cells, Run};
use attendant_core::kernels::quant::{Format, Matrix};
use attendant_core::ops::{Keys, Softmax, Span, Visible};
use attendant_core::{Activations, Precision, Processor, Random, Tape, Tensor};
use half::bf16;
use std::sync::Arc;

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

/// What attention over `rows` gives beside a weight of few bits or of 16.
fn beside(format: Format, bytes: usize, activations: Activations, rows: usize) -> Vec<f32> {
    const WIDTH: usize = 12;
    let mut random = Random::new(7, "beside");
    let processor = Processor::new(1);
    let matrix = Matrix::pack(processor.machine(), format, 1, 32, &vec![0; bytes]).unwrap();
    let mut tape = Tape::inference(processor).with_activations(activations);
    tape.parameter(&Arc::new(Tensor::from_packed(matrix)));
    let [q, k, v] = [(); 3].map(|()| (0..rows * WIDTH).map(|_| random.normal() as f32).collect::<Vec<_>>());
    let [q, k, v] = [q, k, v].map(|values| tape.leaf(rows, WIDTH, &values));
    let (visible, scale) = (Visible::Causal, 0.4);
    let spec = Softmax { heads: 2, kv_heads: 2, d_qk: 6, d_v: 6, scale, visible, softcap: None, bias: None, sink: None };
    let [keys, values] = [k, v].map(|new| Keys { past: &[], new });
    let y = tape.attention(q, keys, values, &spec, &[Span { rows: 0..rows, q_first: 0, k_rows: 0..rows, k_first: 0 }]);
    tape.value(y).to_vec()
}

#[test]
fn attention_of_many_rows_is_in_bf16_only_where_rows_are_rounded_to_bytes_and_the_processor_gains() {
    let (few_bits, float) = ((Format::Q8_0, 34), (Format::F16, 64));
    for rows in [ROWS, 8] {
        let exact = beside(few_bits.0, few_bits.1, Activations::F32, rows);
        assert_eq!(beside(float.0, float.1, Activations::Int8, rows), exact);
        let rounded = beside(few_bits.0, few_bits.1, Activations::Int8, rows);
        let gains = Processor::new(1).machine().isa.gains_by_bf16();
        assert_eq!(rounded != exact, gains && rows == ROWS, "{rows} rows");
        let furthest = rounded.iter().zip(&exact).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        assert!(furthest < 0.03, "{furthest} off");
    }
}

/// What one query of `heads` heads gives over 40 keys of one head in bf16, beside a weight of few bits.
fn decoded(heads: usize, activations: Activations) -> Vec<f32> {
    const WIDTH: usize = 32;
    const KEYS: usize = 40;
    let mut random = Random::new(9, "decoded");
    let processor = Processor::new(1);
    let matrix = Matrix::pack(processor.machine(), Format::Q8_0, 1, 32, &[0; 34]).unwrap();
    let mut tape = Tape::inference(processor).with_activations(activations);
    tape.parameter(&Arc::new(Tensor::from_packed(matrix)));
    let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
    let [k, v] = [(); 2].map(|()| values(KEYS * WIDTH).into_iter().map(bf16::from_f32).collect::<Vec<_>>());
    let q = values(heads * WIDTH);
    let (q, new) = (tape.leaf(1, heads * WIDTH, &q), tape.leaf(0, WIDTH, &[]));
    let visible = Visible::Causal;
    let spec =
        Softmax { heads, kv_heads: 1, d_qk: WIDTH, d_v: WIDTH, scale: 0.2, visible, softcap: None, bias: None, sink: None };
    let past = [&k, &v].map(|rows| [vec![Run::by_token(0, KEYS, Cells::Bf16(rows), 1, WIDTH)]]);
    let [keys, values] = past.each_ref().map(|past| Keys { past, new });
    let y = tape.attention(q, keys, values, &spec, &[Span { rows: 0..1, q_first: KEYS - 1, k_rows: 0..0, k_first: KEYS }]);
    tape.value(y).to_vec()
}

#[test]
fn decoding_is_in_bf16_only_where_many_heads_read_a_key_that_the_processor_multiplies_by_squares() {
    let squares = Processor::new(1).machine().isa.name() == "amx";
    for heads in [4, 16] {
        let (exact, rounded) = (decoded(heads, Activations::F32), decoded(heads, Activations::Int8));
        assert_eq!(rounded != exact, squares && heads == 16, "{heads} heads");
        let furthest = rounded.iter().zip(&exact).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        assert!(furthest < 0.03, "{furthest} off");
    }
}
