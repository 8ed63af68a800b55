//! Checkpoints of a run: folders that appear whole or not at all, with a manifest of hashes.

use crate::error::{LabError, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
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

/// How the names of folders begin that are no checkpoint yet, or no longer.
const ASIDE: &str = ".tmp-";

/// Makes a checkpoint of a step: `fill` writes its files into a folder aside, everything goes to the disk, and only then does
/// the folder get its name. Afterwards the `keep` latest stay. If anything fails, a full disk for one, what was there before
/// is untouched. A step that has an intact checkpoint keeps it: a run has the same bits whenever it comes by. What an interruption
/// left aside is removed, so only the process that holds the run's lock may write.
///
/// # Errors
/// What `fill` says, or what the file system does.
pub fn write(run: &Path, step: u64, keep: usize, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let all = run.join("checkpoints");
    let place = all.join(format!("step-{step:08}"));
    if intact(&place, step) {
        return Ok(place);
    }
    fs::create_dir_all(&all).map_err(|why| LabError::io(&all, why))?;
    sync(run)?;
    clear(&all)?;
    if place.exists() {
        discard(&place)?;
    }
    let aside = all.join(format!("{ASIDE}{step}"));
    let made = make(&aside, step, fill).and_then(|()| {
        fs::rename(&aside, &place).map_err(|why| LabError::io(&place, why))?;
        sync(&all)
    });
    if let Err(why) = made {
        // The first failure is what matters; a folder that stays aside is cleared up by the next checkpoint.
        let _ = fs::remove_dir_all(&aside);
        return Err(why);
    }
    prune(&all, step, keep.max(1))?;
    Ok(place)
}

/// The latest checkpoint whose files are what its manifest says, if there is any checkpoint. Only reads, so that a run can be
/// looked at while another process writes it.
///
/// # Errors
/// If the folder cannot be read, or there are checkpoints and every one is damaged.
pub fn latest(run: &Path) -> Result<Option<(u64, PathBuf)>> {
    let all = run.join("checkpoints");
    if !all.exists() {
        return Ok(None);
    }
    let steps = steps(&all)?;
    match steps.iter().rev().find(|(step, path)| intact(path, *step)) {
        Some(found) => Ok(Some(found.clone())),
        None if steps.is_empty() => Ok(None),
        None => Err(LabError::content(&all, format!("got {} checkpoints, all damaged, wanted an intact one", steps.len()))),
    }
}

/// The checkpoints that are not what their manifest says, by ascending step.
///
/// # Errors
/// If the folder cannot be read.
pub fn damaged(run: &Path) -> Result<Vec<PathBuf>> {
    let all = run.join("checkpoints");
    let steps = if all.exists() { steps(&all)? } else { Vec::new() };
    Ok(steps.into_iter().filter(|(step, path)| !intact(path, *step)).map(|(_, path)| path).collect())
}

/// Whether the files of a checkpoint are what its manifest says. One without a manifest, that others wrote, is taken as it is.
///
/// # Errors
/// The first file that is missing or differs.
pub fn verify(path: &Path) -> Result<()> {
    if path.join(MANIFEST).exists() { check(path).map(|_| ()) } else { Ok(()) }
}

/// Keeps the latest checkpoints up to the step just written. Those above it were damaged, or the run would not have come by
/// this step again: they must not count in its place.
fn prune(all: &Path, written: u64, keep: usize) -> Result<()> {
    let (until, above): (Vec<_>, Vec<_>) = steps(all)?.into_iter().partition(|(step, _)| *step <= written);
    until.into_iter().rev().skip(keep).chain(above).try_for_each(|(_, path)| discard(&path))
}

/// Removes a checkpoint: out of sight in one move first, so that no half of it is ever seen.
fn discard(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{ASIDE}old-{name}"));
    fs::rename(path, &aside).and_then(|()| fs::remove_dir_all(&aside)).map_err(|why| LabError::io(path, why))
}

/// Removes what an interruption left aside. The caller is the run's one writer, so nothing aside is still being written.
fn clear(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all).map_err(|why| LabError::io(all, why))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            fs::remove_dir_all(entry.path()).map_err(|why| LabError::io(&entry.path(), why))?;
        }
    }
    Ok(())
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
    let (bytes, hash) = digest(path).map_err(|why| LabError::io(path, why))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Entry { name, bytes, sha256: hash })
}

/// Length and hash of a file, read piece by piece since weights may be larger than what memory is left.
fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let (mut file, mut hash, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    let mut bytes = 0;
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => {
                hash.update(&piece[..n]);
                bytes += n as u64;
            }
        }
    }
    Ok((bytes, hexadecimal(hash)))
}

/// A hash as text.
pub(crate) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
    check(path).is_ok_and(|manifest| manifest.step == step)
}

fn check(path: &Path) -> Result<Manifest> {
    let place = path.join(MANIFEST);
    let text = fs::read(&place).map_err(|why| LabError::io(&place, why))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|why| LabError::json(&place, why))?;
    for entry in &manifest.files {
        let file = path.join(&entry.name);
        if describe(&file)? != *entry {
            return Err(LabError::content(&file, "is damaged: it differs from what manifest.json says"));
        }
    }
    Ok(manifest)
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
        let all = run.path().join("checkpoints");
        assert_eq!(damaged(run.path()).unwrap(), [all.join("step-00000004")]);
        let why = verify(&all.join("step-00000004")).unwrap_err().to_string();
        assert!(why.contains("step-00000004/weights: is damaged"), "{why}");
        verify(&all.join("step-00000003")).unwrap();
        fs::write(all.join("step-00000003/manifest.json"), "{").unwrap();
        let why = latest(run.path()).unwrap_err().to_string();
        assert!(why.contains("got 2 checkpoints, all damaged"), "{why}");
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
    fn what_is_aside_is_removed_by_the_writer_and_by_no_reader() {
        let run = tempfile::tempdir().unwrap();
        save(run.path(), 1).unwrap();
        let aside = run.path().join("checkpoints/.tmp-2");
        fs::create_dir(&aside).unwrap();
        assert_eq!(latest(run.path()).unwrap().unwrap().0, 1);
        assert!(aside.exists(), "a reader removed what a writer may be writing");
        save(run.path(), 3).unwrap();
        assert!(!aside.exists());
    }

    #[test]
    fn an_intact_checkpoint_of_the_step_stays_and_a_damaged_one_is_replaced() {
        let run = tempfile::tempdir().unwrap();
        let weights = save(run.path(), 3).unwrap().join("weights");
        write(run.path(), 3, 2, |_| panic!("there is nothing to write")).unwrap();
        fs::write(&weights, "weights of x").unwrap();
        save(run.path(), 3).unwrap();
        assert_eq!(fs::read_to_string(&weights).unwrap(), "weights of 3");
    }

    #[test]
    fn a_damaged_later_checkpoint_does_not_push_out_the_one_just_written() {
        let run = tempfile::tempdir().unwrap();
        let damaged = save(run.path(), 9).unwrap().join("weights");
        fs::write(damaged, "").unwrap();
        write(run.path(), 4, 1, |_| Ok(())).unwrap();
        assert_eq!(latest(run.path()).unwrap().unwrap().0, 4);
        assert_eq!(steps(&run.path().join("checkpoints")).unwrap().len(), 1);
    }
}
