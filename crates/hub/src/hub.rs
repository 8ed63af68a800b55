//! From a name to files.

use crate::cache::{self, Repository};
use crate::choice::{CONFIG, Choice};
use crate::client::{Client, Trouble};
use crate::download::{self, Step};
use crate::error::{Error, Result};
use crate::headers;
use crate::listing::{LIMITS, Listed, Listing};
use crate::name::Name;
use crate::settings::Settings;
use crate::wanted::Wanted;
use attendant_formats::weights::{INDEX, WHOLE};
use attendant_formats::{mapping, shards};
use std::path::{Path, PathBuf};

/// How much of a model is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What describes it: configuration and the headers of the weights, not the weights.
    Description,
    /// What running it needs: weights, configuration, tokenizer, template. Never a file that would have to be executed.
    Everything,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// Of `whole` bytes, `done` are there; `file` is coming.
    Fetching {
        /// Its path in the repository.
        file: &'a str,
        /// Bytes of all files that are there.
        done: u64,
        /// Bytes of all files.
        whole: u64,
    },
    /// Of `whole` headers of weights, `done` are there; that of `file` is coming.
    Headers {
        /// Its path in the repository.
        file: &'a str,
        /// How many are there.
        done: usize,
        /// How many there are.
        whole: usize,
    },
    /// Another process is fetching this file.
    Waiting(&'a str),
    /// The hub does not answer, for this reason; what the cache has is used instead.
    Cached(&'a Error),
}

/// A hub and its cache.
pub struct Hub {
    settings: Settings,
    client: Client,
}

impl Hub {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// If the address of the hub is none.
    pub fn new(settings: Settings) -> Result<Hub> {
        Ok(Hub { client: Client::new(&settings)?, settings })
    }

    /// The path of a model in the cache: a folder, a GGUF file, or, where only a description is wanted, one that
    /// holds no weights but their headers, or config.json alone. What is missing there is fetched, unless that is forbidden; a branch or tag is looked up each time, and is what it was if the hub cannot be
    /// reached.
    ///
    /// A server is not trusted. Names become paths only below the cache; listings, files, redirections and pauses have bounds; a length that
    /// differs from what was announced is refused, and so is content that differs from its SHA-256, where the hub gives one; a token is sent
    /// to the hub alone. A file appears under its name when it is whole, whatever ends the process before; what was fetched of the weights
    /// until then is continued.
    ///
    /// # Errors
    /// If the hub has no such model or does not show it, cannot be reached, or sends what cannot be used; if a file cannot be written.
    pub fn fetch(&self, name: &Name, part: Part, tell: &mut dyn FnMut(Event)) -> Result<PathBuf> {
        let repository = Repository::new(&self.settings.cache, name);
        if let Some(commit) = name.commit()
            && let Some(path) = found(&repository, name, commit, part)?
        {
            return Ok(path);
        }
        let known = || name.commit().map(str::to_owned).or_else(|| repository.commit(name.revision()));
        let cached = || known().map_or(Ok(None), |commit| found_or_config(&repository, name, &commit, part));
        if self.settings.offline {
            let missing = || Error::refused(name, format_args!("offline, and not whole in {}", repository.folder().display()));
            return cached()?.ok_or_else(missing);
        }
        let listing = match self.listing(name) {
            Ok(text) => Listing::parse(&name.to_string(), &text)?,
            Err(trouble @ Trouble::Lasting(_)) => return Err(trouble.about(name)),
            Err(trouble @ (Trouble::Absent(_) | Trouble::Passing(..))) => {
                return match cached()? {
                    Some(path) => {
                        tell(Event::Cached(&trouble.about(name)));
                        Ok(path)
                    }
                    None => Err(trouble.about(name)),
                };
            }
        };
        let path = self.bring(&repository, name, &listing, part, tell)?;
        // A description alone does not hide the weights that the branch had before.
        let before = repository.commit(name.revision()).filter(|_| part == Part::Description);
        let hides =
            before.is_some_and(|commit| found(&repository, name, &commit, Part::Everything).is_ok_and(|path| path.is_some()));
        if name.commit().is_none() && !hides {
            repository.note(name.revision(), &listing.commit)?;
        }
        Ok(path)
    }

    fn listing(&self, name: &Name) -> Result<Vec<u8>, Trouble> {
        let repository = name.repository();
        let parts = ["api", "models"].into_iter().chain(repository.split('/')).chain(["revision", name.revision()]);
        self.client.short(&(self.client.address(parts) + "?blobs=true"), LIMITS.bytes as u64)
    }

    /// Fetches what is missing of a commit.
    fn bring(
        &self,
        repository: &Repository,
        name: &Name,
        listing: &Listing,
        part: Part,
        tell: &mut dyn FnMut(Event),
    ) -> Result<PathBuf> {
        let (commit, paths) = (&listing.commit, listing.paths());
        let snapshot = repository.snapshot(commit);
        if part == Part::Description && name.file().is_none() && !paths.iter().any(is_weights) && paths.contains(&CONFIG) {
            // Weights that are not read here are described all the same.
            self.bring_files(repository, name, listing, &[CONFIG], tell)?;
            return Ok(snapshot.join(CONFIG));
        }
        let choice = Choice::of(name, &paths)?;
        let (beside, weights) = match &choice {
            Choice::Gguf(file) => (Vec::new(), Choice::parts(file)),
            Choice::Whole => (Choice::beside(&paths).collect(), vec![WHOLE.into()]),
            Choice::Shards => {
                self.bring_files(repository, name, listing, &[INDEX], tell)?;
                (Choice::beside(&paths).collect(), read_index(&snapshot)?)
            }
        };
        let weights: Vec<&str> = weights.iter().map(String::as_str).collect();
        let place = |folder: PathBuf| if let Choice::Gguf(file) = &choice { folder.join(file) } else { folder };
        if part == Part::Everything || whole(&snapshot, name)?.is_some() {
            self.bring_files(repository, name, listing, &[&beside[..], &weights].concat(), tell)?;
            return Ok(place(snapshot));
        }
        let described: Vec<&str> = beside.into_iter().filter(|file| *file == CONFIG).collect();
        self.bring_files(repository, name, listing, &described, tell)?;
        for (done, wanted) in wanted(name, listing, &weights)?.iter().enumerate() {
            tell(Event::Headers { file: wanted.path, done, whole: weights.len() });
            headers::fetch(&self.client, repository, wanted)?;
        }
        let index = (choice == Choice::Shards).then_some(INDEX);
        described.into_iter().chain(index).try_for_each(|file| repository.copy_to_headers(commit, file))?;
        Ok(place(repository.headers(commit)))
    }

    fn bring_files(
        &self,
        repository: &Repository,
        name: &Name,
        listing: &Listing,
        files: &[&str],
        tell: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let files = wanted(name, listing, files)?;
        let whole = files.iter().filter_map(|file| file.size).fold(0, u64::saturating_add);
        let mut before = 0u64;
        for file in &files {
            download::fetch(&self.client, repository, file, &mut |step| match step {
                Step::Waiting => tell(Event::Waiting(file.path)),
                Step::Bytes(bytes) => tell(Event::Fetching { file: file.path, done: before.saturating_add(bytes), whole }),
            })?;
            before = before.saturating_add(file.size.unwrap_or(0));
        }
        Ok(())
    }
}

/// What the listing says of these files.
fn wanted<'a>(name: &'a Name, listing: &'a Listing, files: &[&str]) -> Result<Vec<Wanted<'a>>> {
    let find = |file: &&str| {
        let missing = || Error::refused(name, format_args!("got no {file}, wanted it"));
        let Listed { path, size, sha256 } = listing.find(file).ok_or_else(missing)?;
        Ok(Wanted { name, commit: &listing.commit, path, size: *size, sha256: sha256.as_deref() })
    };
    files.iter().map(find).collect()
}

/// What the cache has of a commit, if that is all that is wanted.
fn found(repository: &Repository, name: &Name, commit: &str, part: Part) -> Result<Option<PathBuf>> {
    let snapshot = repository.snapshot(commit);
    let found = whole(&snapshot, name)?;
    if found.is_some() || part == Part::Everything {
        return Ok(found);
    }
    whole(&repository.headers(commit), name)
}

/// The same, or the configuration alone: a description, where there is nobody to ask for more.
fn found_or_config(repository: &Repository, name: &Name, commit: &str, part: Part) -> Result<Option<PathBuf>> {
    let config = repository.snapshot(commit).join(CONFIG);
    let alone = part == Part::Description && name.file().is_none() && config.is_file();
    Ok(found(repository, name, commit, part)?.or(alone.then_some(config)))
}

fn is_weights(path: &&str) -> bool {
    [WHOLE, INDEX].contains(path) || path.to_ascii_lowercase().ends_with(".gguf")
}

/// What a folder has of a model, if that is whole.
fn whole(folder: &Path, name: &Name) -> Result<Option<PathBuf>> {
    let paths = cache::paths(folder);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    if !paths.iter().any(is_weights) {
        return Ok(None);
    }
    let there = match Choice::of(name, &paths) {
        // Another file of the repository is here.
        Err(_) => false,
        Ok(Choice::Gguf(file)) => {
            let there = Choice::parts(&file).iter().all(|part| paths.contains(&part.as_str()));
            return Ok(there.then(|| folder.join(file)));
        }
        Ok(Choice::Whole) => true,
        Ok(Choice::Shards) => read_index(folder)?.iter().all(|shard| paths.contains(&shard.as_str())),
    };
    Ok((there && paths.contains(&CONFIG)).then(|| folder.into()))
}

/// The files that the index of a folder names.
fn read_index(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(INDEX);
    let text = mapping::read(&path, shards::MAX_INDEX).map_err(|why| Error::refused(INDEX, why))?;
    let index = shards::parse(&text).map_err(|why| Error::refused(path.display(), why))?;
    Ok(index.files)
}
