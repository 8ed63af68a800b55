//! Fetching one file whole.

use crate::cache::Repository;
use crate::client::{Client, Trouble};
use crate::error::{Error, Result};
use crate::wanted::{Facts, Wanted};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much is read at once.
const CHUNK: usize = 1 << 18;
/// After so many bytes a connection that breaks counts as the first that broke.
const PROGRESS: u64 = 1 << 20;

/// What happens on the way.
pub(crate) enum Step {
    /// Another process is fetching the file.
    Waiting,
    /// So many of its bytes are there.
    Bytes(u64),
}

/// Puts a file into the snapshot of its commit.
pub(crate) fn fetch(client: &Client, repository: &Repository, wanted: &Wanted, tell: &mut dyn FnMut(Step)) -> Result<()> {
    wanted.check()?;
    if repository.has(wanted.commit, wanted.path, wanted.size) {
        return Ok(());
    }
    repository.prepare()?;
    let facts = wanted.facts(client)?;
    let _lock = repository.lock(&facts.etag, || tell(Step::Waiting))?;
    let blob = repository.blob(&facts.etag);
    if !fs::metadata(&blob).is_ok_and(|found| found.len() == facts.size) {
        let part = repository.incomplete(&facts.etag);
        let mut filling = Filling::open(&part, &facts)?;
        let resumed = filling.have > 0;
        let mut right = filling.fill(wanted, client, tell)?;
        if !right && resumed {
            // What was kept was not the beginning of this file.
            filling.restart()?;
            right = filling.fill(wanted, client, tell)?;
        }
        if !right {
            fs::remove_file(&part).map_err(Error::io(&part))?;
            return Err(Error::refused(wanted.title(), "got other bytes than its SHA-256 says; nothing of it was kept"));
        }
        filling.file.sync_all().and_then(|()| fs::rename(&part, &blob)).map_err(Error::io(&part))?;
    }
    repository.point(wanted.commit, wanted.path, &facts.etag)
}

/// A file that is being written.
struct Filling<'a> {
    path: &'a Path,
    facts: &'a Facts,
    file: File,
    have: u64,
    hash: Sha256,
}

/// Why an attempt ended.
enum Broken {
    There(Trouble),
    Here(Error),
}

impl<'a> Filling<'a> {
    /// Opens what an earlier attempt has left, if that can be judged in the end; or begins.
    fn open(path: &'a Path, facts: &'a Facts) -> Result<Filling<'a>> {
        let file = File::options().create(true).read(true).write(true).truncate(false).open(path).map_err(Error::io(path))?;
        let mut filling = Filling { path, facts, file, have: 0, hash: Sha256::new() };
        if facts.sha256.is_none() {
            filling.restart()?;
            return Ok(filling);
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            match filling.file.read(&mut chunk).map_err(Error::io(path))? {
                0 => break,
                count => filling.take(&chunk[..count]),
            }
        }
        if filling.have > facts.size {
            filling.restart()?;
        }
        Ok(filling)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.have += bytes.len() as u64;
        if self.facts.sha256.is_some() {
            self.hash.update(bytes);
        }
    }

    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(Error::io(self.path))?;
        (self.have, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Fetches what is missing, from wherever a connection broke. Gives whether the whole is what it should be.
    fn fill(&mut self, wanted: &Wanted, client: &Client, tell: &mut dyn FnMut(Step)) -> Result<bool> {
        let (mut tries, mut last) = (1, self.have);
        tell(Step::Bytes(self.have));
        while self.have < self.facts.size {
            let trouble = match self.attempt(wanted, client, tell) {
                Ok(()) => break,
                Err(Broken::Here(error)) => return Err(error),
                Err(Broken::There(trouble)) => trouble,
            };
            if self.have >= last + PROGRESS {
                (tries, last) = (1, self.have);
            }
            let again = match &trouble {
                Trouble::Passing(_, pause) => client.pause(tries, *pause),
                Trouble::Absent(_) => client.pause(tries, None),
                Trouble::Lasting(_) => false,
            };
            if !again {
                return Err(trouble.and(&self.kept()).about(wanted.title()));
            }
            tries += 1;
        }
        let hash = self.hash.clone().finalize();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.facts.sha256.as_ref().is_none_or(|wanted| *wanted == hex))
    }

    fn kept(&self) -> String {
        if self.have == 0 || self.facts.sha256.is_none() {
            return String::new();
        }
        format!("; {} of {} bytes are kept, the next attempt continues there", self.have, self.facts.size)
    }

    /// Reads from one connection until the file is whole.
    fn attempt(&mut self, wanted: &Wanted, client: &Client, tell: &mut dyn FnMut(Step)) -> Result<(), Broken> {
        let size = self.facts.size;
        let (mut response, start) = wanted.open(client, self.have..size, size).map_err(Broken::There)?;
        if start < self.have {
            self.restart().map_err(Broken::Here)?;
        }
        let mut reader = response.body_mut().as_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut chunk).map_err(|why| Broken::There(Trouble::of_body(&why)))?;
            let missing = size - self.have;
            if count == 0 && missing == 0 {
                return Ok(());
            }
            if count == 0 {
                return Err(Broken::There(Trouble::ended(self.have, size)));
            }
            if count as u64 > missing {
                let why = format!("got more than the {size} bytes that were announced");
                return Err(Broken::There(Trouble::Lasting(why)));
            }
            self.file.write_all(&chunk[..count]).map_err(|why| Broken::Here(Error::io(self.path)(why)))?;
            self.take(&chunk[..count]);
            tell(Step::Bytes(self.have));
        }
    }
}
