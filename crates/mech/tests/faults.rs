//! Faults planted in a small attention: the exam refuses each of them at the point that is there for it, and passes the
//! attention without a fault at the same point.

mod faults {
    pub(crate) mod attention;
    pub(crate) mod latent;
}

use attendant_mech::Oracle;
use attendant_mech::exam::{self, Candidate, Verdict};
use faults::attention::{Attention, Fault};
use faults::latent::Latent;

fn refuses<M: Oracle>(point: fn(&Candidate<'_, M>) -> Verdict, sound: &M, faulty: &M) {
    exam::examine(sound, point).unwrap_or_else(|why| panic!("the sound original is refused: {why}"));
    let why = exam::examine(faulty, point).expect_err("the fault goes unnoticed");
    assert!(why.contains("ATTENDANT_SEED=") && why.contains(&format!("{faulty:?}")), "{why}");
}

fn refuses_fault(point: fn(&Candidate<'_, Attention>) -> Verdict, fault: Fault) {
    refuses(point, &Attention(Fault::None), &Attention(fault));
}

#[test]
fn a_wrong_scale() {
    refuses_fault(exam::equals_oracle, Fault::Scale);
}

#[test]
fn a_ring_one_row_short() {
    refuses_fault(exam::any_chunking, Fault::ShortRing);
}

#[test]
fn a_commit_before_the_read() {
    refuses_fault(exam::any_chunking, Fault::CommitFirst);
}

#[test]
fn rows_remembered_twice() {
    refuses_fault(exam::declared_bytes, Fault::Twice);
}

#[test]
fn a_gradient_off_by_one_percent() {
    refuses_fault(exam::gradients, Fault::GradientOff);
}

#[test]
fn the_gradient_of_a_group_overwritten_instead_of_summed() {
    refuses_fault(exam::gradients, Fault::GroupOverwritten);
}

#[test]
fn a_leak_from_a_later_row() {
    refuses_fault(exam::causality, Fault::LaterRow);
}

#[test]
fn a_leak_from_the_batch() {
    refuses_fault(exam::neighbour, Fault::Batch);
}

#[test]
fn memory_of_the_call_before() {
    refuses_fault(exam::poisoned, Fault::Unwritten);
}

#[test]
fn a_sum_cut_by_the_number_of_threads() {
    refuses_fault(exam::threads, Fault::Threads);
}

#[test]
fn scores_that_overflow() {
    refuses_fault(exam::extreme, Fault::Overflow);
}

#[test]
fn an_absorbed_query_without_its_rotation() {
    let sound = Latent { rotates_absorbed: true, says_by_parts: true };
    refuses(exam::any_chunking, &sound, &Latent { rotates_absorbed: false, ..sound });
}

#[test]
fn a_parameter_said_to_be_whole_of_which_parts_are_read() {
    let sound = Latent { rotates_absorbed: true, says_by_parts: true };
    refuses(exam::packed, &sound, &Latent { says_by_parts: false, ..sound });
}
