//! A tensor in a file, and what every format checks of it.

use crate::dtype::Dtype;
use crate::error::{Refusal, Result, quoted};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::ops::Range;

/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 8;
/// The most tensors of a file.
pub const MAX_TENSORS: usize = 65_536;
/// The longest name of a tensor, in bytes.
pub const MAX_NAME: usize = 1024;

/// Where a tensor lies in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Its extents, the slowest first: `[out, in]` for a matrix, in every format.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// The tensors of a file, by name.
pub type Tensors = BTreeMap<String, TensorInfo>;

/// A tensor whose bytes are at hand.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: &'a str,
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Its extents, the slowest first.
    pub shape: &'a [usize],
    /// Its elements, row by row, little-endian, in blocks of its type.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// The number of its elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its elements as `f32`, rounded to nearest where they are wider: F64, F32, F16, BF16 and I64.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        // The type first: nothing is allocated for what is refused.
        self.numeric()?;
        let mut values = vec![0.0; self.elements()];
        self.write_f32(&mut values)?;
        Ok(values)
    }

    /// Writes its elements to `values`, as [`TensorView::to_f32`] gives them.
    ///
    /// # Errors
    /// If it is of another type, or `values` is not as long as it has elements.
    pub fn write_f32(&self, values: &mut [f32]) -> Result<()> {
        self.numeric()?;
        if values.len() != self.elements() {
            let why = format_args!("wanted room for {} elements, got {}", self.elements(), values.len());
            return Err(self.refusal("shape", why));
        }
        match self.dtype {
            Dtype::F32 => decode(values, self.bytes, f32::from_le_bytes),
            Dtype::F64 => decode(values, self.bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::I64 => decode(values, self.bytes, |bytes| i64::from_le_bytes(bytes) as f32),
            Dtype::F16 => widen(values, self.bytes, f16::from_le_bytes),
            _ => widen(values, self.bytes, bf16::from_le_bytes),
        }
        Ok(())
    }

    /// A refusal of something of this tensor.
    pub fn refusal(&self, what: &str, why: impl std::fmt::Display) -> Refusal {
        Refusal::new(format_args!("tensor {}: {what}", quoted(self.name)), why)
    }

    fn numeric(&self) -> Result<()> {
        match self.dtype {
            Dtype::F32 | Dtype::F64 | Dtype::I64 | Dtype::F16 | Dtype::BF16 => Ok(()),
            other => Err(self.refusal("dtype", format_args!("wanted F64, F32, F16, BF16 or I64, got {other}"))),
        }
    }
}

fn decode<const N: usize>(values: &mut [f32], bytes: &[u8], one: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    values.iter_mut().zip(elements).for_each(|(value, &bytes)| *value = one(bytes));
}

/// Through a block on the stack, so that the processor's own conversion takes many at a time; bytes of a file may lie at any address.
fn widen<H: Copy + Default>(values: &mut [f32], bytes: &[u8], one: impl Fn([u8; 2]) -> H)
where
    [H]: HalfFloatSliceExt,
{
    const BLOCK: usize = 256;
    let (elements, _) = bytes.as_chunks::<2>();
    let mut block = [H::default(); BLOCK];
    for (values, elements) in values.chunks_mut(BLOCK).zip(elements.chunks(BLOCK)) {
        block.iter_mut().zip(elements).for_each(|(element, &bytes)| *element = one(bytes));
        block[..elements.len()].convert_to_f32_slice(values);
    }
}

/// Refuses a name that no tensor has: empty, too long, with characters that do not print as themselves, or made to leave a folder where
/// someone takes it for a path.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    // Names are plain as a rule, and there may be megabytes of them.
    let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let prints = |character: char| matches!(character, ' '..='~') || character.escape_debug().len() == 1;
    let steps_out = name.contains("..") && name.split(['/', '\\']).any(|step| step == "..");
    match name {
        "" => Err("wanted a name, got none".into()),
        _ if name.len() > MAX_NAME => Err(format!("wanted at most {MAX_NAME} bytes, got {}", name.len())),
        _ if steps_out || !(plain || name.chars().all(prints)) => {
            Err(format!("wanted characters that print and no \"..\", got {}", quoted(name)))
        }
        _ => Ok(()),
    }
}

/// The number of elements of a shape, its slowest extent first.
pub(crate) fn elements(shape: &[usize]) -> Result<usize, String> {
    if shape.len() > MAX_RANK {
        return Err(format!("wanted at most {MAX_RANK} dimensions, got {}", shape.len()));
    }
    if shape.contains(&0) {
        return Err(format!("wanted no extent of 0, got {shape:?}"));
    }
    let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    product
        .filter(|&count| count <= isize::MAX as usize)
        .ok_or_else(|| format!("{shape:?} has more elements than can be counted"))
}

/// Refuses tensors that share bytes and, where `gaps` are not allowed, bytes of `data` that belong to no tensor.
pub(crate) fn check_layout(tensors: &Tensors, data: Range<usize>, gaps: Gaps) -> Result<()> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, info)| info.range.start);
    let mut end = data.start;
    let mut before = None;
    for (name, info) in order {
        let Range { start, end: next } = info.range;
        if start < end {
            let before = quoted(before.map_or("", String::as_str)).to_string();
            let why = format!("wanted tensors apart, got {} bytes of {before}", end.min(next) - start);
            return Err(Refusal::new(format_args!("tensor {}", quoted(name)), why).at(start));
        }
        if start > end && gaps == Gaps::Refused {
            let why = format_args!("wanted data without gaps, got {} bytes of no tensor before it", start - end);
            return Err(Refusal::new(format_args!("tensor {}", quoted(name)), why).at(start));
        }
        (end, before) = (next, Some(name));
    }
    if end < data.end && gaps == Gaps::Refused {
        let why = format_args!("wanted the file to end with its last tensor, got {} bytes more", data.end - end);
        return Err(Refusal::new("data", why).at(end));
    }
    Ok(())
}

/// Whether a format allows bytes between tensors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    Allowed,
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dtype: Dtype, shape: &'static [usize], bytes: &'static [u8]) -> TensorView<'static> {
        TensorView { name: "t", dtype, shape, bytes }
    }

    #[test]
    fn elements_become_f32_whatever_they_were() {
        assert_eq!(view(Dtype::F32, &[1], &[0, 0, 0x80, 0x3f]).to_f32(), Ok(vec![1.0]));
        assert_eq!(view(Dtype::F16, &[3], &[0, 0x3c, 0, 0xc0, 1, 0]).to_f32(), Ok(vec![1.0, -2.0, 5.960_464_5e-8]));
        assert_eq!(view(Dtype::BF16, &[2], &[0x80, 0x3f, 0, 0xc0]).to_f32(), Ok(vec![1.0, -2.0]));
        assert_eq!(view(Dtype::F64, &[1], &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f]).to_f32(), Ok(vec![1.0]));
        assert_eq!(view(Dtype::I64, &[1], &[255; 8]).to_f32(), Ok(vec![-1.0]));
        let refusal = view(Dtype::Q4_0, &[32], &[0; 18]).to_f32().unwrap_err().to_string();
        assert_eq!(refusal, "tensor \"t\": dtype: wanted F64, F32, F16, BF16 or I64, got Q4_0");
        let refusal = view(Dtype::F32, &[1], &[0; 4]).write_f32(&mut [f32::NAN; 3]).unwrap_err().to_string();
        assert_eq!(refusal, "tensor \"t\": shape: wanted room for 1 elements, got 3");
    }

    #[test]
    fn blocks_of_halves_join_without_a_seam() {
        for count in [1, 3, 255, 256, 257, 1000] {
            let halves: Vec<f16> = (0..count).map(|index| f16::from_f32(index as f32 * 0.37 - 20.0)).collect();
            let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            // One byte off, so that no element is aligned.
            let moved = [&[0][..], &bytes].concat();
            let mut values = vec![f32::NAN; count];
            let view = TensorView { name: "t", dtype: Dtype::F16, shape: &[count], bytes: &moved[1..] };
            view.write_f32(&mut values).unwrap();
            assert_eq!(values, halves.iter().map(|half| half.to_f32()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", "a\nb", "../a", "a/../b", "a\\..\\b", "..", "\u{1b}[31m", "a\u{202e}b", &"a".repeat(MAX_NAME + 1)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "model.layers.0.q_proj.weight", "decoder/layer_0/kernel:0", "a..b", "größe"] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }
}
