//! Checkpoints: model.safetensors and config.json in the published layouts.

use crate::assembly::{NamedTensor, Wanted};
use crate::decoder::Decoder;
use crate::description::Description;
use crate::family::{Published, configuration};
use crate::source::{Names, Source};
use crate::tensor_file::{self, Outgoing};
use crate::weights::Weights;
use attendant_core::{Error, Processor, Tensor};
use attendant_formats::weights::WHOLE;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Why a checkpoint was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The content cannot be used.
    #[error("{path}: {why}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What was wanted and got.
        why: String,
    },
}

type Result<T> = std::result::Result<T, CheckpointError>;

/// Writes a model to a folder: model.safetensors and config.json.
///
/// # Errors
/// If a file cannot be written.
pub fn save(decoder: &Decoder, folder: &Path) -> Result<()> {
    let path = folder.join(WHOLE);
    let tensors =
        decoder.parameters().iter().map(|NamedTensor { name, tensor }| Outgoing::floats(name, tensor.shape(), tensor.data()));
    write_tensors(&path, tensors.collect())?;
    let path = folder.join("config.json");
    let config = configuration(decoder.plan()).and_then(|config| serde_json::to_vec_pretty(&config));
    write(&path, &config.map_err(|why| content(&path, why))?)
}

/// A model that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub decoder: Decoder,
    /// What its files hold besides, and is not read.
    pub left_out: Option<String>,
}

/// Reads a model: the folder of one that [`save`] wrote, or of one of a published family, or a GGUF file. Matrices of 16 bits a value or
/// fewer stay as they are, and such a model cannot be trained; `processor` packs them.
///
/// # Errors
/// If a file is missing or damaged, the configuration asks for what is not there, or a tensor is missing, unknown or of
/// another shape than the configuration says.
pub fn open(path: &Path, processor: Processor) -> Result<Loaded> {
    open_as(path, processor, PACKED)
}

fn open_as(path: &Path, processor: Processor, read: Read) -> Result<Loaded> {
    let config = if path.is_dir() { Some(path.join("config.json")) } else { config_beside(path) };
    let weights = Weights::open(path, processor)?;
    let Description { published, left_out, .. } = Description::read(path, config.as_deref(), Some(weights.files()))?;
    let (decoder, _) = assemble(published, config.as_deref().unwrap_or(path), &weights, read)?;
    Ok(Loaded { decoder, left_out })
}

/// The configuration beside a file of weights, if there is one; a GGUF file has its own in it.
pub(crate) fn config_beside(weights: &Path) -> Option<PathBuf> {
    let beside = weights.with_file_name("config.json");
    (weights.extension().is_none_or(|end| end != "gguf") && beside.exists()).then_some(beside)
}

/// The model alone, read by the calling thread.
///
/// # Errors
/// As [`open`].
pub fn load(path: &Path) -> Result<Decoder> {
    Ok(open(path, Processor::new(1))?.decoder)
}

/// The model alone, with 32 bits for every value: to be trained, or looked at.
///
/// # Errors
/// As [`open`].
pub fn load_widened(path: &Path) -> Result<Decoder> {
    Ok(open_as(path, Processor::new(1), WIDENED)?.decoder)
}

/// Makes a parameter of what is stored.
pub(crate) type Read = fn(&Source<'_>, &Weights, Wanted<'_>) -> std::result::Result<Tensor, String>;

/// Leaves matrices that may be packed in the type that they are stored in.
const PACKED: Read = |source, weights, wanted| match wanted.whole {
    true => source.read(weights, wanted.shape),
    false => source.read_values(weights, wanted.shape),
};

/// Gives every value 32 bits.
pub(crate) const WIDENED: Read = |source, weights, wanted| source.read_values(weights, wanted.shape);

/// The model that `config` describes, with these weights, and where its parameters come from.
pub(crate) fn assemble(published: Published, config: &Path, weights: &Weights, read: Read) -> Result<(Decoder, Names)> {
    let Published { plan, names } = published;
    let mechanisms = plan.mechanisms().map_err(|why| content(config, why))?;
    let mut used = HashSet::new();
    let decoder = Decoder::assemble(plan, mechanisms, |name, wanted| {
        let source = names.source(name);
        let tensors = source.tensors();
        used.extend(tensors.iter().filter_map(|tensor| weights.name(tensor)));
        let parameter = read(&source, weights, wanted);
        // Or the file would be in memory a second time, beside what was made of it.
        tensors.iter().for_each(|tensor| weights.release(tensor));
        parameter.map_err(|why| content(&weights.path, format!("tensor {}: {why}", source.tensor)))
    })?;
    match weights.names().find(|name| !used.contains(name) && !names.ignores(name)) {
        Some(name) => {
            Err(content(&weights.path, format!("tensor {name}: not part of the model that {} describes", config.display())))
        }
        None => Ok((decoder, names)),
    }
}

/// Writes tensors as a model's.
pub(crate) fn write_tensors(path: &Path, tensors: Vec<Outgoing<'_>>) -> Result<()> {
    // transformers opens only files that say which framework's layout they have.
    tensor_file::write(path, tensors, Some(HashMap::from([("format".to_string(), "pt".to_string())])))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|source| CheckpointError::Io { path: path.into(), source })
}

pub(crate) fn content(path: &Path, why: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Content { path: path.into(), why: why.to_string().replace('\n', " ") }
}

impl From<attendant_formats::Error> for CheckpointError {
    fn from(error: attendant_formats::Error) -> CheckpointError {
        match error {
            attendant_formats::Error::Io { path, source } => CheckpointError::Io { path, source },
            attendant_formats::Error::Refused { path, refusal } => CheckpointError::Content { path, why: refusal.to_string() },
        }
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Error {
        let line = error.to_string();
        let (field, why) = line.split_once(": ").unwrap_or(("checkpoint", &line));
        Error::config(field, why)
    }
}
