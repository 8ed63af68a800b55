//! A checkpoint in several safetensors files: the index says which tensor lies in which.

use crate::error::{Error, Refusal, Result, quoted};
use crate::json::{self, Budget, Tree};
use crate::tensor::{MAX_TENSORS, Tensors, check_name};
use serde::de::{self, Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The longest index, in bytes.
pub const MAX_INDEX: usize = 16 << 20;
/// The most files of a checkpoint.
pub const MAX_FILES: usize = 1024;
/// The most tensors of a checkpoint.
pub const MAX_ENTRIES: usize = 4 * MAX_TENSORS;

/// How deep whatever else an index holds may nest, and the memory it may take while it is read.
const DEPTH: usize = 8;
const MEMORY: usize = 8 << 20;

/// Which tensor lies in which file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Names of files in the folder of the index, in the order of their first tensor.
    pub files: Vec<String>,
    /// For each tensor, the position of its file in `files`.
    pub file_of: BTreeMap<String, usize>,
}

/// Reads an index. Every file that it names lies in its own folder.
///
/// # Errors
/// If anything is not as the format and the caps of this crate want it.
pub fn parse(text: &[u8]) -> Result<Index> {
    json::read("index", 0, text, MAX_INDEX, IndexVisitor(&Budget::new(MEMORY)))
}

impl Index {
    /// Checks one of the files: it holds the tensors that the index looks for in it, and no others.
    ///
    /// # Errors
    /// With the name of a tensor that is missing or too many.
    pub(crate) fn check(&self, file: usize, tensors: &Tensors, path: &Path) -> Result<(), Error> {
        let refuse = |name: &str, why: &str| Err(Refusal::new(format_args!("tensor {}", quoted(name)), why).in_file(path));
        let stray = tensors.keys().find(|name| self.file_of.get(*name) != Some(&file));
        if let Some(name) = stray {
            return refuse(name, "wanted only what the index says lies here, got one that it does not");
        }
        let missing = self.file_of.iter().find(|(name, at)| **at == file && !tensors.contains_key(*name));
        missing.map_or(Ok(()), |(name, _)| refuse(name, "missing, though the index says that it lies here"))
    }
}

/// Refuses what is no plain name of a safetensors file: a name that leaves the folder, or names a device or a stream on some system.
fn check_file(name: &str) -> Result<(), String> {
    let plain = |character: char| !character.is_control() && !matches!(character, '/' | '\\' | ':');
    let fine = name.len() <= 255 && name.ends_with(".safetensors") && !name.starts_with('.') && name.chars().all(plain);
    if fine {
        Ok(())
    } else {
        Err(format!("wanted the name of a .safetensors file in the folder of the index, got {}", quoted(name)))
    }
}

struct IndexVisitor<'b>(&'b Budget);

impl<'de> de::DeserializeSeed<'de> for IndexVisitor<'_> {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Index, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for IndexVisitor<'_> {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Index, A::Error> {
        let mut index = None;
        while let Some(key) = entries.next_key::<String>()? {
            if key != "weight_map" {
                // Sizes that writers note are often wrong, and nothing here needs them.
                entries.next_value_seed(Tree::new(self.0, DEPTH))?;
            } else if index.replace(entries.next_value_seed(WeightMap)?).is_some() {
                return Err(A::Error::custom("key \"weight_map\" occurs twice"));
            }
        }
        match index {
            Some(index) if !index.files.is_empty() => Ok(index),
            Some(_) => Err(A::Error::custom("weight_map: wanted tensors, got none")),
            None => Err(A::Error::missing_field("weight_map")),
        }
    }
}

struct WeightMap;

impl<'de> de::DeserializeSeed<'de> for WeightMap {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Index, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that gives each tensor its file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Index, A::Error> {
        let mut index = Index::default();
        let mut positions = BTreeMap::new();
        while let Some((name, file)) = entries.next_entry::<String, String>()? {
            check_name(&name).map_err(|why| A::Error::custom(format_args!("weight_map: name of a tensor: {why}")))?;
            check_file(&file).map_err(|why| A::Error::custom(format_args!("weight_map: tensor {}: {why}", quoted(&name))))?;
            if index.file_of.contains_key(&name) {
                return Err(A::Error::custom(format_args!("weight_map: tensor {} occurs twice", quoted(&name))));
            }
            let next = positions.len();
            let position = *positions.entry(file).or_insert_with_key(|file| {
                index.files.push(file.clone());
                next
            });
            index.file_of.insert(name, position);
            if index.files.len() > MAX_FILES || index.file_of.len() > MAX_ENTRIES {
                let why = format_args!("weight_map: wanted at most {MAX_FILES} files and {MAX_ENTRIES} tensors");
                return Err(A::Error::custom(why));
            }
        }
        Ok(index)
    }
}
