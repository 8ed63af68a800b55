//! Tensors written as safetensors, one after the other and piece by piece: a file takes no memory beside what it is made of.

use crate::checkpoint::{CheckpointError, content};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Values that become bytes at once.
const PIECE: usize = 4096;

/// A tensor on its way to a file.
pub struct Outgoing<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    content: Content<'a>,
}

enum Content<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
    Made(Box<dyn Fn() -> Result<Vec<f32>, String> + 'a>),
}

impl<'a> Outgoing<'a> {
    /// Values of 32 bits.
    pub fn floats(name: impl Into<String>, shape: &[usize], values: &'a [f32]) -> Outgoing<'a> {
        Outgoing { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec(), content: Content::Floats(values) }
    }

    /// Elements of any type, as they lie in a file.
    pub(crate) fn bytes(name: impl Into<String>, dtype: Dtype, shape: &[usize], bytes: &'a [u8]) -> Outgoing<'a> {
        Outgoing { name: name.into(), dtype, shape: shape.to_vec(), content: Content::Bytes(bytes) }
    }

    /// Values of 32 bits that are made when it is their turn, and then forgotten.
    pub(crate) fn made(
        name: impl Into<String>,
        shape: &[usize],
        make: impl Fn() -> Result<Vec<f32>, String> + 'a,
    ) -> Outgoing<'a> {
        Outgoing { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec(), content: Content::Made(Box::new(make)) }
    }

    fn length(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
        Some(elements.checked_mul(self.dtype.bitsize())? / 8)
    }
}

/// Writes tensors, with what is to be noted beside them. The file has the bytes that the crate `safetensors` would give it.
///
/// # Errors
/// If the file cannot be written, or a tensor has not as many values as its shape says.
pub fn write(path: &Path, mut tensors: Vec<Outgoing<'_>>, notes: Option<HashMap<String, String>>) -> Result<(), CheckpointError> {
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let header = header(&tensors, notes).map_err(|why| content(path, why))?;
    let failed = |source| CheckpointError::Io { path: path.into(), source };
    let mut file = File::create(path).map_err(failed)?;
    file.write_all(&header).map_err(failed)?;
    for tensor in &tensors {
        let refuse = |why: String| content(path, format!("tensor {}: {why}", tensor.name));
        let written = match &tensor.content {
            Content::Bytes(bytes) => file.write_all(bytes).map(|()| bytes.len()),
            Content::Floats(values) => write_floats(&mut file, values),
            Content::Made(make) => write_floats(&mut file, &make().map_err(refuse)?),
        };
        let written = written.map_err(failed)?;
        if tensor.length() != Some(written) {
            return Err(refuse(format!("got {written} bytes, wanted those of {} {:?}", tensor.dtype, tensor.shape)));
        }
    }
    Ok(())
}

/// Gives the number of bytes.
fn write_floats(file: &mut File, values: &[f32]) -> io::Result<usize> {
    let mut piece = [[0; 4]; PIECE];
    for values in values.chunks(PIECE) {
        piece.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        file.write_all(piece[..values.len()].as_flattened())?;
    }
    Ok(size_of_val(values))
}

/// What a file begins with: the length of its description, and that.
fn header(tensors: &[Outgoing<'_>], notes: Option<HashMap<String, String>>) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let entry = |tensor: &Outgoing<'_>| {
        let start = end;
        end = tensor.length().and_then(|length| length.checked_add(start)).ok_or(SafeTensorError::ValidationOverflow)?;
        let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
        Ok((tensor.name.clone(), info))
    };
    let entries = tensors.iter().map(entry).collect::<Result<Vec<_>, SafeTensorError>>()?;
    let mut description = serde_json::to_vec(&Metadata::new(notes, entries)?)?;
    // Tensors begin at multiples of eight bytes.
    description.resize(description.len().next_multiple_of(8), b' ');
    Ok([&(description.len() as u64).to_le_bytes()[..], &description].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{SafeTensors, TensorView};
    use std::fs;

    #[test]
    fn a_file_has_the_bytes_that_the_crate_gives_it() {
        let long: Vec<f32> = (0..3 * PIECE + 5).map(|i| (i as f32 * 0.37).sin()).collect();
        let bits = [f32::NAN, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 8.0];
        let wide: Vec<u8> = (0..24).collect();
        let outgoing = || {
            vec![
                Outgoing::floats("long", &[long.len()], &long),
                Outgoing::bytes("mask", Dtype::BOOL, &[3], &[1, 0, 1]),
                Outgoing::bytes("ids", Dtype::I64, &[3, 1], &wide),
                Outgoing::floats("a", &[2, 2], &bits),
                Outgoing::made("größe", &[], || Ok(vec![0.5])),
                Outgoing::floats("none", &[0, 7], &[]),
                Outgoing::bytes("half", Dtype::BF16, &[2], &[1, 2, 3, 4]),
            ]
        };
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let (long_bytes, bits_bytes, half) = (bytes(&long), bytes(&bits), bytes(&[0.5]));
        let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let views = || {
            [
                ("a", view(Dtype::F32, &[2, 2], &bits_bytes)),
                ("größe", view(Dtype::F32, &[], &half)),
                ("half", view(Dtype::BF16, &[2], &[1, 2, 3, 4])),
                ("ids", view(Dtype::I64, &[3, 1], &wide)),
                ("long", view(Dtype::F32, &[long.len()], &long_bytes)),
                ("mask", view(Dtype::BOOL, &[3], &[1, 0, 1])),
                ("none", view(Dtype::F32, &[0, 7], &[])),
            ]
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        for notes in [None, Some(HashMap::from([("format".to_string(), "\"pt\"".to_string())]))] {
            write(&path, outgoing(), notes.clone()).unwrap();
            let file = fs::read(&path).unwrap();
            assert!(file == safetensors::serialize(views(), notes).unwrap());
            let read = SafeTensors::deserialize(&file).unwrap();
            views().iter().for_each(|(name, view)| assert_eq!(&read.tensor(name).unwrap(), view));
        }
        write(&path, Vec::new(), None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap());
    }

    #[test]
    fn a_tensor_that_is_not_as_long_as_its_shape_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let why = |tensor| write(&path, vec![tensor], None).unwrap_err().to_string();
        let short = why(Outgoing::made("t", &[2, 2], || Ok(vec![0.0; 3])));
        assert!(short.ends_with("x.safetensors: tensor t: got 12 bytes, wanted those of F32 [2, 2]"), "{short}");
        assert!(why(Outgoing::made("t", &[1], || Err("gone".into()))).ends_with("tensor t: gone"));
        why(Outgoing::floats("t", &[usize::MAX, 2], &[]));
    }
}
