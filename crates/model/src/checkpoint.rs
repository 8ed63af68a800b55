//! Checkpoints: model.safetensors and config.json in the published layouts.

use crate::decoder::Decoder;
use crate::family::{self, configuration};
use attendant_core::{Error, Tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
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
    // transformers opens only files that say which framework's layout they have.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|why| content(&path, why))?;
    write(&path, &file)?;
    let path = folder.join("config.json");
    let config = configuration(decoder.plan()).and_then(|config| serde_json::to_vec_pretty(&config));
    write(&path, &config.map_err(|why| content(&path, why))?)
}

/// Reads a model: one that [`save`] wrote, a Llama, or a DeepSeek V3 without experts, with weights in F32, F16 or BF16.
///
/// # Errors
/// If a file is missing or damaged, the configuration asks for what is not there, or a tensor is missing, unknown or of
/// another shape than the configuration says.
pub fn load(folder: &Path) -> Result<Decoder> {
    let path = folder.join("config.json");
    let config: Value = serde_json::from_slice(&read(&path)?).map_err(|why| content(&path, why))?;
    let plan = family::plan(&config).map_err(|why| content(&path, why))?;
    let mechanisms = plan.mechanisms().map_err(|why| content(&path, why))?;

    let path = folder.join("model.safetensors");
    let bytes = read(&path)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|why| content(&path, why))?;
    // The shape is compared before memory is taken: a configuration alone cannot ask for more than the file holds.
    let decoder = Decoder::assemble(plan, mechanisms, |name, shape, _| {
        tensor(&tensors, name, shape).map_err(|why| content(&path, format!("tensor {name}: {why}")))
    })?;
    let known: HashSet<&str> = decoder.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let mut unknown: Vec<&str> = tensors.names().into_iter().filter(|&name| !known.contains(name) && !computed(name)).collect();
    unknown.sort_unstable();
    match unknown.first() {
        Some(name) => Err(content(&path, format!("tensor {name}: not part of the model that config.json describes"))),
        None => Ok(decoder),
    }
}

/// Whether a tensor follows from the configuration: early Llama files carry the frequencies of the rotation.
fn computed(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}

fn tensor(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> std::result::Result<Tensor, String> {
    let view = tensors.tensor(name).map_err(|_| "missing")?;
    if view.shape() != shape {
        return Err(format!("wanted shape {shape:?}, got {:?}", view.shape()));
    }
    let mut tensor = Tensor::zeros(shape);
    let (values, data) = (tensor.data_mut(), view.data());
    match view.dtype() {
        Dtype::F32 => decode(values, data, f32::from_le_bytes),
        Dtype::F16 => decode(values, data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => decode(values, data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        other => return Err(format!("wanted F32, F16 or BF16, got {other:?}")),
    }
    Ok(tensor)
}

fn decode<const N: usize>(values: &mut [f32], data: &[u8], one: impl Fn([u8; N]) -> f32) {
    let (data, _) = data.as_chunks::<N>();
    values.iter_mut().zip(data).for_each(|(value, &bytes)| *value = one(bytes));
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| CheckpointError::Io { path: path.into(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|source| CheckpointError::Io { path: path.into(), source })
}

fn content(path: &Path, why: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Content { path: path.into(), why: why.to_string().replace('\n', " ") }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Error {
        let line = error.to_string();
        let (field, why) = line.split_once(": ").unwrap_or(("checkpoint", &line));
        Error::config(field, why)
    }
}
