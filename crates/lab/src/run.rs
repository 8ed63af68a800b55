//! The folder of a run: run.json, metrics.jsonl, TensorBoard events, checkpoints. One process at a time writes to it.

use crate::config::Config;
use crate::error::{LabError, Result};
use crate::{checkpoint, environment};
use attendant_core::Processor;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const ABOUT: &str = "run.json";
pub(crate) const LOCK: &str = ".lock";
/// The file, in the folder of a run, with what was recorded of its steps.
pub const METRICS: &str = "metrics.jsonl";

/// The folder of a run, open for writing.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    about: Value,
    metrics: File,
    /// Held until the run is closed, so that no second process writes here.
    _lock: File,
}

impl Run {
    /// A new folder, for a run on this processor. The hashes of what it learns from, and of the model that it trains further, tell a
    /// later process whether these are still the same.
    ///
    /// # Errors
    /// If it exists and holds anything, or cannot be written.
    pub fn create(
        path: &Path,
        configuration: &Value,
        data: Option<&str>,
        model: Option<&str>,
        processor: &Processor,
    ) -> Result<Run> {
        // Once before the lock, so that a folder of something else gets no file from us; and once with it, since another
        // process may have begun here in between.
        vacant(path)?;
        fs::create_dir_all(path).map_err(|why| LabError::io(path, why))?;
        let lock = lock(path)?;
        vacant(path)?;
        let about = json!({
            "attendant": env!("CARGO_PKG_VERSION"),
            "configuration": configuration,
            "data_sha256": data,
            "from_sha256": model,
            "cpu": environment::cpu_name(),
            "isa": processor.isa().name(),
            "threads": processor.threads(),
            "git_revision": environment::git_revision(Path::new(".")),
            "started": environment::now(),
        });
        let text = serde_json::to_vec_pretty(&about).map_err(|why| LabError::json(path, why))?;
        replace(&path.join(ABOUT), &text)?;
        let metrics = append(&path.join(METRICS))?;
        Ok(Run { path: path.into(), about, metrics, _lock: lock })
    }

    /// The folder of a run that was there before.
    ///
    /// # Errors
    /// If it is no run, or another process has it.
    pub fn open(path: &Path) -> Result<Run> {
        let about = path.join(ABOUT);
        let text = fs::read(&about).map_err(|why| match why.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                LabError::content(path, "got no run.json, wanted the folder of a run")
            }
            _ => LabError::io(&about, why),
        })?;
        let about: Value = serde_json::from_slice(&text).map_err(|why| LabError::json(&about, why))?;
        let lock = lock(path)?;
        let metrics = append(&path.join(METRICS))?;
        Ok(Run { path: path.into(), about, metrics, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was created with.
    ///
    /// # Errors
    /// One line with the file and the field that someone or something has damaged.
    pub fn configuration(&self) -> Result<Config> {
        Config::from_json(&self.about["configuration"]).map_err(|why| LabError::content(&self.path.join(ABOUT), why))
    }

    /// Whether a run that learns from data with this hash is still the one that was created.
    ///
    /// # Errors
    /// If it learns from other data by now.
    pub fn learns_from(&self, data: Option<&str>) -> Result<()> {
        match (self.about["data_sha256"].as_str(), data) {
            (Some(then), Some(now)) if then != now => {
                Err(LabError::content(&self.path.join(ABOUT), "the text of data.text is not the one that the run began with"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a run that starts over with a model of this hash is still the one that was created.
    ///
    /// # Errors
    /// If the model is another by now.
    pub fn starts_from(&self, model: Option<&str>) -> Result<()> {
        match (self.about["from_sha256"].as_str(), model) {
            (Some(then), Some(now)) if then != now => {
                Err(LabError::content(&self.path.join(ABOUT), "the model of from is not the one that the run began with"))
            }
            _ => Ok(()),
        }
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

    /// Writes a checkpoint: see [`checkpoint::write`]. What was recorded up to it goes to the disk first, so that no checkpoint
    /// outlives a power cut that its metrics do not.
    ///
    /// # Errors
    /// What `fill` says, or what the file system does. Then the checkpoints that were there stay.
    pub fn checkpoint(&self, step: u64, keep: usize, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.metrics.sync_data().map_err(|why| LabError::io(&self.path.join(METRICS), why))?;
        checkpoint::write(&self.path, step, keep, fill)
    }

    /// Cuts off what was recorded after a step, all of it where that is none, and a last line that was torn.
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
            if at <= step && step > 0 {
                kept.extend_from_slice(line);
            }
        }
        replace(&path, &kept)?;
        self.metrics = append(&path)?;
        Ok(())
    }
}

/// Refuses a folder that holds anything but what is left of a creation that was cut off.
fn vacant(path: &Path) -> Result<()> {
    let left = [LOCK, "run.new"];
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.any(|entry| entry.is_ok_and(|entry| left.iter().all(|name| entry.file_name() != *name)))
        {
            true => Err(LabError::content(path, "the folder holds something, wanted a new or empty one (or --resume)")),
            false => Ok(()),
        },
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        Err(why) if why.kind() == ErrorKind::NotADirectory => Err(LabError::content(path, "got a file, wanted a folder")),
        Err(why) => Err(LabError::io(path, why)),
    }
}

fn damaged(path: &Path, line: usize, got: &[u8]) -> LabError {
    let got: String = String::from_utf8_lossy(got).trim_end().chars().take(40).collect();
    LabError::content(path, format!("line {line}: got {got:?}, wanted a record with a step"))
}

/// The lock of a folder, held until the file is closed.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let place = path.join(LOCK);
    let file = append(&place)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LabError::content(path, "another process is writing here, wanted it to end first")),
        Err(TryLockError::Error(why)) => Err(LabError::io(&place, why)),
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|why| LabError::io(path, why))
}

/// Writes a file whole or not at all: beside it, to the disk, then over it, and the name to the disk as well.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")))?.sync_all()
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

    fn create(path: &Path, configuration: &Value) -> Result<Run> {
        Run::create(path, configuration, None, None, &Processor::new(1))
    }

    #[test]
    fn what_comes_after_the_step_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut run = create(&path, &json!({"seed": 1})).unwrap();
        (1..=5).for_each(|step| run.record(&json!({"step": step})).unwrap());
        run.metrics.write_all(b"{\"step\": 3, \"los").unwrap();
        assert!(Run::open(&path).unwrap_err().to_string().contains("another process"));
        drop(run);
        assert!(create(&path, &json!({})).unwrap_err().to_string().contains("holds something"));
        let mut run = Run::open(&path).unwrap();
        assert_eq!(run.configuration().unwrap(), Config { seed: 1, ..Config::default() });
        run.resume_at(3).unwrap();
        run.record(&json!({"step": 4})).unwrap();
        let text = fs::read_to_string(path.join(METRICS)).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4}\n");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = create(folder.path(), &json!({})).unwrap();
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
        assert!(create(folder.path(), &json!({})).unwrap_err().to_string().contains("holds something"));
        fs::rename(folder.path().join("letter.txt"), folder.path().join(LOCK)).unwrap();
        create(folder.path(), &json!({})).unwrap();
    }

    #[test]
    fn a_damaged_description_is_named() {
        let folder = tempfile::tempdir().unwrap();
        drop(create(folder.path(), &json!({})).unwrap());
        for (text, word) in [
            ("{", "EOF"),
            ("{}", "got null, wanted a table"),
            ("7", "got null, wanted a table"),
            ("{\"configuration\": {\"seed\": \"x\"}}", "seed: got \"x\", wanted a whole number"),
        ] {
            fs::write(folder.path().join(ABOUT), text).unwrap();
            let error = Run::open(folder.path()).and_then(|run| run.configuration()).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("run.json") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_description_says_what_it_ran_on() {
        let folder = tempfile::tempdir().unwrap();
        let processor = Processor::new(3);
        Run::create(folder.path(), &json!({}), None, None, &processor).unwrap();
        let about: Value = serde_json::from_slice(&fs::read(folder.path().join("run.json")).unwrap()).unwrap();
        assert_eq!((&about["threads"], &about["isa"]), (&json!(3), &json!(processor.isa().name())));
    }

    #[test]
    fn of_many_creations_at_once_one_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let creations: Vec<Result<Run>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&path, &json!({})))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(creations.iter().filter(|made| made.is_ok()).count(), 1);
    }

    /// A device that cannot be synchronised stands for a disk that does not take the metrics.
    #[cfg(target_os = "linux")]
    #[test]
    fn no_checkpoint_is_there_before_its_metrics_are_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = create(folder.path(), &json!({})).unwrap();
        run.checkpoint(1, 2, |_| Ok(())).unwrap();
        run.metrics = append(Path::new("/dev/null")).unwrap();
        let error = run.checkpoint(2, 2, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl"), "{error}");
        assert_eq!(checkpoint::latest(folder.path()).unwrap().unwrap().0, 1);
    }
}
