//! Checkpoints of a run: folders that appear whole or not at all, with a manifest of hashes.

use crate::error::{LabError, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What a checkpoint holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    step: u64,
    files: Vec<Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    sha256: String,
}

const MANIFEST: &str = "manifest.json";

/// Makes a checkpoint of a step: `fill` writes its files into a folder aside, everything goes to the disk, and only then does
/// the folder get its name. Afterwards the `keep` latest stay. If anything fails, a full disk for one, what was there before
/// is untouched.
///
/// # Errors
/// What `fill` says, or what the file system does.
pub fn write(run: &Path, step: u64, keep: usize, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let all = run.join("checkpoints");
    fs::create_dir_all(&all).map_err(|why| LabError::io(&all, why))?;
    let aside = all.join(format!(".tmp-{step}-{}", std::process::id()));
    let place = all.join(format!("step-{step:08}"));
    let made = make(&aside, step, fill).and_then(|()| {
        if place.exists() {
            fs::remove_dir_all(&place).map_err(|why| LabError::io(&place, why))?;
        }
        fs::rename(&aside, &place).map_err(|why| LabError::io(&place, why))?;
        sync(&all)
    });
    if let Err(why) = made {
        // The first failure is what matters; a folder that stays aside is cleaned up by the next `latest`.
        let _ = fs::remove_dir_all(&aside);
        return Err(why);
    }
    for (_, old) in steps(&all)?.into_iter().rev().skip(keep.max(1)) {
        fs::remove_dir_all(&old).map_err(|why| LabError::io(&old, why))?;
    }
    Ok(place)
}

/// The latest checkpoint whose files are what its manifest says, if there is one. What an interruption left aside is removed.
///
/// # Errors
/// If the folder cannot be read.
pub fn latest(run: &Path) -> Result<Option<(u64, PathBuf)>> {
    let all = run.join("checkpoints");
    if !all.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(&all).map_err(|why| LabError::io(&all, why))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            fs::remove_dir_all(entry.path()).map_err(|why| LabError::io(&entry.path(), why))?;
        }
    }
    Ok(steps(&all)?.into_iter().rev().find(|(step, path)| intact(path, *step)))
}

fn make(aside: &Path, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fs::create_dir(aside).map_err(|why| LabError::io(aside, why))?;
    fill(aside)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(aside).map_err(|why| LabError::io(aside, why))? {
        let path = entry.map_err(|why| LabError::io(aside, why))?.path();
        sync(&path)?;
        files.push(describe(&path)?);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let path = aside.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&Manifest { step, files }).map_err(|why| LabError::json(&path, why))?;
    fs::write(&path, text).map_err(|why| LabError::io(&path, why))?;
    sync(&path)?;
    sync(aside)
}

fn describe(path: &Path) -> Result<Entry> {
    let bytes = fs::read(path).map_err(|why| LabError::io(path, why))?;
    let hash = Sha256::digest(&bytes);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry { name, bytes: bytes.len() as u64, sha256 })
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|why| LabError::io(path, why))
}

/// The checkpoints there are, by ascending step.
fn steps(all: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = fs::read_dir(all).map_err(|why| LabError::io(all, why))?;
    let step = |path: PathBuf| Some((path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?, path));
    let mut steps: Vec<(u64, PathBuf)> = entries.flatten().filter_map(|entry| step(entry.path())).collect();
    steps.sort();
    Ok(steps)
}

fn intact(path: &Path, step: u64) -> bool {
    let manifest = fs::read(path.join(MANIFEST)).ok().and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
    manifest.is_some_and(|manifest| {
        manifest.step == step
            && manifest.files.iter().all(|entry| describe(&path.join(&entry.name)).is_ok_and(|found| found == *entry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(run: &Path, step: u64) -> Result<PathBuf> {
        write(run, step, 2, |path| {
            fs::write(path.join("weights"), format!("weights of {step}")).map_err(|why| LabError::io(path, why))
        })
    }

    #[test]
    fn the_latest_intact_one_is_found() {
        let run = tempfile::tempdir().unwrap();
        assert!(latest(run.path()).unwrap().is_none());
        (1..=4).for_each(|step| drop(save(run.path(), step).unwrap()));
        let found = |run: &Path| latest(run).unwrap().map(|(step, _)| step);
        assert_eq!(found(run.path()), Some(4));
        assert_eq!(steps(&run.path().join("checkpoints")).unwrap().len(), 2);
        fs::write(run.path().join("checkpoints/step-00000004/weights"), "weights of 5").unwrap();
        assert_eq!(found(run.path()), Some(3));
        fs::remove_file(run.path().join("checkpoints/step-00000003/manifest.json")).unwrap();
        assert_eq!(found(run.path()), None);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let run = tempfile::tempdir().unwrap();
        save(run.path(), 1).unwrap();
        let failed = write(run.path(), 2, 1, |path| {
            fs::write(path.join("weights"), "half of").map_err(|why| LabError::io(path, why))?;
            Err(LabError::io(path, std::io::Error::other("no space left on device")))
        });
        assert!(failed.unwrap_err().to_string().contains("no space left"));
        assert_eq!(latest(run.path()).unwrap().unwrap().0, 1);
        assert_eq!(fs::read_dir(run.path().join("checkpoints")).unwrap().count(), 1);
    }

    #[test]
    fn what_an_interruption_left_is_removed() {
        let run = tempfile::tempdir().unwrap();
        save(run.path(), 1).unwrap();
        fs::create_dir(run.path().join("checkpoints/.tmp-2-77")).unwrap();
        assert_eq!(latest(run.path()).unwrap().unwrap().0, 1);
        assert_eq!(fs::read_dir(run.path().join("checkpoints")).unwrap().count(), 1);
    }
}
