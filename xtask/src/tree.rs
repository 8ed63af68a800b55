//! The repository as the rules see it: its files by path, and what cargo knows of its packages.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Every file that belongs to the repository, and every package it is built from.
#[derive(Default)]
pub(crate) struct Tree {
    /// By path from the root, with `/` between folders. `None`: the file is not text.
    pub(crate) files: BTreeMap<String, Option<String>>,
    /// The workspace's members and everything they depend on.
    pub(crate) packages: Vec<Package>,
}

/// A package as `cargo metadata` describes it.
#[derive(Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) license: Option<String>,
    /// Whether it is a member of this workspace.
    pub(crate) member: bool,
    /// Path of the manifest; from the root for a member.
    pub(crate) manifest: String,
    /// Names of direct dependencies, of every kind and platform.
    pub(crate) dependencies: Vec<String>,
    /// Root files of the library and of the programs, from the root of the repository.
    pub(crate) roots: Vec<String>,
}

impl Tree {
    /// Reads the repository at `root`.
    ///
    /// # Errors
    /// If a file cannot be read, or cargo refuses (a `Cargo.lock` that is out of date among the reasons).
    pub(crate) fn read(root: &Path, cargo: &mut Command) -> Result<Tree, String> {
        let output =
            cargo.args(["metadata", "--format-version", "1", "--locked"]).output().map_err(|e| format!("cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata = serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
        Ok(Tree { files: read_files(root)?, packages: packages(&metadata)? })
    }

    /// The text files whose path passes `wanted`.
    pub(crate) fn texts(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(move |(path, text)| text.as_deref().filter(|_| wanted(path)).map(|text| (path.as_str(), text)))
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts(|path| path.ends_with(".rs"))
    }

    /// The text of one file, empty if there is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.files.get(path).and_then(Option::as_deref).unwrap_or("")
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.member)
    }
}

/// Every file below `root`, but for git's own and what `.gitignore` names at the root. The folder is walked rather than git asked,
/// so that an unpacked archive is held to the same rules as a clone.
fn read_files(root: &Path) -> Result<BTreeMap<String, Option<String>>, String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut skip: Vec<&str> =
        ignored.lines().filter_map(|line| line.strip_prefix('/')).map(|line| line.trim_end_matches('/')).collect();
    skip.push(".git");
    let mut files = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let place = root.join(&folder);
        for entry in fs::read_dir(&place).map_err(|e| format!("{}: {e}", place.display()))? {
            let entry = entry.map_err(|e| format!("{}: {e}", place.display()))?;
            let path = format!("{folder}{}", entry.file_name().to_string_lossy());
            if skip.contains(&path.as_str()) {
                continue;
            }
            if entry.path().is_dir() {
                folders.push(format!("{path}/"));
            } else {
                let bytes = fs::read(entry.path()).map_err(|e| format!("{path}: {e}"))?;
                files.insert(path, String::from_utf8(bytes).ok());
            }
        }
    }
    Ok(files)
}

fn packages(metadata: &Value) -> Result<Vec<Package>, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let root = format!("{}/", text(&metadata["workspace_root"]).ok_or("cargo metadata: no workspace_root")?);
    let from_root = |path: String| path.strip_prefix(&root).map(str::to_owned).unwrap_or(path);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let members = list(&metadata["workspace_members"]);
    let mut packages = Vec::new();
    for package in list(&metadata["packages"]) {
        let is_root = |target: &Value| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib" || kind == "bin"))
        };
        packages.push(Package {
            name: text(&package["name"]).ok_or("cargo metadata: a package without a name")?,
            license: text(&package["license"]),
            member: members.contains(&package["id"]),
            manifest: text(&package["manifest_path"]).map(from_root).unwrap_or_default(),
            dependencies: list(&package["dependencies"]).iter().filter_map(|dependency| text(&dependency["name"])).collect(),
            roots: list(&package["targets"])
                .iter()
                .filter(|t| is_root(t))
                .filter_map(|t| text(&t["src_path"]))
                .map(from_root)
                .collect(),
        });
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_folder_without_what_git_ignores() {
        let root = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        for (path, bytes) in [
            (".gitignore", b"/target\n/runs/\n".as_slice()),
            (".git/config", b"x"),
            ("target/debug/x", b"x"),
            ("runs/a", b"x"),
            ("crates/a/target/kept", b"x"),
            (".ci/run", b"text"),
            ("assets/weights.bin", &[0xff, 0xfe]),
        ] {
            let place = root.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, bytes).unwrap();
        }
        let files = read_files(&root);
        fs::remove_dir_all(&root).unwrap();
        let files = files.unwrap();
        let paths: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(paths, [".ci/run", ".gitignore", "assets/weights.bin", "crates/a/target/kept"]);
        assert_eq!(files["assets/weights.bin"], None);
        assert_eq!(files[".ci/run"].as_deref(), Some("text"));
    }

    #[test]
    fn understands_what_cargo_says() {
        let metadata = serde_json::json!({
            "workspace_root": "/r", "workspace_members": ["a-id"],
            "packages": [
                {"id": "a-id", "name": "a", "license": "MIT", "manifest_path": "/r/crates/a/Cargo.toml",
                 "dependencies": [{"name": "b"}],
                 "targets": [{"kind": ["lib"], "src_path": "/r/crates/a/src/lib.rs"}, {"kind": ["test"], "src_path": "/r/crates/a/tests/t.rs"}]},
                {"id": "b-id", "name": "b", "license": null, "manifest_path": "/elsewhere/b/Cargo.toml", "dependencies": [], "targets": []},
            ],
        });
        let all = packages(&metadata).unwrap();
        assert_eq!((all[0].name.as_str(), all[0].member, all[0].manifest.as_str()), ("a", true, "crates/a/Cargo.toml"));
        assert_eq!(
            (all[0].dependencies.as_slice(), all[0].roots.as_slice()),
            (&["b".to_owned()][..], &["crates/a/src/lib.rs".to_owned()][..])
        );
        assert_eq!((all[1].member, all[1].license.as_deref()), (false, None));
    }
}
