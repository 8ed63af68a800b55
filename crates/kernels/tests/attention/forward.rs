//! Forward against the twin.

use crate::case::{Case, Plane, Sequenced, Spec};
use crate::check::{
    INTERPRETED, Random, affordable, assert_close, assert_close_at, assert_same_bits, bound, for_random_cases, machines, shapes,
};
use attendant_kernels::Precision;
use attendant_kernels::attention::Visible;

fn check_against_twin(case: &Case) {
    let (want_out, want_lse) = case.twin();
    let mut one_thread = (Vec::new(), Vec::new());
    for machine in machines() {
        let what = |name: &str| format!("{name} on {:?}, {} workers: {:?}", machine.isa, machine.executor.workers(), case.spec);
        let (out, lse) = case.forward(machine);
        assert_close(&what("out"), &case.owned_rows(&out), &case.owned_rows(&want_out), bound::ATTENTION);
        // What counts of a log-sum-exp is its absolute error, since it is exponentiated.
        assert_close_at(&what("lse"), &case.owned_rows(&lse), &case.owned_rows(&want_lse), 1.0, bound::ATTENTION);
        if machine.executor.workers() == 1 {
            one_thread = (out, lse);
        } else {
            // Also where no sequence has rows: there both still hold the poison.
            assert_same_bits(&what("out"), &out, &one_thread.0);
            assert_same_bits(&what("lse"), &lse, &one_thread.1);
        }
    }
}

#[test]
fn random_calls_agree_with_the_twin() {
    for_random_cases(60, |random| check_against_twin(&Case::random(random)));
}

#[test]
fn every_stored_type_agrees_with_the_twin() {
    for_random_cases(60, |random| {
        let mut case = Case::random(random);
        for sequence in &mut case.sequences {
            sequence.keys.encode(random);
            sequence.values.encode(random);
        }
        check_against_twin(&case);
    });
}

fn plain(heads: usize, kv_heads: usize, d_qk: usize, d_v: usize, visible: Visible) -> Spec {
    let scale = 1.0 / (d_qk as f32).sqrt();
    Spec { heads, kv_heads, d_qk, d_v, scale, visible, softcap: None, bias: None, sink: None, precision: Precision::F32 }
}

fn one_sequence(random: &mut Random, spec: Spec, rows: usize, q_first: usize, k_end: usize) -> Case {
    let q = random.values(rows * spec.heads * spec.d_qk);
    let sequences = vec![Sequenced::random(random, &spec, 0..rows, q_first, k_end)];
    Case { spec, q, sequences }
}

#[test]
fn published_widths_agree_with_the_twin() {
    for_random_cases(1, |random| {
        for (d_qk, d_v) in shapes([(64, 64), (128, 128), (96, 128), (192, 128), (256, 256), (576, 512)]) {
            let k_end = affordable(165);
            for rows in [1, affordable(100)] {
                let kv_heads = if INTERPRETED { 1 } else { 2 };
                let spec = plain(2 * kv_heads, kv_heads, d_qk, d_v, Visible::Causal);
                check_against_twin(&one_sequence(random, spec, rows, k_end - rows, k_end));
            }
        }
    });
}

/// Few rows over many keys: cut along the keys and joined.
#[test]
fn decoding_over_thousands_of_keys_agrees_with_the_twin() {
    for_random_cases(6, |random| {
        let visible = random.pick(&[
            Visible::Causal,
            Visible::All,
            Visible::Window { window: 3000, keep: 4 },
            Visible::Window { window: 100, keep: 0 },
        ]);
        let [heads, kv_heads, d_qk, d_v] = if INTERPRETED { [2, 1, 5, 4] } else { [6, 2, 24, 17] };
        let mut spec = plain(heads, kv_heads, d_qk, d_v, visible);
        spec.sink = random.chance(2).then(|| random.values(heads));
        let rows = random.in_range(1..=if INTERPRETED { 2 } else { 8 });
        let k_end = if INTERPRETED { 600 } else { random.pick(&[2047, 2048, 2049, 4096, 5000]) };
        let mut case = one_sequence(random, spec, rows, k_end - rows, k_end);
        if random.chance(2) {
            case.sequences[0].keys.encode(random);
            case.sequences[0].values.encode(random);
        }
        check_against_twin(&case);
    });
}

/// Groups of queries over keys of one type, which are multiplied as they are stored where there are instructions for it, and with large
/// groups so are values.
#[test]
fn decoding_over_rows_of_sixteen_and_eight_bits_agrees_with_the_twin() {
    for_random_cases(40, |random| {
        let kv_heads = random.in_range(1..=2);
        let (group, d_qk) = (random.pick(&[2, 3, 4, 5, 6, 11, 16, 40]), random.pick(&[32, 64, 96, 128, 192, 576]));
        let d_v = affordable(random.pick(&[24, 32, 100, 128]));
        let spec = plain(affordable(group) * kv_heads, kv_heads, affordable(d_qk), d_v, Visible::Causal);
        let (rows, k_end) = (random.in_range(1..=2), random.pick(&[2, 15, 16, 17, 31, 33, 64, 130, 300, 2100]));
        let k_end = affordable(k_end);
        let mut case = one_sequence(random, spec, rows, k_end - rows, k_end);
        let Sequenced { keys, values, .. } = &mut case.sequences[0];
        keys.encode_as(random.pick(&["bf16", "int8"]), random);
        if random.chance(2) {
            values.encode_as(random.pick(&["bf16", "int8"]), random);
        }
        check_against_twin(&case);
    });
}

/// Zero times infinity is not zero: a row of a large group that does not see such a value, or such a scale, has none of it.
#[test]
fn values_that_are_not_finite_reach_only_rows_that_see_them() {
    for_random_cases(4, |random| {
        let [heads, d, d_v] = [16, 64, 32].map(affordable);
        for kind in ["bf16", "int8"] {
            let mut case = one_sequence(random, plain(heads, 1, d, d_v, Visible::Causal), 2, 48, 50);
            let Sequenced { keys, values, .. } = &mut case.sequences[0];
            let mut dense = values.dense.clone();
            dense[49 * d_v + random.below(d_v)] = f32::INFINITY;
            *values = Plane::new(dense, 1, d_v);
            values.encode_as(kind, random);
            *keys = Plane::new(keys.dense.clone(), 1, d);
            keys.encode_as(kind, random);
            match kind {
                "bf16" => check_against_twin(&case),
                _ => case.sequences[0].values.spoil_last_scale(),
            }
            for machine in machines() {
                let out = case.forward(machine).0;
                let (first, second) = out.split_at(heads * d_v);
                let kept = first.iter().all(|x| x.is_finite());
                assert!(kept && !second.iter().all(|x| x.is_finite()), "{kind} on {:?}", machine.isa);
            }
        }
    });
}

/// A key that is infinite has a score that is, whatever instructions multiply it.
#[test]
fn an_infinite_key_has_no_weight_where_its_score_is_minus_infinity() {
    for_random_cases(4, |random| {
        let d = affordable(64);
        let mut case = one_sequence(random, plain(4, 1, d, 24, Visible::Causal), 1, 39, 40);
        case.q.chunks_exact_mut(d).for_each(|query| query[3] = -0.7);
        let keys = &mut case.sequences[0].keys;
        let (mut dense, at) = (keys.dense.clone(), random.below(40));
        dense[at * d + 3] = f32::INFINITY;
        *keys = Plane::new(dense, 1, d);
        keys.encode_as("bf16", random);
        check_against_twin(&case);
        for machine in machines() {
            assert!(case.forward(machine).0.iter().all(|x| x.is_finite()), "on {:?}", machine.isa);
        }
    });
}

/// Absorbed latent attention: one key head, whose rows' first entries are the values.
#[test]
fn values_as_a_prefix_of_keys_agree_with_the_twin() {
    for_random_cases(6, |random| {
        let (d_qk, d_v) = if INTERPRETED { (12, 9) } else { (40, 32) };
        let spec = plain(affordable(random.pick(&[1, 4, 16])), 1, d_qk, d_v, Visible::Causal);
        let [rows, q_first] = [random.pick(&[1, 8, 70]), random.pick(&[0, 90])].map(affordable);
        let mut case = one_sequence(random, spec, rows, q_first, q_first + rows);
        let sequence = &mut case.sequences[0];
        let keys = sequence.keys.dense.clone();
        sequence.keys = Plane::new(keys.clone(), 1, d_qk);
        sequence.values = Plane::new(keys, 1, d_qk);
        check_against_twin(&case);
    });
}

#[test]
fn scores_of_ten_thousand_stay_finite() {
    for_random_cases(4, |random| {
        let mut spec = plain(2, 1, 16, 8, Visible::Causal);
        spec.scale = 1e4 / 16.0;
        let rows = affordable(70);
        let case = one_sequence(random, spec, rows, 0, rows);
        for machine in machines() {
            let (out, lse) = case.forward(machine);
            assert!(out.iter().chain(&lse).all(|value| value.is_finite()));
        }
    });
}

/// What weights are relative to is raised only now and then: never by scores that rise by less than 8, in base 2, and soon enough by those
/// that rise beyond what is left of an f32.
#[test]
fn scores_that_rise_with_the_position_agree_with_the_twin() {
    for_random_cases(2, |random| {
        for (precision, bound) in [(Precision::F32, 1e-4), (Precision::Bf16, 5e-3)] {
            for (rise, rows) in [(0.004, 3), (0.004, 12), (0.05, 3), (0.05, 12), (0.5, 3), (0.5, 12)] {
                let (d, k_end) = (4, affordable(700));
                let spec = Spec { precision, scale: 1.0, ..plain(2, 1, d, 8, Visible::Causal) };
                let mut case = one_sequence(random, spec, rows, k_end - rows, k_end);
                case.q.chunks_exact_mut(d).for_each(|query| query.copy_from_slice(&[1.0, 0.0, 0.0, 0.0]));
                let keys = (0..k_end).flat_map(|at| [rise * at as f32, 1.0, 1.0, 1.0]).collect();
                case.sequences[0].keys = Plane::new(keys, 1, d);
                let want = case.twin();
                for machine in machines() {
                    let (what, got) = (format!("{:?} by {rise} on {:?}", case.spec, machine.isa), case.forward(machine));
                    assert_close(&what, &got.0, &want.0, bound);
                    assert_close(&what, &got.1, &want.1, 1e-5);
                }
            }
        }
    });
}

/// Without a sink, a row that sees nothing is zero and its lse minus infinity; with one, its lse is the sink's score.
#[test]
fn rows_that_see_nothing_are_zero() {
    for_random_cases(2, |random| {
        for sink in [None, Some(vec![0.25, -1.5])] {
            for rows in [3, 30] {
                let spec = Spec { sink: sink.clone(), ..plain(2, 1, 8, 5, Visible::Chunk(200)) };
                // The chunk begins at 200, where the keys end.
                let case = one_sequence(random, spec, rows, 200, 200);
                for machine in machines() {
                    let (out, lse) = case.forward(machine);
                    assert_same_bits("out", &out, &vec![0.0; rows * 2 * 5]);
                    let want = sink.clone().unwrap_or(vec![f32::NEG_INFINITY; 2]);
                    assert_close("lse", &lse, &want.repeat(rows), 1e-7);
                }
            }
        }
    });
}
