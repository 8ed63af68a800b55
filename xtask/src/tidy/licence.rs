//! Licences of everything the workspace is built from, as `deny.toml` allows them. `cargo deny` checks the same and more, where it is
//! installed; this rule runs everywhere.

use super::Breach;
use crate::tree::Tree;

const POLICY: &str = "deny.toml";

pub(super) fn allowed(tree: &Tree) -> Vec<Breach> {
    let Some(policy) = allow_list(tree.text(POLICY)) else {
        return vec![Breach::new(POLICY, "has no list `allow` under [licenses]")];
    };
    let foreign = tree.packages.iter().filter(|package| !package.member);
    foreign
        .filter(|package| !package.license.as_deref().is_some_and(|license| permits(license, &policy)))
        .map(|package| {
            Breach::new(&package.name, format_args!("licence {:?} is not allowed", package.license.as_deref().unwrap_or("none")))
        })
        .collect()
}

/// The strings of `allow = [...]` under `[licenses]`.
fn allow_list(toml: &str) -> Option<Vec<&str>> {
    let section = toml.split_once("[licenses]")?.1;
    let list = section.split_once("allow = [")?.1.split_once(']')?.0;
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or(line));
    Some(lines.flat_map(|line| line.split('"').skip(1).step_by(2)).collect())
}

/// Whether the licence expression can be met with `policy` alone. A slash is an old spelling of OR.
fn permits(expression: &str, policy: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>();
    words.reverse();
    let met = any(&mut words, policy);
    met == Some(true) && words.is_empty()
}

/// Terms joined by OR, read from the end of `words`; `None` if the expression is malformed.
fn any(words: &mut Vec<&str>, policy: &[&str]) -> Option<bool> {
    let mut met = all(words, policy)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        met |= all(words, policy)?;
    }
    Some(met)
}

/// Terms joined by AND, which binds tighter.
fn all(words: &mut Vec<&str>, policy: &[&str]) -> Option<bool> {
    let mut met = term(words, policy)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        met &= term(words, policy)?;
    }
    Some(met)
}

fn term(words: &mut Vec<&str>, policy: &[&str]) -> Option<bool> {
    let name = words.pop()?;
    if name == "(" {
        let met = any(words, policy)?;
        return words.pop_if(|word| *word == ")").map(|_| met);
    }
    if words.pop_if(|word| *word == "WITH").is_some() {
        let exception = format!("{name} WITH {}", words.pop()?);
        return Some(policy.contains(&exception.as_str()));
    }
    Some(policy.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;
    use crate::tree::Package;

    #[test]
    fn expressions_mean_what_they_say() {
        let policy = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Zlib"];
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0 OR (MIT AND Zlib)",
            "MIT/GPL-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "GPL-3.0 AND BSL-1.0 OR MIT",
        ] {
            assert!(permits(good, &policy), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Zlib) AND GPL-3.0",
            "MIT WITH LLVM-exception",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT Zlib",
        ] {
            assert!(!permits(bad, &policy), "{bad}");
        }
    }

    #[test]
    fn a_package_outside_the_policy_is_named() {
        let mut all = tree(&[(POLICY, "[licenses]\nallow = [\n    \"MIT\",\n    # \"GPL-3.0\" never\n]\n")]);
        let package = |name: &str, license: Option<&str>| Package {
            name: name.into(),
            license: license.map(str::to_owned),
            ..Package::default()
        };
        all.packages = vec![package("good", Some("MIT")), package("bad", Some("GPL-3.0")), package("silent", None)];
        assert_eq!(places(allowed, &all), ["bad", "silent"]);
        all.files.clear();
        assert_eq!(places(allowed, &all), [POLICY]);
    }
}
