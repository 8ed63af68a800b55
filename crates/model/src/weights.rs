//! The tensors of a checkpoint: one safetensors file, or several with an index.

use crate::checkpoint::{CheckpointError, content, read};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The tensors of a checkpoint by name.
pub(crate) struct Weights {
    /// The file that a fault is in, or the index.
    pub(crate) path: PathBuf,
    files: Vec<Vec<u8>>,
    tensors: BTreeMap<String, Stored>,
}

/// Where a tensor stands.
struct Stored {
    file: usize,
    bytes: std::ops::Range<usize>,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Weights {
    /// model.safetensors of a folder, or the files that model.safetensors.index.json names.
    ///
    /// # Errors
    /// If a file is missing or damaged, or two hold a tensor of one name.
    pub(crate) fn open(folder: &Path) -> Result<Weights, CheckpointError> {
        let index = folder.join("model.safetensors.index.json");
        let whole = folder.join("model.safetensors");
        let mut weights = Weights { path: whole.clone(), files: Vec::new(), tensors: BTreeMap::new() };
        if whole.exists() || !index.exists() {
            weights.add(&whole)?;
        } else {
            for name in shards(&index)? {
                weights.add(&folder.join(name))?;
            }
            weights.path = index;
        }
        Ok(weights)
    }

    fn add(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let bytes = read(path)?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|why| content(path, why))?;
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let bytes = header + size_of::<u64>() + start..header + size_of::<u64>() + end;
            let stored = Stored { file: self.files.len(), bytes, shape: info.shape.clone(), dtype: info.dtype };
            if self.tensors.insert(name.clone(), stored).is_some() {
                return Err(content(path, format!("tensor {name}: got it again, wanted it in one file")));
            }
        }
        self.files.push(bytes);
        Ok(())
    }

    /// Names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The name under which a tensor is there: as given, or without the first component, which names the whole model and which
    /// some files leave out.
    pub(crate) fn name<'a>(&'a self, name: &str) -> Option<&'a str> {
        let short = name.split_once('.').map_or(name, |(_, rest)| rest);
        let found = self.tensors.get_key_value(name).or_else(|| self.tensors.get_key_value(short));
        found.map(|(name, _)| name.as_str())
    }

    fn stored(&self, name: &str) -> Result<&Stored, String> {
        self.name(name).map(|name| &self.tensors[name]).ok_or_else(|| "missing".into())
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        Ok(self.stored(name)?.shape.clone())
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or its type is not a floating one of at most 32 bits.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let Stored { file, bytes, dtype, .. } = self.stored(name)?;
        let data = &self.files[*file][bytes.clone()];
        match dtype {
            Dtype::F32 => Ok(decode(data, f32::from_le_bytes)),
            Dtype::F16 => Ok(decode(data, |bytes| f16::from_le_bytes(bytes).to_f32())),
            Dtype::BF16 => Ok(decode(data, |bytes| bf16::from_le_bytes(bytes).to_f32())),
            other => Err(format!("wanted F32, F16 or BF16, got {other:?}")),
        }
    }
}

fn decode<const N: usize>(data: &[u8], one: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|&bytes| one(bytes)).collect()
}

/// The files that an index names, each once.
fn shards(index: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    let value: Value = serde_json::from_slice(&read(index)?).map_err(|why| content(index, why))?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| content(index, "weight_map: got none, wanted names of tensors and their files"))?;
    map.iter()
        .map(|(tensor, file)| {
            let name = file.as_str().filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.'));
            let why = || content(index, format!("weight_map, {tensor:?}: got {file}, wanted the name of a file in the folder"));
            name.map(str::to_owned).ok_or_else(why)
        })
        .collect()
}
