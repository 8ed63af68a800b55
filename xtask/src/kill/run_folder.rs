//! What a run leaves on disk: `checkpoints/step-N/`, the weights in `model.safetensors` among its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "model.safetensors";

pub(super) struct RunFolder {
    path: PathBuf,
    log: PathBuf,
}

impl RunFolder {
    pub(super) fn new(parent: &Path, name: &str) -> RunFolder {
        RunFolder { path: parent.join(name), log: parent.join(format!("{name}.log")) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where everything that its processes said on standard error is kept, beside the folder: the folder is the program's own.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Every name in `checkpoints`, finished or not.
    pub(super) fn entries(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.path.join("checkpoints")) else { return Vec::new() };
        let mut names: Vec<_> = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// The highest step that has a checkpoint.
    pub(super) fn newest_step(&self) -> Option<u64> {
        self.newest().map(|(step, _)| step)
    }

    fn newest(&self) -> Option<(u64, PathBuf)> {
        let steps = self.entries().into_iter().filter_map(|name| Some((name.strip_prefix("step-")?.parse().ok()?, name)));
        steps.max().map(|(step, name)| (step, self.path.join("checkpoints").join(name)))
    }

    /// Whether the last checkpoint holds the same files with the same bytes as that of `other`.
    ///
    /// # Errors
    /// Names the file that differs, and where.
    pub(super) fn same_result(&self, other: &RunFolder) -> Result<(), String> {
        let (own, theirs) = (self.result()?, other.result()?);
        if own.0 != theirs.0 {
            return Err(format!("ends at step {}, the uninterrupted run at step {}", own.0, theirs.0));
        }
        if !own.1.keys().eq(theirs.1.keys()) {
            return Err(format!("files {:?}, in the uninterrupted run {:?}", own.1.keys(), theirs.1.keys()));
        }
        for (name, bytes) in &own.1 {
            let want = &theirs.1[name];
            if bytes != want {
                let at = bytes.iter().zip(want).position(|(a, b)| a != b).unwrap_or(bytes.len().min(want.len()));
                return Err(format!("{name} differs from the uninterrupted run's, first at byte {at} of {}", want.len()));
            }
        }
        Ok(())
    }

    /// The last checkpoint: its step, and its files by name.
    fn result(&self) -> Result<(u64, BTreeMap<String, Vec<u8>>), String> {
        let (step, folder) = self.newest().ok_or_else(|| format!("{}: has no checkpoint", self.path.display()))?;
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).map_err(failed)?);
        }
        if files.contains_key(WEIGHTS) { Ok((step, files)) } else { Err(format!("{}: has no {WEIGHTS}", folder.display())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_step_counts_and_every_file_is_compared() {
        let parent = std::env::temp_dir().join(format!("xtask-run-folder-{}", std::process::id()));
        let run = |name: &str, files: &[(&str, &str)]| {
            let run = RunFolder::new(&parent, name);
            for (path, text) in files {
                let place = run.path().join("checkpoints").join(path);
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, text).unwrap();
            }
            run
        };
        let calm =
            run("calm", &[("step-9/model.safetensors", "old"), ("step-10/model.safetensors", "abc"), ("step-10/adam", "x")]);
        let same =
            run("same", &[("step-010/model.safetensors", "abc"), ("step-010/adam", "x"), ("step-11.new/model.safetensors", "")]);
        let other = run("other", &[("step-10/model.safetensors", "abd"), ("step-10/adam", "x")]);
        let short = run("short", &[("step-10/model.safetensors", "abc")]);
        let early = run("early", &[("step-9/model.safetensors", "abc")]);
        let bare = run("bare", &[("step-10/adam", "x")]);
        let empty = RunFolder::new(&parent, "empty");
        let results = [&same, &other, &short, &early, &bare, &empty].map(|run| run.same_result(&calm).err().unwrap_or_default());
        fs::remove_dir_all(&parent).unwrap();
        let wants = [
            "",
            "first at byte 2 of 3",
            "files [\"model.safetensors\"]",
            "ends at step 9",
            "has no model.safetensors",
            "no checkpoint",
        ];
        for (got, want) in results.iter().zip(wants) {
            assert_eq!(got.is_empty(), want.is_empty(), "{got}");
            assert!(got.contains(want), "{got}");
        }
    }
}
