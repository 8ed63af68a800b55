//! The tensors of a checkpoint under the names that families use: one safetensors file, or several with an index.

use crate::checkpoint::CheckpointError;
use attendant_formats::{self as formats, Access, Dtype, Refusal, TensorView};
use std::path::{Path, PathBuf};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a checkpoint by name.
pub(crate) struct Weights {
    /// The file that a fault is in, or the index.
    pub(crate) path: PathBuf,
    files: formats::Weights,
}

impl Weights {
    /// model.safetensors of a folder, or the files that model.safetensors.index.json names.
    ///
    /// # Errors
    /// If a file is missing or damaged, or is not what the index says.
    pub(crate) fn open(folder: &Path) -> Result<Weights, CheckpointError> {
        let (whole, index) = (folder.join(WHOLE), folder.join(INDEX));
        let path = if !whole.exists() && index.exists() { index } else { whole };
        let files = formats::Weights::open(&path, Access::Mapped)?;
        Ok(Weights { path, files })
    }

    /// Names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|tensor| tensor.name)
    }

    /// The name under which a tensor is there: as given, or without the first component, which names the whole model and which
    /// some files leave out.
    pub(crate) fn name<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.find(name).map(|tensor| tensor.name)
    }

    fn find(&self, name: &str) -> Option<TensorView<'_>> {
        let short = name.split_once('.').map_or(name, |(_, rest)| rest);
        self.files.get(name).or_else(|| self.files.get(short))
    }

    fn stored(&self, name: &str) -> Result<TensorView<'_>, String> {
        self.find(name).ok_or_else(|| "missing".into())
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        Ok(self.stored(name)?.shape.to_vec())
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or its type is not a floating one of at most 32 bits.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.stored(name)?;
        match tensor.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => tensor.to_f32().map_err(|refusal: Refusal| refusal.to_string()),
            other => Err(format!("wanted F32, F16 or BF16, got {other}")),
        }
    }
}
