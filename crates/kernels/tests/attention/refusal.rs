//! What a call may not ask for, and how it is told.

use crate::check::poison;
use attendant_kernels::Machine;
use attendant_kernels::attention::{Attention, Cells, DistanceBias, Run, Sequence, Visible, forward, forward_scratch};

fn spec(visible: Visible) -> Attention<'static> {
    Attention { visible, ..Attention::causal(2, 1, 4) }
}

fn run(first: usize, rows: usize) -> Run<'static> {
    Run::by_token(first, rows, Cells::F32(&[1.0; 400]), 1, 4)
}

/// One sequence of three rows at positions 10, 11 and 12; returns the output, which starts as NaN.
fn attend(spec: &Attention<'_>, runs: &[Run<'_>]) -> Vec<f32> {
    let sequence = Sequence { rows: 0..3, q_first: 10, k_end: 13, keys: runs, values: runs };
    let sequences = [sequence];
    let mut out = poison(3 * 2 * 4);
    let mut scratch = poison(forward_scratch(spec, &sequences, 1));
    forward(Machine::inline(), spec, &sequences, &[0.5; 3 * 2 * 4], &mut out, None, &mut scratch);
    out
}

#[test]
fn positions_that_nobody_sees_need_not_be_held() {
    let out = attend(&spec(Visible::Window { window: 2, keep: 3 }), &[run(0, 3), run(9, 4)]);
    assert_eq!(out, [1.0; 24]);
}

#[test]
#[should_panic(expected = "keys: position 5 is visible and no run holds it")]
fn a_hole_in_the_runs_is_named() {
    attend(&spec(Visible::Causal), &[run(0, 5), run(6, 7)]);
}

#[test]
#[should_panic(expected = "keys: position 12 is visible and no run holds it")]
fn a_missing_end_is_named() {
    attend(&spec(Visible::Causal), &[run(0, 12)]);
}

#[test]
#[should_panic(expected = "keys: a run at 3 after one that ends at 5")]
fn runs_that_overlap_are_refused() {
    attend(&spec(Visible::Causal), &[run(0, 5), run(3, 10)]);
}

#[test]
#[should_panic(expected = "keys: a run of 101 rows at 0, 4 and heads 4 apart, in 400 values")]
fn a_run_longer_than_its_data_is_refused() {
    attend(&spec(Visible::Causal), &[run(0, 101)]);
}

#[test]
#[should_panic(expected = "keys: a run of 13 rows at 0, 18446744073709551615 and heads 4 apart, in 400 values")]
fn rows_so_far_apart_that_places_wrap_are_refused() {
    attend(&spec(Visible::Causal), &[Run { row_stride: usize::MAX, ..run(0, 13) }]);
}

#[test]
#[should_panic(expected = "2 positions from 18446744073709551615 on")]
fn positions_that_wrap_are_refused() {
    attend(&spec(Visible::Causal), &[run(0, 13), run(usize::MAX, 2)]);
}

#[test]
fn runs_without_rows_count_for_nothing() {
    let out = attend(&spec(Visible::Causal), &[run(0, 0), run(0, 5), run(5, 0), run(5, 8), run(13, 0)]);
    assert_eq!(out, [1.0; 24]);
}

#[test]
#[should_panic(expected = "keys: a run at 0 after one that ends at 5")]
fn a_run_without_rows_in_the_wrong_place_is_refused() {
    attend(&spec(Visible::Causal), &[run(0, 5), run(0, 0), run(5, 8)]);
}

#[test]
#[should_panic(expected = "a query at 10 sees distances -10..=0, the bias covers -9..1")]
fn a_distance_without_a_bias_is_named() {
    let bias = DistanceBias { table: &[0.0; 20], first: -9, width: 10 };
    attend(&Attention { bias: Some(bias), ..spec(Visible::Causal) }, &[run(0, 13)]);
}

#[test]
#[should_panic(expected = "2 heads over 3 key heads")]
fn heads_that_do_not_divide_are_refused() {
    attend(&Attention { kv_heads: 3, ..spec(Visible::Causal) }, &[run(0, 13)]);
}

#[test]
#[should_panic(expected = "sink of attention: want 2 values, got 3")]
fn a_sink_for_each_head_is_wanted() {
    attend(&Attention { sink: Some(&[0.0; 3]), ..spec(Visible::Causal) }, &[run(0, 13)]);
}

#[test]
#[should_panic(expected = "rows of sequence 1: 2..5 is not after 3 and within 5")]
fn sequences_may_not_share_rows() {
    let spec = spec(Visible::Causal);
    let runs = [run(0, 13)];
    let sequence = |rows| Sequence { rows, q_first: 0, k_end: 13, keys: &runs, values: &runs };
    let sequences = [sequence(0..3), sequence(2..5)];
    let mut scratch = poison(forward_scratch(&spec, &sequences, 1));
    forward(Machine::inline(), &spec, &sequences, &[0.5; 5 * 8], &mut [0.0; 5 * 8], None, &mut scratch);
}
