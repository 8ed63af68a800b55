//! What must not change a bit of a row: the rows beside it, how keys are stored, later keys, other sequences.

use crate::case::{Case, Plane, Sequenced, Spec};
use crate::check::{Random, affordable, assert_same_bits, for_random_cases, inline_machines};
use attendant_kernels::attention::Visible;

/// A call with one sequence of `rows` rows that sees only held positions, from position 0.
fn one_sequence(random: &mut Random, rows: usize) -> Case {
    let spec = Spec::random(random);
    let q = random.values(rows * spec.heads * spec.d_qk);
    let mut sequence = Sequenced::random(random, &spec, 0..rows, 0, rows);
    for plane in [&mut sequence.keys, &mut sequence.values] {
        plane.dense.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.5);
    }
    sequence.store_whole(&spec);
    Case { spec, q, sequences: vec![sequence] }
}

impl Sequenced {
    fn store_whole(&mut self, spec: &Spec) {
        self.keys = Plane::new(self.keys.dense.clone(), spec.kv_heads, spec.d_qk);
        self.values = Plane::new(self.values.dense.clone(), spec.kv_heads, spec.d_v);
    }
}

#[test]
fn runs_in_any_place_and_layout_give_the_same_bits() {
    for_random_cases(20, |random| {
        let rows = random.in_range(1..=250);
        let mut case = one_sequence(random, rows);
        for machine in inline_machines() {
            let (out, lse) = case.forward(machine);
            for _ in 0..3 {
                let sequence = &mut case.sequences[0];
                let spec = case.spec.clone();
                sequence.keys.scatter(random, |k_pos| spec.sees(0..rows, rows, k_pos));
                sequence.values.scatter(random, |k_pos| spec.sees(0..rows, rows, k_pos));
                let again = case.forward(machine);
                assert_same_bits("out", &again.0, &out);
                assert_same_bits("lse", &again.1, &lse);
            }
            case.sequences[0].store_whole(&case.spec.clone());
        }
    });
}

/// The same with few queries to a key, of bf16, which some processors multiply as they are.
#[test]
fn few_queries_of_a_group_have_the_same_bits_wherever_keys_of_sixteen_bits_are() {
    for_random_cases(20, |random| {
        let mut case = one_sequence(random, 1);
        let (group, k_end) = (random.in_range(3..=8), affordable(random.in_range(1..=250)));
        let spec = &mut case.spec;
        (spec.heads, spec.kv_heads, spec.d_qk) = (group, 1, affordable(random.pick(&[32, 64, 160])));
        (spec.visible, spec.bias, spec.sink) = (Visible::Causal, None, None);
        case.q = random.values(group * case.spec.d_qk);
        let (spec, sequence) = (case.spec.clone(), &mut case.sequences[0]);
        *sequence = Sequenced::random(random, &spec, 0..1, k_end - 1, k_end);
        for machine in inline_machines() {
            let mut first = None;
            for _ in 0..4 {
                let keys = &mut case.sequences[0].keys;
                keys.scatter(random, |_| true);
                keys.encode_as("bf16", random);
                let (out, lse) = case.forward(machine);
                let (want_out, want_lse) = first.get_or_insert_with(|| (out.clone(), lse.clone()));
                assert_same_bits("out", &out, want_out);
                assert_same_bits("lse", &lse, want_lse);
            }
        }
    });
}

/// Chunks of more than eight rows go the same way as the whole, so their rows have the same bits.
#[test]
fn chunks_of_a_prefill_give_the_bits_of_the_whole() {
    for_random_cases(20, |random| {
        let rows = random.in_range(20..=400);
        let mut case = one_sequence(random, rows);
        let (q, d_qk, d_v) = (case.q.clone(), case.spec.heads * case.spec.d_qk, case.spec.heads * case.spec.d_v);
        for machine in inline_machines() {
            case.q = q.clone();
            (case.sequences[0].rows, case.sequences[0].q_first) = (0..rows, 0);
            let (out, lse) = case.forward(machine);
            let first = random.below(rows - 9);
            let end = random.in_range(first + 9..=rows);
            case.q = q[first * d_qk..end * d_qk].to_vec();
            (case.sequences[0].rows, case.sequences[0].q_first) = (0..end - first, first);
            let chunk = case.forward(machine);
            assert_same_bits("out", &chunk.0, &out[first * d_v..end * d_v]);
            assert_same_bits("lse", &chunk.1, &lse[first * case.spec.heads..end * case.spec.heads]);
        }
    });
}

#[test]
fn later_keys_change_no_earlier_row_even_if_they_are_not_numbers() {
    for_random_cases(20, |random| {
        let rows = affordable(random.pick(&[5, 30, 65, 150]));
        let mut case = one_sequence(random, rows);
        if matches!(case.spec.visible, Visible::All | Visible::Prefix(_) | Visible::Near(_)) {
            case.spec.visible = Visible::Causal;
        }
        for machine in inline_machines() {
            let (out, lse) = case.forward(machine);
            let from = random.below(rows);
            let poison = random.pick(&[f32::NAN, f32::INFINITY, -7.0]);
            let (keys, values) = (case.sequences[0].keys.dense.clone(), case.sequences[0].values.dense.clone());
            let spec = case.spec.clone();
            case.sequences[0].keys.dense[from * spec.kv_heads * spec.d_qk..].fill(poison);
            case.sequences[0].values.dense[from * spec.kv_heads * spec.d_v..].fill(poison);
            case.sequences[0].store_whole(&spec);
            let changed = case.forward(machine);
            let (out_end, lse_end) = (from * spec.heads * spec.d_v, from * spec.heads);
            assert_same_bits("out", &changed.0[..out_end], &out[..out_end]);
            assert_same_bits("lse", &changed.1[..lse_end], &lse[..lse_end]);
            (case.sequences[0].keys.dense, case.sequences[0].values.dense) = (keys, values);
            case.sequences[0].store_whole(&spec);
        }
    });
}

#[test]
fn a_sequence_alone_has_the_bits_it_has_in_company() {
    for_random_cases(20, |random| {
        let mut case = Case::random(random);
        let together: Vec<_> = inline_machines().into_iter().map(|machine| case.forward(machine)).collect();
        let mut sequence = case.sequences.swap_remove(random.below(case.sequences.len()));
        let rows = sequence.rows.clone();
        sequence.rows = 0..rows.len();
        let of_rows = |width: usize| rows.start * width..rows.end * width;
        let Spec { heads, d_qk, d_v, .. } = case.spec;
        let alone = Case { q: case.q[of_rows(heads * d_qk)].to_vec(), sequences: vec![sequence], spec: case.spec };
        for (machine, (out, lse)) in inline_machines().into_iter().zip(together) {
            let (out_alone, lse_alone) = alone.forward(machine);
            assert_same_bits("out", &out_alone, &out[of_rows(heads * d_v)]);
            assert_same_bits("lse", &lse_alone, &lse[of_rows(heads)]);
        }
    });
}
