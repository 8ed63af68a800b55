//! Attention whose products are of bf16 against its twin, which rounds what does not depend on the order of the softmax.

use crate::backward::{Batch, Gradients, NAMES};
use crate::case::{Case, Plane, Sequenced, Spec};
use crate::check::{assert_close_at, assert_same_bits, bound, for_random_cases, inline_machines, machines};
use attendant_kernels::attention::Visible;

fn check_forward(case: &Case) {
    let (want_out, want_lse) = case.twin_bf16();
    let mut one_thread = (Vec::new(), Vec::new());
    for machine in machines() {
        let what = |name: &str| format!("{name} on {:?}, {} workers: {:?}", machine.isa, machine.executor.workers(), case.spec);
        let (out, lse) = case.forward_bf16(machine);
        assert_close_at(&what("out"), &case.owned_rows(&out), &case.owned_rows(&want_out), 0.1, bound::ATTENTION_BF16);
        assert_close_at(&what("lse"), &case.owned_rows(&lse), &case.owned_rows(&want_lse), 1.0, bound::ATTENTION);
        if machine.executor.workers() == 1 {
            one_thread = (out, lse);
        } else {
            assert_same_bits(&what("out"), &out, &one_thread.0);
            assert_same_bits(&what("lse"), &lse, &one_thread.1);
        }
    }
}

#[test]
fn random_calls_agree_with_the_twin() {
    for_random_cases(40, |random| check_forward(&Case::random(random)));
}

/// Among them rows of bf16, which are read in place where they lie as pairs.
#[test]
fn every_stored_type_agrees_with_the_twin() {
    for_random_cases(40, |random| {
        let mut case = Case::random(random);
        for sequence in &mut case.sequences {
            sequence.keys.encode(random);
            sequence.values.encode(random);
        }
        check_forward(&case);
    });
}

#[test]
fn random_batches_agree_with_the_twin() {
    for_random_cases(40, |random| {
        let mut batch = Batch::random(random);
        batch.bf16 = true;
        let want = batch.twin();
        let mut one_thread = Gradients::default();
        for machine in machines() {
            let got = batch.backward(machine, &batch.forward(machine));
            for i in 0..NAMES.len() {
                let what = format!("{} on {:?}, {} workers: {:?}", NAMES[i], machine.isa, machine.executor.workers(), batch.spec);
                assert_close_at(&what, &got[i], &want[i], 1.0, bound::ATTENTION_GRADIENT_BF16);
                if machine.executor.workers() == 2 {
                    assert_same_bits(&what, &got[i], &one_thread[i]);
                }
            }
            one_thread = got;
        }
    });
}

fn causal(heads: usize, width: usize) -> Spec {
    let scale = 1.0 / (width as f32).sqrt();
    Spec { heads, kv_heads: 1, d_qk: width, d_v: width, scale, visible: Visible::Causal, softcap: None, bias: None, sink: None }
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
            let (out, _) = case.forward_bf16(machine);
            let q = case.q.clone();
            case.q = q[row * row_width..][..row_width].to_vec();
            (case.sequences[0].rows, case.sequences[0].q_first) = (0..1, row);
            let (alone, _) = case.forward_bf16(machine);
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
            let (out, _) = case.forward_bf16(machine);
            let finite = out.chunks(5).take_while(|row| row.iter().all(|x| x.is_finite())).count();
            assert_eq!(finite, wrong, "{:?}, {rows} rows", machine.isa);
            assert!(out[wrong * 5..].iter().all(|x| !x.is_finite()));
        }
    });
}
