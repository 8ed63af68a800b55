//! What a Rust file may hold.

use super::Breach;
use crate::source::{code, has_word, line_of};
use crate::tree::Tree;
use std::fmt;

const MAX_LINES: usize = 800;
const UNSAFE_CRATE: &str = "crates/kernels/";
/// The one module elsewhere. Its crate denies what the others forbid, since a module cannot allow what is forbidden.
const UNSAFE_MODULE: &str = "crates/formats/src/mapping";
const UNSAFE_MODULE_CRATE: &str = "crates/formats/";

/// Other crates forbid it in the root file, where the compiler holds them to it; test programs are crates of their own, so they are read.
pub(super) fn unsafe_forbidden(tree: &Tree) -> Vec<Breach> {
    let wanted = |root: &str| match root.starts_with(UNSAFE_MODULE_CRATE) {
        true => "#![deny(unsafe_code)]",
        false => "#![forbid(unsafe_code)]",
    };
    let roots = tree.members().flat_map(|package| &package.roots).filter(|root| !root.starts_with(UNSAFE_CRATE));
    let open = roots.filter(|root| !code(tree.text(root)).contains(wanted(root)));
    let mut breaches: Vec<_> = open.map(|root| Breach::new(root, format_args!("has no {}", wanted(root)))).collect();
    for (path, text) in tree.rust().filter(|(path, _)| !may_be_unsafe(path)) {
        let code = code(text);
        if has_word(&code, "unsafe") {
            breaches.push(Breach::new(path, "has unsafe code"));
        }
    }
    breaches
}

fn may_be_unsafe(path: &str) -> bool {
    let in_module = path.strip_prefix(UNSAFE_MODULE).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
    in_module || path.starts_with(UNSAFE_CRATE)
}

pub(super) fn length(tree: &Tree) -> Vec<Breach> {
    let lengths = tree.rust().map(|(path, text)| (path, text.lines().count()));
    lengths
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| Breach::new(path, format_args!("has {lines} lines")))
        .collect()
}

pub(super) fn unfinished(tree: &Tree) -> Vec<Breach> {
    containing(tree, &["todo!", "unimplemented!", "dbg!"])
}

pub(super) fn ignored(tree: &Tree) -> Vec<Breach> {
    containing(tree, &["#[ignore"])
}

/// Every place in code, not in a comment or a string, where one of `marks` begins.
fn containing(tree: &Tree, marks: &[&str]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, text) in tree.rust() {
        let code = code(text);
        for mark in marks {
            for (at, _) in code.match_indices(mark) {
                breaches.push(Breach::new(format_args!("{path}:{}", line_of(text, at)), format_args!("has {mark}")));
            }
        }
    }
    breaches
}

/// How long the Rust files are, in lines.
pub(super) struct Lengths {
    files: usize,
    median: usize,
    longest: usize,
}

impl Lengths {
    pub(super) fn of(tree: &Tree) -> Lengths {
        let mut lines: Vec<_> = tree.rust().map(|(_, text)| text.lines().count()).collect();
        lines.sort_unstable();
        let median = lines.get(lines.len() / 2).copied().unwrap_or(0);
        Lengths { files: lines.len(), median, longest: lines.last().copied().unwrap_or(0) }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Rust files, median {} lines, longest {}", self.files, self.median, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;
    use crate::tree::Package;

    #[test]
    fn unsafe_code_is_for_kernels() {
        let mut all = tree(&[
            ("crates/kernels/src/lib.rs", "unsafe fn f() {}"),
            ("crates/core/src/lib.rs", "//! Never unsafe.\n#![forbid(unsafe_code)]\nmod a;"),
            ("crates/mech/src/lib.rs", "// #![forbid(unsafe_code)]\n#![deny(unsafe_code)]"),
            ("crates/mech/tests/t.rs", "fn t() { unsafe { std::env::set_var(\"A\", \"1\") } }"),
        ]);
        let roots = ["crates/kernels/src/lib.rs", "crates/core/src/lib.rs", "crates/mech/src/lib.rs"];
        all.packages = vec![Package { member: true, roots: roots.map(str::to_owned).to_vec(), ..Package::default() }];
        assert_eq!(places(unsafe_forbidden, &all), ["crates/mech/src/lib.rs", "crates/mech/tests/t.rs"]);
    }

    #[test]
    fn unsafe_code_is_for_one_module_elsewhere() {
        let root = "crates/formats/src/lib.rs";
        let mut all = tree(&[
            (root, "#![deny(unsafe_code)]"),
            ("crates/formats/src/mapping.rs", "unsafe {}"),
            ("crates/formats/src/mapping/watch.rs", "unsafe {}"),
            ("crates/formats/src/mappings.rs", "unsafe {}"),
            ("crates/formats/tests/t.rs", "unsafe {}"),
        ]);
        all.packages = vec![Package { member: true, roots: vec![root.into()], ..Package::default() }];
        assert_eq!(places(unsafe_forbidden, &all), ["crates/formats/src/mappings.rs", "crates/formats/tests/t.rs"]);
        all.files.insert(root.into(), Some("mod mapping;".into()));
        assert_eq!(unsafe_forbidden(&all)[0], Breach::new(root, "has no #![deny(unsafe_code)]"));
    }

    #[test]
    fn eight_hundred_lines_are_the_most() {
        let all = tree(&[("a.rs", &"\n".repeat(800)), ("b.rs", &"\n".repeat(801)), ("c.md", &"\n".repeat(900))]);
        assert_eq!(length(&all), [Breach::new("b.rs", "has 801 lines")]);
        assert_eq!(Lengths::of(&all).to_string(), "2 Rust files, median 801 lines, longest 801");
    }

    #[test]
    fn unfinished_code_is_found_where_it_stands() {
        let all = tree(&[(
            "a.rs",
            "// todo!()\nfn f() {\n  todo!()\n}\nfn g() { dbg!(1); unimplemented!(\"x\") }\nconst S: &str = \"dbg!\";",
        )]);
        assert_eq!(places(unfinished, &all), ["a.rs:3", "a.rs:5", "a.rs:5"]);
    }

    #[test]
    fn ignored_tests_are_found_with_and_without_a_reason() {
        let all = tree(&[("a.rs", "/// Not `#[ignore]`d.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n#[ignore]\nfn g() {}")]);
        assert_eq!(places(ignored, &all), ["a.rs:3", "a.rs:5"]);
    }
}
