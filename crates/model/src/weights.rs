//! The tensors of a checkpoint under the names that families use: one safetensors file, several with an index, or a GGUF file.

use crate::checkpoint::CheckpointError;
use crate::gguf;
use attendant_core::kernels::Machine;
use attendant_core::kernels::quant::{Format, Matrix};
use attendant_formats::{self as formats, Access, Dtype, Metadata, Refusal, TensorView};
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
    /// A file; or of a folder model.safetensors, or the files that model.safetensors.index.json names.
    ///
    /// # Errors
    /// If a file is missing or damaged, or is not what the index says.
    pub(crate) fn open(path: &Path) -> Result<Weights, CheckpointError> {
        let (whole, index) = (path.join(WHOLE), path.join(INDEX));
        let path = match (path.is_dir(), !whole.exists() && index.exists()) {
            (false, _) => path.to_owned(),
            (true, true) => index,
            (true, false) => whole,
        };
        let files = formats::Weights::open(&path, Access::Mapped)?;
        Ok(Weights { path, files })
    }

    /// The files.
    pub(crate) fn files(&self) -> &formats::Weights {
        &self.files
    }

    /// Names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|tensor| tensor.name)
    }

    /// All tensors as they are stored.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.files.iter()
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

    /// A tensor as it is stored.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn stored(&self, name: &str) -> Result<TensorView<'_>, String> {
        self.find(name).ok_or_else(|| "missing".into())
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        Ok(self.stored(name)?.shape.to_vec())
    }

    /// What the writer of a GGUF file says beside its tensors; nothing of other files.
    pub(crate) fn gguf(&self) -> Option<&gguf::Metadata> {
        match self.files.metadata() {
            Metadata::Gguf(metadata) => Some(metadata),
            Metadata::SafeTensors(_) => None,
        }
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or its type is neither a floating one of at most 32 bits nor one of [`Format`].
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.stored(name)?;
        let Some(format) = format(tensor.dtype) else {
            return Err(format!("wanted F32, F16, BF16 or one of few bits that is read, got {}", tensor.dtype));
        };
        if format.is_float() {
            return tensor.to_f32().map_err(|refusal: Refusal| refusal.to_string());
        }
        let mut values = vec![0.0; tensor.elements()];
        format.decode(tensor.bytes, &mut values);
        Ok(values)
    }

    /// A tensor of few bits, or the part of one that belongs to an expert, as a matrix of this shape; none if it is of floats.
    ///
    /// # Errors
    /// If there is none of that name, or it has another shape.
    pub(crate) fn packed(&self, name: &str, expert: Option<usize>, shape: &[usize]) -> Result<Option<Matrix>, String> {
        let tensor = self.stored(name)?;
        let (Some(format), &[rows, width]) = (format(tensor.dtype).filter(|format| !format.is_float()), shape) else {
            return Ok(None);
        };
        let (experts, whole) = match (tensor.shape, expert) {
            (&[experts, ref matrix @ ..], Some(_)) => (experts, matrix),
            (matrix, _) => (1, matrix),
        };
        let part = expert.unwrap_or(0);
        if whole != shape || part >= experts {
            return Err(format!("wanted shape {shape:?}, got {:?}", tensor.shape));
        }
        let size = tensor.bytes.len() / experts;
        let bytes = &tensor.bytes[part * size..(part + 1) * size];
        Matrix::pack(Machine::inline(), format, rows, width, bytes).map(Some).map_err(|why| why.to_string())
    }
}

/// The format of a type whose values can be read.
fn format(dtype: Dtype) -> Option<Format> {
    Format::ALL.into_iter().find(|format| format.name() == dtype.name())
}
