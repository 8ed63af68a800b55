//! What must be written down.

use super::Breach;
use crate::tree::Tree;
use std::collections::BTreeMap;

const DEPENDENCIES: &str = "docs/dependencies.md";

/// Every direct dependency has a row that says which crates use it, and every row has its dependency: a table that keeps the dead is
/// not believed about the living.
pub(super) fn dependencies(tree: &Tree) -> Vec<Breach> {
    let used = users(tree);
    let rows = rows(tree.text(DEPENDENCIES));
    let mut whats = Vec::new();
    for (name, users) in &used {
        let users = users.join(", ");
        match rows.get(name) {
            None => whats.push(format!("has no row `{name}` (used in {users})")),
            Some(listed) if *listed != users => {
                whats.push(format!("says that `{name}` is used in {listed}; the manifests say {users}"))
            }
            Some(_) => (),
        }
    }
    let dead = rows.keys().filter(|name| !used.contains_key(*name));
    whats.extend(dead.map(|name| format!("has a row `{name}`, on which nothing depends")));
    whats.into_iter().map(|what| Breach::new(DEPENDENCIES, what)).collect()
}

/// Every dependency from outside, with the folders of the members that name it, sorted.
fn users(tree: &Tree) -> BTreeMap<&str, Vec<&str>> {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in tree.members() {
        let folder = package.manifest.rsplit('/').nth(1).unwrap_or(&package.name);
        for name in package.dependencies.iter().filter(|name| !tree.members().any(|member| member.name == **name)) {
            let folders = users.entry(name).or_default();
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    users.values_mut().for_each(|folders| folders.sort_unstable());
    users
}

/// The rows "| `name` | where | ...": where, by name.
fn rows(document: &str) -> BTreeMap<&str, &str> {
    fn row(line: &str) -> Option<(&str, &str)> {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name, rest.split_once(" |")?.0))
    }
    document.lines().filter_map(row).collect()
}

pub(super) fn changelog(tree: &Tree) -> Vec<Breach> {
    let has_section =
        tree.text("CHANGELOG.md").lines().any(|line| matches!(line.trim_end(), "## Unreleased" | "## [Unreleased]"));
    if has_section { Vec::new() } else { vec![Breach::new("CHANGELOG.md", "has no section `## Unreleased`")] }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use crate::tree::Package;

    #[test]
    fn dependencies_and_rows_match_both_ways() {
        let rows = "| name | where | why |\n| --- | --- | --- |\n| `serde` | a, b | json |\n| `gone` | a | once |\n| `log` | a | to see |\n";
        let mut all = tree(&[(DEPENDENCIES, rows)]);
        let member = |name: &str, dependencies: &[&str]| Package {
            name: format!("attendant-{name}"),
            member: true,
            manifest: format!("crates/{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(|name| name.to_string()).collect(),
            ..Package::default()
        };
        let serde = Package { name: "serde".into(), dependencies: vec!["serde_derive".into()], ..Package::default() };
        all.packages = vec![member("b", &["attendant-a", "serde", "serde", "rand", "log"]), member("a", &["serde"]), serde];
        let found: Vec<_> = dependencies(&all).into_iter().map(|breach| breach.what).collect();
        let want = [
            "says that `log` is used in a; the manifests say b",
            "has no row `rand` (used in b)",
            "has a row `gone`, on which nothing depends",
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn the_changelog_has_room_for_the_next_change() {
        assert_eq!(changelog(&tree(&[("CHANGELOG.md", "# Changelog\n\n## Unreleased\n")])), []);
        assert_eq!(changelog(&tree(&[("CHANGELOG.md", "# Changelog\n\n## 0.1.0\nUnreleased\n")])).len(), 1);
        assert_eq!(changelog(&tree(&[])).len(), 1);
    }
}
