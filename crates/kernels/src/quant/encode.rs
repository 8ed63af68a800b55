//! Rows into published formats: each scale from the largest value of its block, each weight to the nearest code.

use super::format::{BLOCK, Format};
use half::{bf16, f16};

impl Format {
    /// Whether [`Format::encode`] can: the floats and the formats of 32 columns.
    pub const fn encodes(self) -> bool {
        !self.by_factors()
    }

    /// Writes `values`, whole blocks, to `bytes`. If a value is not finite, neither are those of its block when decoded.
    ///
    /// # Panics
    /// If this format cannot be encoded, if the values are not whole blocks, or `bytes` has not the size of as many.
    pub fn encode(self, values: &[f32], bytes: &mut [u8]) {
        assert!(self.encodes(), "{} is read only", self.name());
        let (columns, size) = (self.block_columns(), self.block_bytes());
        assert!(
            values.len().is_multiple_of(columns) && bytes.len() == values.len() / columns * size,
            "{} values as {} bytes of {}, {size} for {columns} columns",
            values.len(),
            bytes.len(),
            self.name()
        );
        for (values, block) in values.chunks_exact(columns).zip(bytes.chunks_exact_mut(size)) {
            match self {
                Format::F32 => block.copy_from_slice(&values[0].to_le_bytes()),
                Format::F16 => block.copy_from_slice(&f16::from_f32(values[0]).to_le_bytes()),
                Format::Bf16 => block.copy_from_slice(&bf16::from_f32(values[0]).to_le_bytes()),
                Format::Q8_0 => eight_bits(values, block),
                _ if self.has_minimum() => from_the_least(self, values, block),
                _ => about_zero(self, values, block),
            }
        }
    }
}

/// The value farthest from zero, the first of several; NaN if one is not finite.
fn farthest(values: &[f32]) -> f32 {
    if values.iter().any(|x| !x.is_finite()) {
        return f32::NAN;
    }
    values.iter().fold(0.0, |farthest: f32, &x| if x.abs() > farthest.abs() { x } else { farthest })
}

/// One over a scale, or 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn eight_bits(values: &[f32], block: &mut [u8]) {
    let scale = farthest(values).abs() / 127.0;
    let inverse = inverse(scale);
    let (field, codes) = block.split_at_mut(2);
    field.copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (code, x) in codes.iter_mut().zip(values) {
        *code = ((x * inverse).round() as i8).cast_unsigned();
    }
}

/// The value farthest from zero gets the lowest code, whatever its sign: there is one more code on that side.
fn about_zero(format: Format, values: &[f32], block: &mut [u8]) {
    let zero = (1 << format.zero()) as f32;
    let scale = farthest(values) / -zero;
    let inverse = inverse(scale);
    let (field, rest) = block.split_at_mut(2);
    field.copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    write_codes(format, rest, |c| values[c] * inverse + (zero + 0.5));
}

fn from_the_least(format: Format, values: &[f32], block: &mut [u8]) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = if farthest(values).is_nan() { f32::NAN } else { (largest - least) / ((1 << format.bits()) - 1) as f32 };
    let inverse = inverse(scale);
    let (fields, rest) = block.split_at_mut(4);
    fields[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    fields[2..].copy_from_slice(&f16::from_f32(least).to_le_bytes());
    write_codes(format, rest, |c| (values[c] - least) * inverse + 0.5);
}

/// Fifth bits if there are, then low bits; a code is the integral part of `code(c)`, as far as it has the bits.
fn write_codes(format: Format, rest: &mut [u8], code: impl Fn(usize) -> f32) {
    let codes: [u8; BLOCK] = std::array::from_fn(|c| (code(c) as u8).min((1 << format.bits()) - 1));
    let (fifths, low) = rest.split_at_mut(if format.bits() == 5 { 4 } else { 0 });
    for (byte, codes) in fifths.iter_mut().zip(codes.as_chunks::<8>().0) {
        *byte = (0..8).map(|bit| codes[bit] >> 4 << bit).sum();
    }
    for (c, byte) in low.iter_mut().enumerate() {
        *byte = codes[c] & 15 | codes[c + 16] << 4;
    }
}
