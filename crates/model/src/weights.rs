//! The tensors of a checkpoint under the names that families use: one safetensors file, several with an index, or a GGUF file.

use crate::checkpoint::CheckpointError;
use crate::gguf;
use attendant_core::Processor;
use attendant_core::kernels::quant::{Format, Matrix};
use attendant_formats::weights::{INDEX, WHOLE};
use attendant_formats::{self as formats, Access, Dtype, Metadata, Refusal, TensorView};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tensors of a checkpoint by name.
pub(crate) struct Weights {
    /// The file that a fault is in, or the index.
    pub(crate) path: PathBuf,
    files: formats::Weights,
    /// Packs matrices.
    processor: Processor,
}

impl Weights {
    /// A file; or of a folder model.safetensors, or the files that model.safetensors.index.json names. Matrices of few bits are packed by
    /// this processor.
    ///
    /// # Errors
    /// If a file is missing or damaged, or is not what the index says.
    pub(crate) fn open(path: &Path, processor: Processor) -> Result<Weights, CheckpointError> {
        let (whole, index) = (path.join(WHOLE), path.join(INDEX));
        let path = match (path.is_dir(), !whole.exists() && index.exists()) {
            (false, _) => path.to_owned(),
            (true, true) => index,
            (true, false) => whole,
        };
        let files = formats::Weights::open(&path, Access::Mapped)?;
        Ok(Weights { path, files, processor })
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

    /// Gives back the memory that a tensor takes in a mapped file, once it was read. It may be read again.
    pub(crate) fn release(&self, name: &str) {
        if let Some(name) = self.name(name) {
            self.files.release(name);
        }
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

    /// Rows of a tensor of 16 bits a value or fewer as a matrix of this shape; none if its values have more. `choose` says which rows, given
    /// the extents of the tensor but that of a row.
    ///
    /// # Errors
    /// If there is none of that name, its rows have another width, or `choose` says that it has not the rows.
    pub(crate) fn packed(
        &self,
        name: &str,
        shape: &[usize],
        choose: impl FnOnce(&[usize]) -> Result<Vec<usize>, String>,
    ) -> Result<Option<Matrix>, String> {
        let tensor = self.stored(name)?;
        let (Some(format), &[rows, width]) = (format(tensor.dtype).filter(|format| *format != Format::F32), shape) else {
            return Ok(None);
        };
        let refuse = || format!("wanted shape {shape:?}, got {:?}", tensor.shape);
        let (outer, size) = match tensor.shape {
            [outer @ .., last] if *last == width => (outer, tensor.bytes.len() / outer.iter().product::<usize>()),
            _ => return Err(refuse()),
        };
        let chosen = choose(outer)?;
        let row = |at: usize| &tensor.bytes[at * size..(at + 1) * size];
        let machine = self.processor.machine();
        let matrix = match chosen[..] {
            // As they lie in the file, for the most part.
            [first, .., last] if chosen.is_sorted_by(|a, b| a + 1 == *b) => {
                let (start, bytes) = (first * size, &tensor.bytes[first * size..(last + 1) * size]);
                // Or a large one would be in memory twice.
                let release = |part: Range<usize>| self.files.release_part(tensor.name, start + part.start..start + part.end);
                Matrix::pack_in_parts(machine, format, rows, width, bytes, release)
            }
            _ => Matrix::pack(machine, format, rows, width, &chosen.iter().flat_map(|&at| row(at)).copied().collect::<Vec<u8>>()),
        };
        matrix.map(Some).map_err(|why| why.to_string())
    }
}

/// The format of a type whose values can be read.
fn format(dtype: Dtype) -> Option<Format> {
    Format::ALL.into_iter().find(|format| format.name() == dtype.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Names, Step, rows};
    use attendant_formats::gguf::Writer;

    /// Blocks of Q8_0, all with a scale of 2^-10.
    fn blocks(count: usize) -> Vec<u8> {
        (0..count)
            .flat_map(|block| [[0, 0x14].to_vec(), (0..32).map(|at| (block * 37 + at * 11) as u8).collect()].concat())
            .collect()
    }

    /// A file in which several matrices are one, as in those of Phi-3, GLM-4 and experts.
    fn fused(folder: &Path) -> Weights {
        let path = folder.join("fused.gguf");
        let whole = Writer::new().tensor("qkv.weight", Dtype::Q8_0, &[6, 64], &blocks(12));
        std::fs::write(&path, whole.tensor("experts.weight", Dtype::Q8_0, &[2, 4, 32], &blocks(8)).finish()).unwrap();
        Weights::open(&path, Processor::new(1)).unwrap()
    }

    fn names() -> Names {
        Names::default()
            .take("q", "qkv", [rows(0, 2)])
            .take("k", "qkv", [rows(2, 4)])
            .take("last", "qkv", [rows(5, 1)])
            .take("middle", "qkv", [Step::Rows { groups: 2, stride: 3, first: 1, count: 1 }])
            .take("unpaired", "qkv", [rows(0, 4), Step::Unpaired(4)])
            .take("mlp.#.up", "experts", [Step::Expert, rows(1, 2)])
    }

    #[test]
    fn rows_of_few_bits_stay_packed_where_several_matrices_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let (weights, names) = (fused(folder.path()), names());
        let shapes =
            [("q", 2), ("k", 4), ("last", 1), ("middle", 2), ("unpaired", 4), ("qkv", 6)].map(|(name, rows)| (name, [rows, 64]));
        for (name, shape) in shapes.into_iter().chain([("mlp.0.up", [2, 32]), ("mlp.1.up", [2, 32])]) {
            let source = names.source(&format!("{name}.weight"));
            let read = source.read(&weights, &shape).unwrap();
            let matrix = read.packed().unwrap_or_else(|| panic!("{name} is packed"));
            let mut values = vec![0.0; shape[0] * shape[1]];
            values.chunks_exact_mut(shape[1]).enumerate().for_each(|(row, values)| matrix.row(row, values));
            assert_eq!(values, source.read_values(&weights, &shape).unwrap().data(), "{name}");
        }
    }

    #[test]
    fn rows_that_are_not_there_are_refused_with_both_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let (weights, names) = (fused(folder.path()), names());
        let why = |name: &str, shape: [usize; 2]| names.source(name).read(&weights, &shape).unwrap_err();
        assert_eq!(why("qkv.weight", [5, 64]), "wanted shape [5, 64], got [6, 64]");
        assert_eq!(why("q.weight", [2, 32]), "wanted shape [2, 32], got [6, 64]");
        assert_eq!(why("q.weight", [3, 64]), "wanted shape [3, 64], got [2, 64]");
        assert_eq!(why("mlp.2.up.weight", [2, 32]), "wanted a part for expert 2, got shape [2, 4]");
    }
}
