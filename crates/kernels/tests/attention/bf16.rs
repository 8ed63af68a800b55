//! Attention whose products are of bf16 against its twin, which rounds the same.

use crate::backward::{Batch, BatchGradients, NAMES};
use crate::case::{Case, Plane, Sequenced, Spec};
use crate::check::{
    Random, affordable, assert_close, assert_close_at, assert_same_bits, bound, for_random_cases, inline_machines, machines,
    poison,
};
use attendant_kernels::attention::{Sequence, Span, Visible, forward, forward_scratch};
use attendant_kernels::{Precision, naive};

/// What one value that is rounded the other way may come to where it is most of a sum.
const ONE_ROUNDING: f64 = 5e-3;

/// What a score may be off whose query is two bytes: each value up to 2^-16 of the largest, which is a few times the others.
const TWO_BYTES: f64 = 1e-4;

fn random_case(random: &mut Random) -> Case {
    let mut case = Case::random(random);
    case.spec.precision = Precision::Bf16;
    case
}

fn check_forward(case: &Case, scale: f64, [bound, of_lse]: [f64; 2]) {
    let (want_out, want_lse) = case.twin();
    let mut one_thread = (Vec::new(), Vec::new());
    for machine in machines() {
        let what = |name: &str| format!("{name} on {:?}, {} workers: {:?}", machine.isa, machine.executor.workers(), case.spec);
        let (out, lse) = case.forward(machine);
        assert_close_at(&what("out"), &case.owned_rows(&out), &case.owned_rows(&want_out), scale, bound);
        assert_close_at(&what("lse"), &case.owned_rows(&lse), &case.owned_rows(&want_lse), 1.0, of_lse);
        if machine.executor.workers() == 1 {
            one_thread = (out, lse);
        } else {
            assert_same_bits(&what("out"), &out, &one_thread.0);
            assert_same_bits(&what("lse"), &lse, &one_thread.1);
        }
    }
}

fn check_gradients(batch: &Batch, scale: f64, bound: f64) {
    let want = batch.twin();
    let mut one_thread = BatchGradients::default();
    for machine in machines() {
        let got = batch.backward(machine, &batch.forward(machine));
        for i in 0..NAMES.len() {
            let what = format!("{} on {:?}, {} workers: {:?}", NAMES[i], machine.isa, machine.executor.workers(), batch.spec);
            assert_close_at(&what, &got[i], &want[i], scale, bound);
            if machine.executor.workers() == 2 {
                assert_same_bits(&what, &got[i], &one_thread[i]);
            }
        }
        one_thread = got;
    }
}

#[test]
fn random_calls_agree_with_the_twin() {
    for_random_cases(20, |random| check_forward(&random_case(random), 1.0, [ONE_ROUNDING, bound::ATTENTION]));
}

/// Among them rows of bf16, which are read in place where they lie as pairs.
#[test]
fn every_stored_type_agrees_with_the_twin() {
    for_random_cases(20, |random| {
        let mut case = random_case(random);
        for sequence in &mut case.sequences {
            sequence.keys.encode(random);
            sequence.values.encode(random);
        }
        let few = case.sequences.iter().any(|sequence| sequence.rows.len() <= 8);
        check_forward(&case, 1.0, [ONE_ROUNDING, if few { TWO_BYTES } else { bound::ATTENTION }]);
    });
}

/// Few rows, whose keys and values are multiplied as they are stored. Of bytes, queries are two and the product of a weight and a scale
/// is rounded too, where the processor multiplies them by squares.
#[test]
fn decoding_over_rows_of_sixteen_and_eight_bits_agrees_with_the_twin() {
    for_random_cases(40, |random| {
        let (group, d_qk) = (random.pick(&[1, 3, 5, 16, 17, 33, 40]), random.pick(&[32, 64, 96, 128, 192, 576]));
        let d_v = affordable(random.pick(&[24, 32, 100, 128]));
        let spec = Spec { d_v, ..causal(affordable(group), affordable(d_qk)) };
        let (rows, k_end) = (random.in_range(1..=2), affordable(random.pick(&[2, 15, 16, 17, 33, 130, 300, 1025, 2100])));
        let mut sequence = Sequenced::random(random, &spec, 0..rows, k_end - rows, k_end);
        let kind = random.pick(&["bf16", "f16", "int8"]);
        sequence.keys.encode_as(kind, random);
        sequence.values.encode_as(kind, random);
        let q = random.values(rows * spec.heads * spec.d_qk);
        // Roundings the other way are lost among many keys only.
        let bound = if kind == "int8" || k_end < 1000 { ONE_ROUNDING } else { bound::ATTENTION_BF16 };
        let of_lse = if kind == "int8" { TWO_BYTES } else { bound::ATTENTION };
        check_forward(&Case { spec, q, sequences: vec![sequence] }, 0.0, [bound, of_lse]);
    });
}

#[test]
fn random_batches_agree_with_the_twin() {
    for_random_cases(20, |random| {
        let mut batch = Batch::random(random);
        batch.spec.precision = Precision::Bf16;
        check_gradients(&batch, 1.0, 2.0 * ONE_ROUNDING);
    });
}

/// Whole registers and parts of them, whole pairs and halves. With so many rows a rounding the other way is lost among the others.
#[test]
#[cfg_attr(miri, ignore = "too many operations for an interpreter")]
fn every_width_agrees_with_the_twin() {
    const WIDTHS: [(usize, usize); 10] =
        [(1, 1), (2, 3), (5, 2), (7, 33), (31, 8), (64, 64), (65, 127), (128, 128), (192, 129), (576, 512)];
    for_random_cases(1, |random| {
        for (d_qk, d_v) in WIDTHS {
            let spec = || Spec { d_v, ..causal(4, d_qk) };
            let rows = if d_qk > 200 { 60 } else { 100 };
            let sequence = Sequenced::random(random, &spec(), 0..rows, 29, 29 + rows);
            let mut case = Case { spec: spec(), q: random.values(rows * 4 * d_qk), sequences: vec![sequence] };
            check_forward(&case, 0.0, [bound::ATTENTION_BF16, bound::ATTENTION]);
            // A score of a few products moves by the roundings of each, a hundredth of a large one; with more they are lost in the sum.
            if d_qk > 30 {
                let (out, _) = case.twin();
                case.spec.precision = Precision::F32;
                assert_close("bf16 for f32", &out, &case.twin().0, bound::BF16_FOR_F32);
            }
            let spans = vec![Span { rows: 0..rows, q_first: 0, k_rows: 0..rows, k_first: 0 }];
            let batch = Batch::new(random, Spec { kv_heads: 2, ..spec() }, spans, rows, rows);
            check_gradients(&batch, 0.0, bound::ATTENTION_GRADIENT_BF16);
        }
    });
}

/// As absorbed latent attention has them.
#[test]
fn values_may_be_the_first_part_of_keys() {
    for_random_cases(3, |random| {
        let (rows, d_qk) = (random.in_range(20..=150), random.pick(&[24, 37]));
        let spec = Spec { d_v: random.pick(&[16, 17]), ..causal(3, d_qk) };
        let mut sequence = Sequenced::random(random, &spec, 0..rows, 0, rows);
        sequence.keys.encode(random);
        let case = Case { spec, q: random.values(rows * 3 * d_qk), sequences: vec![sequence] };
        for machine in inline_machines() {
            case.described(|spec, sequences, q| {
                let prefixed: Vec<_> =
                    sequences.iter().map(|sequence| Sequence { values: sequence.keys, ..sequence.clone() }).collect();
                let [mut got, mut want] = [(); 2].map(|()| poison(rows * 3 * spec.d_v));
                let mut scratch = poison(forward_scratch(spec, &prefixed, 1));
                forward(machine, spec, &prefixed, q, &mut got, None, &mut scratch);
                naive::attention_forward(spec, &prefixed, q, &mut want, None);
                assert_close_at("values in keys", &got, &want, 1.0, ONE_ROUNDING);
            });
        }
    });
}

fn causal(heads: usize, width: usize) -> Spec {
    let scale = 1.0 / (width as f32).sqrt();
    Spec {
        heads,
        kv_heads: 1,
        d_qk: width,
        d_v: width,
        scale,
        visible: Visible::Causal,
        softcap: None,
        bias: None,
        sink: None,
        precision: Precision::Bf16,
    }
}

/// Pairs of keys begin at even positions, wherever the rows of a call begin.
#[test]
fn a_row_alone_has_the_bits_it_has_in_company() {
    for_random_cases(5, |random| {
        let spec = causal(2, random.pick(&[3, 16]));
        let (rows, row_width) = (random.in_range(2..=150), 2 * spec.d_qk);
        let sequence = Sequenced::random(random, &spec, 0..rows, 0, rows);
        let q = random.values(rows * row_width);
        let mut case = Case { spec, q, sequences: vec![sequence] };
        let row = random.below(rows);
        for machine in inline_machines() {
            let (out, _) = case.forward(machine);
            let q = case.q.clone();
            case.q = q[row * row_width..][..row_width].to_vec();
            (case.sequences[0].rows, case.sequences[0].q_first) = (0..1, row);
            let (alone, _) = case.forward(machine);
            assert_same_bits("a row alone", &alone, &out[row * row_width..][..row_width]);
            (case.q, case.sequences[0].rows, case.sequences[0].q_first) = (q, 0..rows, 0);
        }
    });
}

/// What is no number reaches no row that does not see it, also where it shares a pair with what the row sees.
#[test]
fn infinity_stays_with_the_rows_that_see_it() {
    for_random_cases(5, |random| {
        let spec = causal(1, 5);
        let rows = random.in_range(2..=150);
        let mut sequence = Sequenced::random(random, &spec, 0..rows, 0, rows);
        let wrong = random.below(rows);
        let mut values = sequence.values.dense.clone();
        values[wrong * 5..][..5].fill(random.pick(&[f32::INFINITY, f32::NAN]));
        sequence.values = Plane::new(values, 1, 5);
        let case = Case { spec, q: random.values(rows * 5), sequences: vec![sequence] };
        for machine in inline_machines() {
            let (out, _) = case.forward(machine);
            let finite = out.chunks(5).take_while(|row| row.iter().all(|x| x.is_finite())).count();
            assert_eq!(finite, wrong, "{:?}, {rows} rows", machine.isa);
            assert!(out[wrong * 5..].iter().all(|x| !x.is_finite()));
        }
    });
}
