//! Checkpoints: model.safetensors and config.json in the published layouts.

use crate::decoder::Decoder;
use crate::family::{self, Published, configuration};
use crate::gguf;
use crate::source::{Names, Source};
use crate::weights::Weights;
use attendant_core::{Error, Tensor};
use attendant_formats::Config;
use safetensors::tensor::{Dtype, TensorView};
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
    let path = folder.join("model.safetensors");
    let mut bytes = Vec::new();
    for parameter in decoder.parameters() {
        bytes.push(parameter.tensor.data().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    let mut views = Vec::new();
    for (parameter, bytes) in decoder.parameters().iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, parameter.tensor.shape().to_vec(), bytes);
        views.push((parameter.name.as_str(), view.map_err(|why| content(&path, why))?));
    }
    write_tensors(&path, views)?;
    let path = folder.join("config.json");
    let config = configuration(decoder.plan()).and_then(|config| serde_json::to_vec_pretty(&config));
    write(&path, &config.map_err(|why| content(&path, why))?)
}

/// Reads a model: the folder of one that [`save`] wrote, or of one of a published family, or a GGUF file. Matrices of few bits stay as
/// they are.
///
/// # Errors
/// If a file is missing or damaged, the configuration asks for what is not there, or a tensor is missing, unknown or of
/// another shape than the configuration says.
pub fn load(path: &Path) -> Result<Decoder> {
    if path.is_dir() {
        let config = path.join("config.json");
        let published = family::read(&Config::open(&config)?.into_value()).map_err(|why| content(&config, why))?;
        return Ok(assemble(published, &config, &Weights::open(path)?, PACKED)?.0);
    }
    let weights = Weights::open(path)?;
    let metadata = weights.gguf().ok_or_else(|| content(path, "got weights without a configuration, wanted their folder"))?;
    let mapped = gguf::configuration(metadata, weights.files()).map_err(|why| content(path, why))?;
    Ok(assemble(mapped.published().map_err(|why| content(path, why))?, path, &weights, PACKED)?.0)
}

/// Makes a parameter of this shape of what is stored.
pub(crate) type Read = fn(&Source<'_>, &Weights, &[usize]) -> std::result::Result<Tensor, String>;

/// Leaves matrices of few bits as they are.
const PACKED: Read = |source, weights, shape| source.read(weights, shape);

/// The model that `config` describes, with these weights, and where its parameters come from.
pub(crate) fn assemble(published: Published, config: &Path, weights: &Weights, read: Read) -> Result<(Decoder, Names)> {
    let Published { plan, names } = published;
    let mechanisms = plan.mechanisms().map_err(|why| content(config, why))?;
    let mut used = HashSet::new();
    let decoder = Decoder::assemble(plan, mechanisms, |name, shape, _| {
        let source = names.source(name);
        used.extend(source.tensors().iter().filter_map(|tensor| weights.name(tensor)));
        read(&source, weights, shape).map_err(|why| content(&weights.path, format!("tensor {}: {why}", source.tensor)))
    })?;
    match weights.names().find(|name| !used.contains(name) && !names.ignores(name)) {
        Some(name) => {
            Err(content(&weights.path, format!("tensor {name}: not part of the model that {} describes", config.display())))
        }
        None => Ok((decoder, names)),
    }
}

/// Writes tensors as a model's.
pub(crate) fn write_tensors(path: &Path, views: Vec<(&str, TensorView<'_>)>) -> Result<()> {
    // transformers opens only files that say which framework's layout they have.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|why| content(path, why))?;
    write(path, &file)
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
