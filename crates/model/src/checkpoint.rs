//! Checkpoints: model.safetensors and config.json in the published layouts.

use crate::decoder::Decoder;
use crate::export::configuration;
use crate::plan::Plan;
use attendant_core::Error;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::HashMap;
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
    let config = serde_json::to_vec_pretty(&configuration(decoder.plan())).map_err(|why| content(&path, why))?;
    write(&folder.join("config.json"), &config)
}

/// Reads a model that [`save`] wrote.
///
/// # Errors
/// If a file is missing or damaged, or a tensor is missing, unknown or of another shape than the configuration says.
pub fn load(folder: &Path) -> Result<Decoder> {
    let path = folder.join("config.json");
    let config: Value = serde_json::from_slice(&read(&path)?).map_err(|why| content(&path, why))?;
    let plan = config
        .get("attendant")
        .cloned()
        .ok_or_else(|| content(&path, "key \"attendant\" is missing, wanted the plan of the model"))?;
    let plan: Plan = serde_json::from_value(plan).map_err(|why| content(&path, format!("attendant: {why}")))?;
    let mut decoder = Decoder::new(plan, 0).map_err(|why| content(&path, why))?;

    let path = folder.join("model.safetensors");
    let bytes = read(&path)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|why| content(&path, why))?;
    let known: Vec<String> = decoder.parameters().iter().map(|parameter| parameter.name.clone()).collect();
    if let Some(name) = tensors.names().into_iter().find(|name| !known.iter().any(|known| known == name)) {
        return Err(content(&path, format!("tensor {name:?} is not part of the model that config.json describes")));
    }
    for (name, tensor) in known.iter().zip(decoder.parameters_mut()) {
        let view = tensors.tensor(name).map_err(|why| content(&path, format!("tensor {name}: {why}")))?;
        if view.shape() != tensor.shape() {
            return Err(content(&path, format!("tensor {name}: wanted shape {:?}, got {:?}", tensor.shape(), view.shape())));
        }
        let to = tensor.data_mut().iter_mut();
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => to.zip(data.chunks_exact(4)).for_each(|(to, b)| *to = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Dtype::F16 => to.zip(data.chunks_exact(2)).for_each(|(to, b)| *to = half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
            Dtype::BF16 => {
                to.zip(data.chunks_exact(2)).for_each(|(to, b)| *to = half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
            }
            other => return Err(content(&path, format!("tensor {name}: wanted F32, F16 or BF16, got {other:?}"))),
        }
    }
    Ok(decoder)
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
