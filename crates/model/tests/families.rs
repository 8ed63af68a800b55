//! Every family that is read gives what transformers gives, whatever file it comes in.

mod judge;

use attendant_model::gguf;
use judge::{CASES, Verdict, converted, families};

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

/// Files that another engine's converter wrote: nothing here has named their keys or tensors.
#[test]
fn every_converted_file() {
    let wrong: Vec<String> = converted()
        .iter()
        .map(|family| (&family.name, family.judge_file()))
        .filter(|(_, verdict)| *verdict != Verdict::Pass)
        .map(|(name, verdict)| format!("{name}: {verdict:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_architecture_of_gguf_has_a_file() {
    let files = converted();
    let tried = |name: &str| files.iter().any(|family| family.meta["architecture"] == name);
    let untried: Vec<&str> = gguf::architectures().filter(|name| !tried(name)).collect();
    assert!(untried.is_empty(), "{untried:?}");
}
