//! The folder of a run: run.json, metrics.jsonl, TensorBoard events, checkpoints. One process at a time writes to it.

use crate::environment;
use crate::error::{LabError, Result};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = ".lock";
const METRICS: &str = "metrics.jsonl";

/// The folder of a run, open for writing.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    configuration: Value,
    metrics: File,
    /// Held until the run is closed, so that no second process writes here.
    _lock: File,
}

impl Run {
    /// A new folder.
    ///
    /// # Errors
    /// If it exists and holds anything, or cannot be written.
    pub fn create(path: &Path, configuration: &Value) -> Result<Run> {
        let taken = match fs::read_dir(path) {
            // A lock, and a description that was not finished, are left of a creation that was cut off.
            Ok(mut entries) => {
                entries.any(|entry| entry.is_ok_and(|entry| ![LOCK, "run.new"].contains(&&*entry.file_name().to_string_lossy())))
            }
            Err(why) if why.kind() == ErrorKind::NotFound => false,
            Err(why) => return Err(LabError::io(path, why)),
        };
        if taken {
            return Err(LabError::content(path, "the folder holds something, wanted a new or empty one (or --resume)"));
        }
        fs::create_dir_all(path).map_err(|why| LabError::io(path, why))?;
        let lock = lock(path)?;
        let about = json!({
            "attendant": env!("CARGO_PKG_VERSION"),
            "configuration": configuration,
            "cpu": environment::cpu_name(),
            "git_revision": environment::git_revision(),
            "started": environment::now(),
        });
        let text = serde_json::to_vec_pretty(&about).map_err(|why| LabError::json(path, why))?;
        replace(&path.join("run.json"), &text)?;
        let metrics = append(&path.join(METRICS))?;
        Ok(Run { path: path.into(), configuration: configuration.clone(), metrics, _lock: lock })
    }

    /// The folder of a run that was there before.
    ///
    /// # Errors
    /// If it is no run, or another process has it.
    pub fn open(path: &Path) -> Result<Run> {
        let about = path.join("run.json");
        let text = fs::read(&about).map_err(|why| match why.kind() {
            ErrorKind::NotFound => LabError::content(path, "got no run.json, wanted the folder of a run"),
            _ => LabError::io(&about, why),
        })?;
        let mut about: Value = serde_json::from_slice(&text).map_err(|why| LabError::json(&about, why))?;
        let lock = lock(path)?;
        let metrics = append(&path.join(METRICS))?;
        Ok(Run { path: path.into(), configuration: about["configuration"].take(), metrics, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was created with.
    pub fn configuration(&self) -> &Value {
        &self.configuration
    }

    /// Adds a line to metrics.jsonl.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If the record has no "step": the run could not be resumed.
    pub fn record(&mut self, record: &Value) -> Result<()> {
        assert!(record["step"].is_u64(), "a record without a step: {record}");
        let line = format!("{record}\n");
        self.metrics.write_all(line.as_bytes()).map_err(|why| LabError::io(&self.path.join(METRICS), why))
    }

    /// Cuts off what was recorded after a step, and a last line that was torn.
    ///
    /// # Errors
    /// If the file cannot be read or written, or another line is damaged.
    pub fn resume_at(&mut self, step: u64) -> Result<()> {
        let path = self.path.join(METRICS);
        let text = fs::read(&path).map_err(|why| LabError::io(&path, why))?;
        let mut kept = Vec::new();
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if !line.ends_with(b"\n") {
                break;
            }
            let record: Option<Value> = serde_json::from_slice(line).ok();
            let at = record.and_then(|record| record["step"].as_u64()).ok_or_else(|| damaged(&path, index + 1, line))?;
            if at <= step {
                kept.extend_from_slice(line);
            }
        }
        replace(&path, &kept)?;
        self.metrics = append(&path)?;
        Ok(())
    }
}

fn damaged(path: &Path, line: usize, got: &[u8]) -> LabError {
    let got: String = String::from_utf8_lossy(got).trim_end().chars().take(40).collect();
    LabError::content(path, format!("line {line}: got {got:?}, wanted a record with a step"))
}

fn lock(path: &Path) -> Result<File> {
    let place = path.join(LOCK);
    let file = append(&place)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(LabError::content(path, "another process is writing this run, wanted it to end first"))
        }
        Err(TryLockError::Error(why)) => Err(LabError::io(&place, why)),
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|why| LabError::io(path, why))
}

/// Writes a file whole or not at all: beside it, to the disk, then over it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|why| {
        // The first failure is what matters; the next replacement starts the file beside it anew.
        let _ = fs::remove_file(&beside);
        LabError::io(path, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_step_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut run = Run::create(&path, &json!({"seed": 1})).unwrap();
        (1..=5).for_each(|step| run.record(&json!({"step": step})).unwrap());
        run.metrics.write_all(b"{\"step\": 3, \"los").unwrap();
        assert!(Run::open(&path).unwrap_err().to_string().contains("another process"));
        drop(run);
        assert!(Run::create(&path, &json!({})).unwrap_err().to_string().contains("holds something"));
        let mut run = Run::open(&path).unwrap();
        assert_eq!(run.configuration(), &json!({"seed": 1}));
        run.resume_at(3).unwrap();
        run.record(&json!({"step": 4})).unwrap();
        let text = fs::read_to_string(path.join(METRICS)).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4}\n");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::create(folder.path(), &json!({})).unwrap();
        for damage in ["\0\0\0\n", "{\"loss\": 1}\n", "{\"step\": \n", "\n"] {
            fs::write(folder.path().join(METRICS), format!("{{\"step\":1}}\n{damage}{{\"step\":2}}\n")).unwrap();
            let error = run.resume_at(5).unwrap_err().to_string();
            assert!(error.contains("metrics.jsonl: line 2: got") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_folder_that_is_no_run_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Run::open(folder.path()).unwrap_err().to_string().contains("no run.json"));
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        assert!(Run::create(folder.path(), &json!({})).unwrap_err().to_string().contains("holds something"));
        fs::rename(folder.path().join("letter.txt"), folder.path().join(LOCK)).unwrap();
        Run::create(folder.path(), &json!({})).unwrap();
    }
}
