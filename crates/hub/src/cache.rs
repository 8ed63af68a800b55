//! The folder of one model in the cache, laid out as `huggingface_hub` does.
//!
//! ```text
//! models--OWNER--NAME/blobs/ETAG                     contents, by what the hub calls them
//! models--OWNER--NAME/blobs/ETAG.incomplete          the beginning of one
//! models--OWNER--NAME/snapshots/COMMIT/config.json   -> ../../blobs/ETAG
//! models--OWNER--NAME/refs/main                      the commit that the branch was at
//! models--OWNER--NAME/.headers/COMMIT                headers of weights, see `headers`
//! .locks/models--OWNER--NAME/ETAG.lock               held by whoever fetches it
//! ```
//!
//! Whatever appears under a name of `blobs`, `snapshots` or `refs` is renamed to it when it is whole.

use crate::error::{Error, Result};
use crate::name::Name;
use crate::path::is_commit;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// How deep a snapshot is searched for files.
const DEPTH: usize = 4;

pub(crate) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    pub(crate) fn new(cache: &Path, name: &Name) -> Repository {
        Repository { folder: cache.join(name.folder()), locks: cache.join(".locks").join(name.folder()) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of one commit, as far as they were fetched.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The headers of one commit's weights, which `huggingface_hub` knows nothing of.
    pub(crate) fn headers(&self, commit: &str) -> PathBuf {
        self.folder.join(".headers").join(commit)
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(crate) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Makes the folders that files are put into.
    pub(crate) fn prepare(&self) -> Result<()> {
        for folder in [&self.folder.join("blobs"), &self.locks] {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        Ok(())
    }

    /// The commit that a branch or tag was at when it was last looked at.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|text| is_commit(text))
    }

    /// Notes the commit that a branch or tag is at.
    pub(crate) fn note(&self, revision: &str, commit: &str) -> Result<()> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        self.place(&path, |part| fs::write(part, commit).map_err(Error::io(part)))
    }

    /// Whether a file of this many bytes stands at a path of the snapshot; of any number, if that is not known.
    pub(crate) fn has(&self, commit: &str, path: &str, size: Option<u64>) -> bool {
        let found = fs::metadata(self.snapshot(commit).join(path));
        found.is_ok_and(|found| found.is_file() && size.is_none_or(|size| found.len() == size))
    }

    /// Puts a file of the snapshot beside the headers.
    pub(crate) fn copy_to_headers(&self, commit: &str, path: &str) -> Result<()> {
        let (from, to) = (self.snapshot(commit).join(path), self.headers(commit).join(path));
        self.place(&to, |part| fs::copy(&from, part).map(|_| ()).map_err(Error::io(&from)))
    }

    /// Gives the content `etag` its path in the snapshot.
    pub(crate) fn point(&self, commit: &str, path: &str, etag: &str) -> Result<()> {
        let up = "../".repeat(2 + path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        let blob = self.blob(etag);
        self.place(&self.snapshot(commit).join(path), |part| {
            link(&target, part).or_else(|_| fs::copy(&blob, part).map(|_| ())).map_err(Error::io(part))
        })
    }

    /// Waits until nobody else fetches the content `etag`; says so, if that is not now.
    pub(crate) fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A file system that has no locks: then two processes fetch what one could, and either renames what is whole.
            Err(TryLockError::Error(why)) if why.kind() == std::io::ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(why)) => return Err(Error::io(&path)(why)),
            Err(TryLockError::WouldBlock) => waiting(),
        }
        file.lock().map_err(Error::io(&path))?;
        Ok(file)
    }

    /// Makes something aside, and renames it to `path` when it is whole.
    pub(crate) fn place(&self, path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let part = self.locks.join(format!("{}.{:?}.part", std::process::id(), std::thread::current().id()));
        for folder in path.parent().into_iter().chain([self.locks.as_path()]) {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let _ = fs::remove_file(&part);
        let done = make(&part).and_then(|()| fs::rename(&part, path).map_err(Error::io(path)));
        if done.is_err() {
            let _ = fs::remove_file(&part);
        }
        done
    }
}

/// The paths of the files in a folder.
pub(crate) fn paths(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(folder, "", DEPTH, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, before: &str, depth: usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        let name = format!("{before}{name}");
        if path.is_file() {
            found.push(name);
        } else if depth > 1 && path.is_dir() {
            collect(&path, &(name + "/"), depth - 1, found);
        }
    }
}

#[cfg(unix)]
fn link(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn link(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, at)
}
