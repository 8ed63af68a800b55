//! What the exam may read, and that every mechanism sits it.

use super::Breach;
use crate::source::{code, has_word, line_of};
use crate::tree::Tree;

const SEED: &str = "ATTENDANT_SEED";
const MECHANISMS: &str = "crates/mech/src/mechanisms/";
const REGISTRY: &str = "crates/mech/src/registry.rs";

/// The files that hold the exam: everything in `crates/mech` with `exam` in its path below the crate, and its test programs.
fn is_exam(path: &str) -> bool {
    path.strip_prefix("crates/mech/").is_some_and(|inside| inside.starts_with("tests/") || inside.contains("exam"))
}

/// An environment variable is read with a literal name, so that this rule can see which one. Variables that cargo sets for a
/// build are paths, not settings. A feature would loosen a bound as well as a variable.
pub(super) fn reads_only_the_seed(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, text) in tree.rust().filter(|(path, _)| is_exam(path)) {
        let code = code(text);
        for mark in ["env::var", "env!(", "feature ="] {
            for (at, _) in code.match_indices(mark) {
                let name = literal_after(text, at + mark.len());
                if name != Some(SEED) && !(mark == "env!(" && name.is_some_and(|name| name.starts_with("CARGO_"))) {
                    let place = format_args!("{path}:{}", line_of(text, at));
                    breaches.push(Breach::new(place, format_args!("asks for {} with {mark}", name.unwrap_or("something"))));
                }
            }
        }
    }
    breaches
}

/// The string that opens within the rest of the line, if the line has one.
fn literal_after(text: &str, at: usize) -> Option<&str> {
    text[at..].lines().next().and_then(|line| line.split('"').nth(1))
}

pub(super) fn registered(tree: &Tree) -> Vec<Breach> {
    let registry = code(tree.text(REGISTRY));
    let files = tree.files.keys().filter_map(|path| Some((path, path.strip_prefix(MECHANISMS)?.strip_suffix(".rs")?)));
    files
        .filter(|(_, name)| !name.contains('/') && *name != "mod" && !has_word(&registry, name))
        .map(|(path, name)| Breach::new(path, format_args!("{name} is not in {REGISTRY}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    #[test]
    fn the_exam_reads_the_seed_and_nothing_else() {
        let all = tree(&[
            (
                "crates/mech/tests/exam.rs",
                "std::env::var(\"ATTENDANT_SEED\")\nenv!(\"CARGO_MANIFEST_DIR\")\nenv::var_os(\"LOOSE\")",
            ),
            ("crates/mech/src/exam/bound.rs", "let bound = if cfg!(feature = \"fast\") { 1.0 } else { 1e-6 };"),
            (
                "crates/mech/src/exam/all.rs",
                "for (name, value) in std::env::vars() {}\noption_env!(\"CI\");\n// env::var(\"CI\")",
            ),
            ("crates/kernels/src/isa.rs", "std::env::var(\"ATTENDANT_ISA\")"),
        ]);
        let want = [
            "crates/mech/src/exam/all.rs:1",
            "crates/mech/src/exam/all.rs:2",
            "crates/mech/src/exam/bound.rs:1",
            "crates/mech/tests/exam.rs:3",
        ];
        assert_eq!(places(reads_only_the_seed, &all), want);
    }

    #[test]
    fn a_mechanism_that_no_one_registered_is_found() {
        let all = tree(&[
            ("crates/mech/src/registry.rs", "registry! { gqa, mla } // delta"),
            ("crates/mech/src/mechanisms/gqa.rs", ""),
            ("crates/mech/src/mechanisms/mla/absorb.rs", ""),
            ("crates/mech/src/mechanisms/delta.rs", ""),
        ]);
        assert_eq!(places(registered, &all), ["crates/mech/src/mechanisms/delta.rs"]);
    }
}
