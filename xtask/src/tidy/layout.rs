//! Names of files and folders, and what a folder of data must hold.

use super::Breach;
use crate::tree::Tree;
use std::collections::BTreeSet;

const SAYS_NOTHING: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];
const DATA: [&str; 3] = ["assets", "data", "fixtures"];

pub(super) fn names(tree: &Tree) -> Vec<Breach> {
    let mut found = BTreeSet::new();
    for path in tree.files.keys() {
        let mut end = 0;
        for part in path.split('/') {
            end += part.len();
            let stem = part.split('.').next().unwrap_or(part);
            if SAYS_NOTHING.contains(&stem) {
                found.insert(&path[..end]);
            }
            end += 1;
        }
    }
    found.into_iter().map(|path| Breach::new(path, "is named after nothing in particular")).collect()
}

/// The outermost folder of data answers for everything below it. A module that happens to be called `data` lies in `src` and is code.
pub(super) fn data_described(tree: &Tree) -> Vec<Breach> {
    let mut folders = BTreeSet::new();
    for path in tree.files.keys() {
        let parts: Vec<_> = path.split('/').collect();
        let folder_parts = &parts[..parts.len() - 1];
        if let Some(at) =
            folder_parts.iter().position(|part| DATA.contains(part)).filter(|&at| !folder_parts[..at].contains(&"src"))
        {
            folders.insert(folder_parts[..=at].join("/"));
        }
    }
    folders
        .into_iter()
        .filter(|folder| !tree.files.contains_key(&format!("{folder}/README.md")))
        .map(|folder| Breach::new(folder, "has no README.md that says where its files come from and under which licence"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found_as_files_and_as_folders() {
        let all = tree(&[
            ("crates/a/src/utils.rs", ""),
            ("crates/a/tests/common/one.rs", ""),
            ("crates/a/tests/common/two.rs", ""),
            ("crates/a/src/commonplace.rs", ""),
        ]);
        assert_eq!(places(names, &all), ["crates/a/src/utils.rs", "crates/a/tests/common"]);
    }

    #[test]
    fn a_folder_of_data_says_where_it_comes_from() {
        let all = tree(&[
            ("crates/a/tests/data/x/y.json", ""),
            ("crates/b/tests/data/README.md", ""),
            ("crates/b/tests/data/sub/z.json", ""),
            ("crates/c/src/data/text.rs", ""),
            ("assets/words.txt", ""),
        ]);
        assert_eq!(places(data_described, &all), ["assets", "crates/a/tests/data"]);
    }
}
