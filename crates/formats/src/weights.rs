//! The tensors of a model, whatever files they lie in.

use crate::error::{Error, Refusal, Result, quoted};
use crate::gguf::{self, Part, Said};
use crate::mapping::{self, Access, FileBytes};
use crate::safetensors;
use crate::shards::{self, Index};
use crate::tensor::{TensorView, Tensors};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file of a folder with all weights in it.
pub const WHOLE: &str = "model.safetensors";
/// The file that names those of weights in several.
pub const INDEX: &str = "model.safetensors.index.json";

/// The weights of a model: one safetensors file, several with an index, or a GGUF file, perhaps the first of several.
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
    /// Reads the headers of a safetensors file, a GGUF file, an index of shards, or a folder that holds one of them. The parts of a GGUF file
    /// that was cut into several are those with its name in its folder; it is opened by the first.
    ///
    /// # Errors
    /// If a file cannot be read, or anything in it is not as its format and the caps of this crate want it.
    pub fn open(path: &Path, access: Access) -> Result<Weights, Error> {
        let none = || Refusal::new("folder", format_args!("wanted {WHOLE}, {INDEX} or a .gguf file, got none")).in_file(path);
        let path = if path.is_dir() { &Weights::in_folder(path)?.ok_or_else(none)? } else { path };
        if path.extension().is_some_and(|extension| extension == "json") {
            return Weights::open_shards(path, access);
        }
        let mut memory = gguf::MAX_MEMORY;
        let (first, metadata) = WeightFile::open(path, access, &mut memory).map_err(|why| strange(why, path))?;
        match said(&metadata, path)? {
            Some(said) => Weights::open_parts(said, first, metadata, access, memory),
            None => Ok(Weights { path: path.into(), files: vec![first], index: None, metadata }),
        }
    }

    /// The file of a folder by which the weights in it are opened, if there is one: model.safetensors, the index of its shards, or the only
    /// GGUF file that is no later part of another.
    ///
    /// # Errors
    /// If the folder cannot be read, or it holds several GGUF files.
    pub fn in_folder(folder: &Path) -> Result<Option<PathBuf>, Error> {
        if let Some(path) = [WHOLE, INDEX].map(|name| folder.join(name)).into_iter().find(|path| path.exists()) {
            return Ok(Some(path));
        }
        let entries = fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
        let later =
            |path: &PathBuf| path.file_name().and_then(OsStr::to_str).and_then(Part::of).is_some_and(|part| !part.is_first());
        let ggufs = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "gguf"));
        let mut ggufs = ggufs.filter(|path| !later(path));
        match (ggufs.next(), ggufs.next()) {
            (Some(_), Some(_)) => {
                Err(Refusal::new("folder", "wanted one .gguf file, got several; name one of them").in_file(folder))
            }
            (only, _) => Ok(only),
        }
    }

    /// Reads the header of one file, which may be a part of a model.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn open_alone(path: &Path, access: Access) -> Result<Weights, Error> {
        let (file, metadata) = WeightFile::open(path, access, &mut { gguf::MAX_MEMORY })?;
        Ok(Weights { path: path.into(), files: vec![file], index: None, metadata })
    }

    /// Reads the parts that follow the first; so much memory is left for all of their headers.
    fn open_parts(
        said: Said,
        first: WeightFile,
        metadata: Metadata,
        access: Access,
        mut memory: usize,
    ) -> Result<Weights, Error> {
        let path = first.path.clone();
        let mut index = Index { files: said.names(&path)?, file_of: BTreeMap::new() };
        let mut files = vec![first];
        for (number, name) in index.files.iter().enumerate() {
            if number > 0 {
                let place = path.with_file_name(name);
                let (file, metadata) = WeightFile::open(&place, access, &mut memory)?;
                let missing = || Refusal::new("split.count", "missing, wanted what the first part says").in_file(&place);
                said.check(self::said(&metadata, &place)?.ok_or_else(missing)?, number, &place)?;
                files.push(file);
            }
            let WeightFile { path, tensors, .. } = &files[number];
            for name in tensors.keys() {
                let refuse = |why| Refusal::new(format_args!("tensor {}", quoted(name)), why).in_file(path);
                let left = memory.checked_sub(name.len() + 2 * size_of::<(String, usize)>());
                memory = left.ok_or_else(|| refuse("wanted descriptions that fit the memory allowed for those of all parts"))?;
                if index.file_of.insert(name.clone(), number).is_some() {
                    return Err(refuse("wanted a name of its own, got one that an earlier part has"));
                }
            }
        }
        said.check_tensors(index.file_of.len(), &path)?;
        Ok(Weights { path, files, index: Some(index), metadata })
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
        self.release_part(name, 0..usize::MAX);
    }

    /// The same for some of its bytes, as far as there are so many.
    pub fn release_part(&self, name: &str, part: Range<usize>) {
        if let Some((file, info)) = self.file_of(name).and_then(|file| Some((file, file.tensors.get(name)?))) {
            let place = |at: usize| info.range.start.saturating_add(at).min(info.range.end);
            file.bytes.release(place(part.start)..place(part.end));
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
    /// Reads the header of a file, within so much memory.
    fn open(path: &Path, access: Access, memory: &mut usize) -> Result<(WeightFile, Metadata), Error> {
        let bytes = FileBytes::open(path, access)?;
        let in_file = |refusal: Refusal| refusal.in_file(path);
        let is_gguf = bytes.starts_with(b"GGUF") || path.extension().is_some_and(|extension| extension == "gguf");
        let (tensors, metadata) = if is_gguf {
            let (gguf, left) = gguf::parse_within(&bytes, *memory).map_err(in_file)?;
            *memory = left;
            (gguf.tensors, Metadata::Gguf(gguf.metadata))
        } else {
            let header = safetensors::parse(&bytes).map_err(in_file)?;
            (header.tensors, Metadata::SafeTensors(header.metadata))
        };
        Ok((WeightFile { path: path.into(), bytes, tensors }, metadata))
    }

    fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, info) = self.tensors.get_key_value(name)?;
        Some(TensorView { name, dtype: info.dtype, shape: &info.shape, bytes: self.bytes.get(info.range.clone())? })
    }
}

/// A refusal of the first bytes of a file whose name does not say that it is safetensors: it may be anything.
fn strange(error: Error, path: &Path) -> Error {
    let named = path.extension().is_some_and(|extension| extension == "safetensors");
    match error {
        Error::Refused { refusal, .. } if !named && safetensors::is_of_framing(&refusal) => {
            Refusal::new("content", format_args!("wanted GGUF or safetensors, got neither ({refusal})")).in_file(path)
        }
        other => other,
    }
}

/// What the metadata of a file says of the parts of its model, if there are several.
fn said(metadata: &Metadata, path: &Path) -> Result<Option<Said>, Error> {
    match metadata {
        Metadata::Gguf(metadata) => Said::of(metadata).map_err(|refusal| refusal.in_file(path)),
        Metadata::SafeTensors(_) => Ok(None),
    }
}
