//! What a reader promises of a file that it takes.

use attendant_formats::{Dtype, TensorView, Tensors};

/// Tensors lie in the file, apart, and have as many bytes as their shape says, in arithmetic that cannot wrap.
///
/// # Panics
/// If they do not.
pub(crate) fn sound(tensors: &Tensors, file: &[u8]) {
    let mut owner = vec![false; file.len()];
    for (name, info) in tensors {
        let elements: u128 = info.shape.iter().map(|&extent| extent as u128).product();
        let blocks = elements / info.dtype.block_elements() as u128;
        assert_eq!(blocks * info.dtype.block_elements() as u128, elements);
        assert_eq!(blocks * info.dtype.block_bytes() as u128, info.range.len() as u128);
        for byte in &mut owner[info.range.clone()] {
            assert!(!std::mem::replace(byte, true), "bytes of {name:?} belong to two tensors");
        }
        let view = TensorView { name, dtype: info.dtype, shape: &info.shape, bytes: &file[info.range.clone()] };
        let numbers = matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::I64);
        assert_eq!(view.to_f32().is_ok_and(|values| values.len() as u128 == elements), numbers);
    }
}
