//! What must be written down.

use super::Breach;
use crate::tree::Tree;
use std::collections::BTreeSet;

const DEPENDENCIES: &str = "docs/dependencies.md";

/// Every direct dependency has a row, and every row has its dependency: a table that keeps the dead is not believed about the living.
pub(super) fn dependencies(tree: &Tree) -> Vec<Breach> {
    let members: BTreeSet<_> = tree.members().map(|package| package.name.as_str()).collect();
    let used: BTreeSet<_> = tree.members().flat_map(|package| &package.dependencies).map(String::as_str).collect();
    let used: BTreeSet<_> = used.difference(&members).copied().collect();
    let rows: BTreeSet<_> =
        tree.text(DEPENDENCIES).lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let missing = used.difference(&rows).map(|name| format!("has no row `{name}`"));
    let dead = rows.difference(&used).map(|name| format!("has a row `{name}`, on which nothing depends"));
    missing.chain(dead).map(|what| Breach::new(DEPENDENCIES, what)).collect()
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
        let mut all = tree(&[(DEPENDENCIES, "| name | why |\n| --- | --- |\n| `serde` | json |\n| `gone` | once |\n")]);
        let member = |name: &str, dependencies: &[&str]| Package {
            name: name.into(),
            member: true,
            dependencies: dependencies.iter().map(|name| name.to_string()).collect(),
            ..Package::default()
        };
        let serde = Package { name: "serde".into(), dependencies: vec!["serde_derive".into()], ..Package::default() };
        all.packages = vec![member("a", &["serde"]), member("b", &["a", "rand"]), serde];
        let found: Vec<_> = dependencies(&all).into_iter().map(|breach| breach.what).collect();
        assert_eq!(found, ["has no row `rand`", "has a row `gone`, on which nothing depends"]);
    }

    #[test]
    fn the_changelog_has_room_for_the_next_change() {
        assert_eq!(changelog(&tree(&[("CHANGELOG.md", "# Changelog\n\n## Unreleased\n")])), []);
        assert_eq!(changelog(&tree(&[("CHANGELOG.md", "# Changelog\n\n## 0.1.0\nUnreleased\n")])).len(), 1);
        assert_eq!(changelog(&tree(&[])).len(), 1);
    }
}
