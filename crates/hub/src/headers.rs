//! The headers of weights without the weights: what a description needs, of files of gigabytes.
//!
//! A header is kept at the beginning of a file of the length that the whole file has, whose rest is a hole: so readers judge offsets and
//! lengths as they would in the file itself. Such files would pass for weights of zeros. They are therefore kept apart, in `.headers` of
//! the model's folder, where nobody looks for weights.

use crate::cache::Repository;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::wanted::Wanted;
use attendant_formats::{Access, Weights};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// How much of a file is fetched, step by step, until its header is whole. The headers of GGUF hold vocabularies.
const STEPS: [u64; 5] = [64 << 10, 1 << 20, 8 << 20, 24 << 20, 64 << 20];

/// Puts the header of a file where those of its commit are.
pub(crate) fn fetch(client: &Client, repository: &Repository, wanted: &Wanted) -> Result<()> {
    wanted.check()?;
    let path = repository.headers(wanted.commit).join(wanted.path);
    if path.is_file() {
        return Ok(());
    }
    repository.prepare()?;
    repository.place(&path, |part| fill(client, wanted, part))
}

/// Fetches a file from its beginning until its header can be read.
fn fill(client: &Client, wanted: &Wanted, part: &Path) -> Result<()> {
    let size = wanted.facts(client)?.size;
    let mut file = File::create(part).map_err(Error::io(part))?;
    file.set_len(size).map_err(Error::io(part))?;
    let mut have = 0;
    for step in STEPS {
        let end = step.min(size);
        let bytes = wanted.range(client, have..end, size)?;
        file.write_all(&bytes).map_err(Error::io(part))?;
        have = end;
        match Weights::open_alone(part, Access::Mapped) {
            Ok(_) => return Ok(()),
            Err(why) if end == size => {
                let why = why.to_string();
                return Err(Error::refused(wanted.title(), why.split_once(": ").map_or(&*why, |(_, why)| why)));
            }
            Err(_) => {}
        }
    }
    Err(Error::refused(wanted.title(), format_args!("wanted a header of at most {have} bytes, got more, or none")))
}
