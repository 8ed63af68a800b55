//! `cargo x tidy`: the rules of the house that no compiler checks. Each rule is a function from the repository to what breaks it.

mod document;
mod edge;
mod exam;
mod layout;
mod licence;
mod place;
mod rust;

use crate::tree::Tree;
use std::fmt;

/// A rule, and the reason that is printed with whatever breaks it.
struct Rule {
    name: &'static str,
    why: &'static str,
    check: fn(&Tree) -> Vec<Breach>,
}

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    /// A path, with a line where there is one.
    place: String,
    what: String,
}

impl Breach {
    fn new(place: impl fmt::Display, what: impl fmt::Display) -> Breach {
        Breach { place: place.to_string(), what: what.to_string() }
    }
}

const RULES: &[Rule] = &[
    Rule {
        name: "floors",
        why: "imports go down only, so a floor can be read, tested and replaced without the floors above it",
        check: edge::floors,
    },
    Rule { name: "unused", why: "a dependency costs every build and every reader, used or not", check: edge::unused },
    Rule {
        name: "lints",
        why: "a crate that does not take the workspace's lints escapes all of them",
        check: edge::lints_inherited,
    },
    Rule {
        name: "unsafe",
        why: "only attendant-kernels and the module that maps files may hold unsafe code, so only they have to be audited for it",
        check: rust::unsafe_forbidden,
    },
    Rule { name: "length", why: "a file above 800 lines is several things; name them and part them", check: rust::length },
    Rule {
        name: "unfinished",
        why: "what is not done must not look done, nor print behind the reader's back",
        check: rust::unfinished,
    },
    Rule { name: "ignored", why: "a test that does not run proves nothing; remove it or make it fast", check: rust::ignored },
    Rule { name: "names", why: "such a name says nothing of what lies inside, so anything ends up there", check: layout::names },
    Rule {
        name: "data",
        why: "whoever redistributes the repository must know where its data comes from and under which licence",
        check: layout::data_described,
    },
    Rule {
        name: "target",
        why: "the instruction set is chosen at run time: the published binary and a local build must have the same speed",
        check: place::target_cpu,
    },
    Rule { name: "places", why: "a path or a host of one machine is wrong on every other", check: place::machine_places },
    Rule {
        name: "exam",
        why: "the exam's bounds are the same for everyone; only the seed may come from outside",
        check: exam::reads_only_the_seed,
    },
    Rule { name: "registry", why: "a mechanism that is not registered is not examined", check: exam::registered },
    Rule {
        name: "dependencies",
        why: "each dependency is a decision, and docs/dependencies.md is where its reason can be read",
        check: document::dependencies,
    },
    Rule {
        name: "licences",
        why: "only licences that deny.toml allows can be shipped under MIT OR Apache-2.0",
        check: licence::allowed,
    },
    Rule { name: "changelog", why: "a change that a user notices is written down with the change", check: document::changelog },
];

/// Prints what breaks a rule, and the median length of a Rust file.
///
/// # Errors
/// If a rule is broken.
pub(crate) fn run() -> Result<(), String> {
    let tree = Tree::read(crate::root(), &mut crate::cargo())?;
    let mut count = 0;
    for rule in RULES {
        let breaches = (rule.check)(&tree);
        for Breach { place, what } in &breaches {
            println!("{place}: {what} [{}]", rule.name);
        }
        if !breaches.is_empty() {
            println!("    {}: {}", rule.name, rule.why);
        }
        count += breaches.len();
    }
    let lengths = rust::Lengths::of(&tree);
    println!("tidy: {} rules, {count} breaches; {lengths}", RULES.len());
    if count == 0 { Ok(()) } else { Err(format!("tidy: {count} breaches")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository of text files.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        Tree {
            files: files.iter().map(|(path, text)| (path.to_string(), Some(text.to_string()))).collect(),
            packages: Vec::new(),
        }
    }

    /// Where `check` finds a breach.
    pub(super) fn places(check: fn(&Tree) -> Vec<Breach>, tree: &Tree) -> Vec<String> {
        check(tree).into_iter().map(|breach| breach.place).collect()
    }

    #[test]
    fn names_of_rules_are_distinct() {
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }
}
