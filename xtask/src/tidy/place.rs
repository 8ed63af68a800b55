//! What ties the repository to one machine.

use super::Breach;
use crate::source::line_of;
use crate::tree::Tree;

/// Cut in two, so that this file does not break its own rule.
const PLACES: [&str; 11] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("../sh", "ared"),
    concat!("index.cr", "ates.io"),
    concat!("static.cr", "ates.io"),
    concat!("py", "pi.org"),
    concat!("files.pyth", "onhosted.org"),
    concat!("registry.np", "mjs.org"),
    concat!("deb.deb", "ian.org"),
];

pub(super) fn machine_places(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, text) in tree.texts(|_| true) {
        for place in PLACES {
            for (at, _) in text.match_indices(place) {
                breaches.push(Breach::new(format_args!("{path}:{}", line_of(text, at)), format_args!("names {place}")));
            }
        }
    }
    breaches
}

/// Looks at what configures a build; a document may speak of the flag.
pub(super) fn target_cpu(tree: &Tree) -> Vec<Breach> {
    let flag = concat!("target", "-cpu");
    let configures = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        path.ends_with(".toml")
            || path.ends_with(".sh")
            || path.ends_with(".yml")
            || path.starts_with(".ci/")
            || name == "build.rs"
    };
    tree.texts(configures)
        .flat_map(|(path, text)| text.match_indices(flag).map(move |(at, _)| (path, line_of(text, at))))
        .map(|(path, line)| Breach::new(format_args!("{path}:{line}"), format_args!("sets {flag}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    #[test]
    fn machine_places_are_found_in_any_text() {
        for place in PLACES {
            let text = format!("first line\nsee {place}x");
            assert_eq!(places(machine_places, &tree(&[("docs/a.md", &text)])), ["docs/a.md:2"], "{place}");
        }
        assert_eq!(machine_places(&tree(&[("a.md", "https://example.com/networks and crates.io")])), []);
    }

    #[test]
    fn a_target_is_found_where_it_would_take_effect() {
        let flag = format!("rustflags = [\"-C{}=native\"]", concat!("target", "-cpu"));
        let all =
            tree(&[(".cargo/config.toml", &flag), (".ci/run", &flag), ("crates/a/build.rs", &flag), ("docs/speed.md", &flag)]);
        assert_eq!(places(target_cpu, &all), [".cargo/config.toml:1", ".ci/run:1", "crates/a/build.rs:1"]);
    }
}
