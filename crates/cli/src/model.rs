//! MODEL: a path, or the name of a model on a hub.

use crate::failure::Failure;
use crate::output::say;
use attendant_core::Processor;
use attendant_formats::Weights;
use attendant_formats::weights::{INDEX, WHOLE};
use attendant_lab::{LabError, checkpoint};
use attendant_model::checkpoint::{Loaded, open};
use attendant_model::{CheckpointError, Decoder};
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// How much of a model a command reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What describes it.
    Description,
    /// What running it takes.
    Everything,
}

/// A model that is loaded while what its files say about text is read, which for large vocabularies takes as long.
pub(crate) struct Loading {
    path: PathBuf,
    thread: JoinHandle<Result<Loaded, CheckpointError>>,
}

impl Loading {
    /// Begins. Who does not wait for the end, because something else was refused, leaves it to the end of the process.
    pub(crate) fn start(path: &Path, processor: &Processor) -> Loading {
        let (path, processor) = (path.to_owned(), processor.clone());
        Loading { path: path.clone(), thread: thread::spawn(move || open(&path, processor)) }
    }

    /// The model. What its files hold besides and is not read is said.
    pub(crate) fn finish(self) -> Result<Decoder, Failure> {
        let Loaded { decoder, left_out } = self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        left_out.iter().for_each(|what| say(format!("{}: {what}", self.path.display())));
        Ok(decoder)
    }
}

/// The model at a path. What its files hold besides and is not read is said.
pub(crate) fn load(path: &Path, processor: &Processor) -> Result<Decoder, Failure> {
    Loading::start(path, processor).finish()
}

/// Where the files of a model lie that a command was given: a folder, or a file that is all of it. A run has its latest intact checkpoint,
/// a name its place in the cache of the hub.
pub(crate) fn resolve(model: &Path, needs: Needs) -> Result<PathBuf, Failure> {
    let path = local(model, needs)?;
    let folder = match fs::metadata(&path).map_err(|why| LabError::io(&path, why))?.is_dir() {
        true => path,
        false => match folder_of(&path).filter(|_| needs == Needs::Everything) {
            Some(folder) => folder,
            None => return Ok(path),
        },
    };
    let weights = Weights::in_folder(&folder).map_err(CheckpointError::from);
    if folder.join("config.json").exists() {
        if let Ok(Some(file)) = weights
            && file.extension().is_some_and(|end| end == "gguf")
        {
            return Ok(file);
        }
        if needs == Needs::Everything {
            checkpoint::verify(&folder)?;
        }
        return Ok(folder);
    }
    if let Some((_, checkpoint)) = checkpoint::latest(&folder)? {
        return Ok(checkpoint);
    }
    let missing = "got no checkpoint there, wanted a run, a checkpoint or a folder with a .gguf file";
    weights?.ok_or_else(|| Failure::Refused(format!("{}: {missing}", folder.display())))
}

/// The folder of a model of which a file was named that is nothing without the others.
fn folder_of(file: &Path) -> Option<PathBuf> {
    let part = ["config.json", WHOLE, INDEX].iter().any(|name| file.ends_with(name));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (part && folder.join("config.json").exists()).then(|| folder.into())
}

/// The path as it is, if something is there or it can be no name; otherwise where the cache has the model of this name, which is fetched
/// first where that is needed and allowed.
#[cfg(feature = "hub")]
fn local(model: &Path, needs: Needs) -> Result<PathBuf, Failure> {
    let name = model.to_str().filter(|_| !model.exists()).map(attendant_hub::Name::parse).transpose()?.flatten();
    match name {
        Some(name) => hub::fetch(&name, needs),
        None => Ok(model.into()),
    }
}

/// The path as it is.
#[cfg(not(feature = "hub"))]
fn local(model: &Path, _: Needs) -> Result<PathBuf, Failure> {
    let like_a_name =
        model.components().count() == 2 && model.is_relative() && !model.starts_with(".") && !model.starts_with("..");
    if like_a_name && !model.exists() {
        let why = "no such path, and this program was built without the feature `hub`";
        return Err(Failure::Refused(format!("{}: {why}", model.display())));
    }
    Ok(model.into())
}

#[cfg(feature = "hub")]
mod hub {
    use super::Needs;
    use crate::failure::Failure;
    use crate::output::say;
    use crate::progress::Bar;
    use attendant_hub::{Error, Event, Hub, Name, Part, Settings};
    use std::path::PathBuf;

    /// Bytes of a megabyte, as they are sold.
    const MEGA: f64 = 1e6;

    /// Fetches what is missing, under a bar. Ctrl-C ends the process at once: what was fetched stays, and is continued the next time.
    pub(super) fn fetch(name: &Name, needs: Needs) -> Result<PathBuf, Failure> {
        let part = match needs {
            Needs::Description => Part::Description,
            Needs::Everything => Part::Everything,
        };
        let hub = Hub::new(Settings::of_environment()?)?;
        let (mut bar, mut fetched) = (Bar::new(), 0);
        let path = hub.fetch(name, part, &mut |event| match event {
            Event::Fetching { file, done, whole } => {
                fetched = done;
                let of = format!("{:.0} of {:.0} MB, {file}", done as f64 / MEGA, whole as f64 / MEGA);
                bar.show(done as f64 / whole.max(1) as f64, of);
            }
            Event::Headers { file, done, whole } => bar.show(done as f64 / whole as f64, format!("header of {file}")),
            Event::Waiting(file) => say(format!("{name}: another process is fetching {file}; waiting for it")),
            Event::Cached(why) => say(format!("{why}; using what the cache has")),
        });
        bar.finish();
        let path = path.map_err(|why| not_here(name, why))?;
        if fetched > 0 && needs == Needs::Everything {
            say(format!("{name}: {:.1} MB are in the cache now, {}", fetched as f64 / MEGA, path.display()));
        }
        Ok(path)
    }

    /// Whoever mistyped a path learns that it was taken for a name.
    fn not_here(name: &Name, error: Error) -> Failure {
        let more = |why: String| why + " (no such path is here either)";
        match error {
            Error::Refused(why) if why.field() == name.to_string() => Failure::Refused(more(why.to_string())),
            Error::Unreached(why) if why.field() == name.to_string() => Failure::Failed(more(why.to_string())),
            other => other.into(),
        }
    }

    impl From<Error> for Failure {
        fn from(error: Error) -> Failure {
            match error {
                Error::Refused(why) => Failure::Refused(why.to_string()),
                Error::Unreached(_) | Error::Io { .. } => Failure::Failed(error.to_string()),
            }
        }
    }
}
