//! The tensors of a model, whatever files they lie in.

use crate::error::{Error, Refusal, Result, quoted};
use crate::gguf;
use crate::mapping::{self, Access, FileBytes};
use crate::safetensors;
use crate::shards::{self, Index};
use crate::tensor::{TensorView, Tensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Its value is above 1 in each part of a GGUF file that was cut into several.
const PARTS: &str = "split.count";

/// The weights of a model: one safetensors file, several with an index, or one GGUF file.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<WeightFile>,
    /// In which file a tensor lies, where there are several.
    index: Option<Index>,
    metadata: Metadata,
}

/// What the writer noted beside the tensors.
#[derive(Debug)]
pub enum Metadata {
    /// Of a safetensors file; of the first, where there are several.
    SafeTensors(BTreeMap<String, String>),
    /// Of a GGUF file.
    Gguf(BTreeMap<String, gguf::Value>),
}

#[derive(Debug)]
struct WeightFile {
    path: PathBuf,
    bytes: FileBytes,
    tensors: Tensors,
}

impl Weights {
    /// Reads the headers of a safetensors file, a GGUF file, an index of shards, or a folder that holds one of them.
    ///
    /// # Errors
    /// If a file cannot be read, or anything in it is not as its format and the caps of this crate want it.
    pub fn open(path: &Path, access: Access) -> Result<Weights, Error> {
        let path = if path.is_dir() { &in_folder(path)? } else { path };
        if path.extension().is_some_and(|extension| extension == "json") {
            return Weights::open_shards(path, access);
        }
        let bytes = FileBytes::open(path, access)?;
        let in_file = |refusal: Refusal| refusal.in_file(path);
        let is_gguf = bytes.starts_with(b"GGUF") || path.extension().is_some_and(|extension| extension == "gguf");
        let (tensors, metadata) = if is_gguf {
            let gguf = gguf::parse(&bytes).map_err(in_file)?;
            whole(&gguf).map_err(in_file)?;
            (gguf.tensors, Metadata::Gguf(gguf.metadata))
        } else {
            let header = safetensors::parse(&bytes).map_err(in_file)?;
            (header.tensors, Metadata::SafeTensors(header.metadata))
        };
        let files = vec![WeightFile { path: path.into(), bytes, tensors }];
        Ok(Weights { path: path.into(), files, index: None, metadata })
    }

    fn open_shards(path: &Path, access: Access) -> Result<Weights, Error> {
        let index = shards::parse(&mapping::read(path, shards::MAX_INDEX)?).map_err(|refusal| refusal.in_file(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = Vec::with_capacity(index.files.len());
        let mut notes = None;
        for (position, name) in index.files.iter().enumerate() {
            let path = folder.join(name);
            let bytes = FileBytes::open(&path, access)?;
            let header = safetensors::parse(&bytes).map_err(|refusal| refusal.in_file(&path))?;
            index.check(position, &header.tensors, &path)?;
            notes.get_or_insert(header.metadata);
            files.push(WeightFile { path, bytes, tensors: header.tensors });
        }
        let metadata = Metadata::SafeTensors(notes.unwrap_or_default());
        Ok(Weights { path: path.into(), files, index: Some(index), metadata })
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        self.file_of(name)?.view(name)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// That it is missing.
    pub fn require(&self, name: &str) -> Result<TensorView<'_>, Error> {
        self.get(name).ok_or_else(|| self.refuse(Refusal::new(format_args!("tensor {}", quoted(name)), "missing"), name))
    }

    /// Gives back the memory that a mapped file takes for this tensor: it is read again when it is touched again.
    pub fn release(&self, name: &str) {
        if let Some((file, info)) = self.file_of(name).and_then(|file| Some((file, file.tensors.get(name)?))) {
            file.bytes.release(info.range.clone());
        }
    }

    /// A refusal of this tensor, with the file that it lies in.
    pub fn refuse(&self, refusal: Refusal, name: &str) -> Error {
        refusal.in_file(self.file_of(name).map_or(&self.path, |file| &file.path))
    }

    /// The file that leads to all of them: the index, where they lie in several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors: file by file, and by name in each.
    pub fn iter(&self) -> impl Iterator<Item = TensorView<'_>> + '_ {
        self.files.iter().flat_map(|file| file.tensors.keys().filter_map(|name| file.view(name)))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.files.iter().map(|file| file.tensors.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the writer noted.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The files, with their lengths in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, usize)> + '_ {
        self.files.iter().map(|file| (file.path.as_path(), file.bytes.len()))
    }

    fn file_of(&self, name: &str) -> Option<&WeightFile> {
        match &self.index {
            Some(index) => self.files.get(*index.file_of.get(name)?),
            None => self.files.first(),
        }
    }
}

impl WeightFile {
    fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, info) = self.tensors.get_key_value(name)?;
        Some(TensorView { name, dtype: info.dtype, shape: &info.shape, bytes: self.bytes.get(info.range.clone())? })
    }
}

/// The file of a folder that leads to its weights.
fn in_folder(folder: &Path) -> Result<PathBuf, Error> {
    if let Some(path) = [WHOLE, INDEX].map(|name| folder.join(name)).into_iter().find(|path| path.exists()) {
        return Ok(path);
    }
    let entries = fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
    let mut ggufs = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "gguf"));
    match (ggufs.next(), ggufs.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => {
            Err(Refusal::new("folder", format_args!("wanted {WHOLE}, {INDEX} or a .gguf file, got none")).in_file(folder))
        }
        _ => Err(Refusal::new("folder", "wanted one .gguf file, got several; name one of them").in_file(folder)),
    }
}

/// Refuses a part of a GGUF file that was cut into several.
fn whole(gguf: &gguf::Gguf) -> Result<()> {
    match gguf.metadata.get(PARTS) {
        None | Some(gguf::Value::Unsigned(0 | 1)) => Ok(()),
        Some(parts) => {
            Err(Refusal::new(PARTS, format_args!("wanted a whole file, got a part of {}; join them first", parts.summary())))
        }
    }
}
