//! Every family that is read gives what transformers gives.

mod judge;

use judge::{CASES, Verdict, families};

#[test]
fn every_case_of_every_family() {
    let mut wrong = Vec::new();
    for family in families() {
        for (case, verdict) in CASES.into_iter().zip(family.judge()) {
            if !matches!(verdict, Verdict::Pass | Verdict::Absent) {
                wrong.push(format!("{}, {case}: {verdict:?}", family.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
