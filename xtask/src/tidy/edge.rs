//! What a crate may depend on.

use super::Breach;
use crate::source::{code, has_word};
use crate::tree::Tree;
use std::collections::BTreeSet;

/// The floor of every crate of the workspace but `xtask`, which stands outside. A crate uses lower floors only.
const FLOORS: &[(&str, u32)] = &[
    ("attendant-kernels", 0),
    ("attendant-formats", 0),
    ("attendant-core", 1),
    ("attendant-hub", 1),
    ("attendant-state", 2),
    ("attendant-mech", 3),
    ("attendant-model", 4),
    ("attendant-lab", 5),
    ("attendant-engine", 5),
    ("attendant-convert", 5),
    ("attendant-server", 6),
    ("attendant", 7),
];

const OUTSIDE: &str = "xtask";

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|&(_, floor)| floor)
}

pub(super) fn floors(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in tree.members() {
        let own = floor(&package.name);
        if own.is_none() && package.name != OUTSIDE {
            breaches.push(Breach::new(
                &package.manifest,
                format_args!("{} has no floor; give it one in xtask/src/tidy/edge.rs", package.name),
            ));
        }
        for used in package.dependencies.iter().filter(|used| tree.members().any(|member| member.name == **used)) {
            let allowed = matches!((own, floor(used)), (Some(own), Some(below)) if below < own);
            if !allowed {
                let storey = |name| floor(name).map_or("outside the floors".into(), |floor| format!("floor {floor}"));
                let edge = format_args!("{} ({}) depends on {used} ({})", package.name, storey(&package.name), storey(used));
                breaches.push(Breach::new(&package.manifest, edge));
            }
        }
    }
    breaches
}

pub(super) fn lints_inherited(tree: &Tree) -> Vec<Breach> {
    let inherits = |manifest: &str| {
        let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
        lines.any(|line| line == "workspace = true")
    };
    tree.members()
        .filter(|package| !inherits(tree.text(&package.manifest)))
        .map(|package| Breach::new(&package.manifest, "has no [lints] workspace = true"))
        .collect()
}

/// Looks for the name in the code of the crate, its tests and examples included.
pub(super) fn unused(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in tree.members() {
        let folder = package.manifest.trim_end_matches("Cargo.toml");
        let code: Vec<_> = tree.rust().filter(|(path, _)| path.starts_with(folder)).map(|(_, text)| code(text)).collect();
        let names: BTreeSet<_> = package.dependencies.iter().collect();
        let idle = names.into_iter().filter(|name| !code.iter().any(|code| has_word(code, &name.replace('-', "_"))));
        breaches.extend(
            idle.map(|name| Breach::new(&package.manifest, format_args!("depends on {name}, which its code never names"))),
        );
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use crate::tree::Package;

    fn workspace(edges: &[(&str, &[&str])]) -> Tree {
        let package = |&(name, dependencies): &(&str, &[&str])| Package {
            name: name.into(),
            member: true,
            manifest: format!("{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(|name| name.to_string()).collect(),
            ..Package::default()
        };
        Tree { packages: edges.iter().map(package).collect(), ..Tree::default() }
    }

    #[test]
    fn down_is_allowed() {
        let tree = workspace(&[
            ("attendant-kernels", &["proptest"]),
            ("attendant-state", &["attendant-kernels"]),
            ("attendant", &["attendant-state", "attendant-kernels"]),
            ("xtask", &["serde_json"]),
        ]);
        assert_eq!(floors(&tree), []);
    }

    #[test]
    fn up_sideways_outside_and_unknown_are_not() {
        for (edges, want) in [
            (("attendant-kernels", "attendant-core"), "attendant-kernels (floor 0) depends on attendant-core (floor 1)"),
            (("attendant-lab", "attendant-engine"), "attendant-lab (floor 5) depends on attendant-engine (floor 5)"),
            (("attendant", "xtask"), "attendant (floor 7) depends on xtask (outside the floors)"),
            (("xtask", "attendant-core"), "xtask (outside the floors) depends on attendant-core (floor 1)"),
        ] {
            let (from, to) = edges;
            let breaches = floors(&workspace(&[(from, &[to]), (to, &[])]));
            assert_eq!(breaches, [Breach::new(format_args!("{from}/Cargo.toml"), want)]);
        }
        let breaches = floors(&workspace(&[("attendant-new", &[])]));
        assert!(breaches[0].what.starts_with("attendant-new has no floor"));
    }

    #[test]
    fn a_member_that_leaves_the_lints_out_is_named() {
        let mut all = workspace(&[("a", &[]), ("b", &[])]);
        all.files =
            tree(&[("a/Cargo.toml", "[lints]\nworkspace = true\n"), ("b/Cargo.toml", "[lib]\n[lints.rust]\nworkspace = true\n")])
                .files;
        assert_eq!(super::super::tests::places(lints_inherited, &all), ["b/Cargo.toml"]);
    }

    #[test]
    fn a_dependency_that_no_code_names_is_found() {
        let mut all = workspace(&[("a", &["quick-xml", "rand", "serde"])]);
        all.files = tree(&[
            ("a/src/lib.rs", "// rand\nuse serde::Serialize;"),
            ("a/tests/t.rs", "quick_xml::Reader::new();"),
            ("ab/src/lib.rs", "use rand;"),
        ])
        .files;
        assert_eq!(unused(&all), [Breach::new("a/Cargo.toml", "depends on rand, which its code never names")]);
    }
}
