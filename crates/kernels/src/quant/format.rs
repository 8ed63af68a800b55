//! The published formats as facts: how many columns make a block, what a block holds and where.

use half::{bf16, f16};

/// Columns whose codes share a scale; activations are quantised by as many.
pub const BLOCK: usize = 32;

/// How weights are stored, one row after the other.
///
/// But for the floats, a weight is `scale * (code - offset)` or `scale * code + minimum`. The formats of 32 columns hold a scale (and a
/// minimum) in f16; those of 256 columns hold one or two f16 for all and a small integer factor for every 32, or 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// Blocks of 32: a scale and signed bytes.
    Q8_0,
    /// Blocks of 32: a scale and codes of 4 bits, of which 8 is zero.
    Q4_0,
    /// Blocks of 32: a scale, a minimum and codes of 4 bits.
    Q4_1,
    /// Blocks of 32: a scale and codes of 5 bits, of which 16 is zero.
    Q5_0,
    /// Blocks of 32: a scale, a minimum and codes of 5 bits.
    Q5_1,
    /// Blocks of 256: scales and minima of 6 bits for every 32, codes of 4 bits.
    Q4K,
    /// Blocks of 256: scales and minima of 6 bits for every 32, codes of 5 bits.
    Q5K,
    /// Blocks of 256: signed scales of 8 bits for every 16, codes of 6 bits, of which 32 is zero.
    Q6K,
}

/// One row of the table of formats.
struct Facts {
    name: &'static str,
    gguf: u32,
    /// Columns of a block and the bytes that it takes.
    columns: usize,
    bytes: usize,
    /// Bits of a code; 0 for the floats.
    bits: usize,
    /// The code that stands for zero is `1 << zero`; 0 where there is a minimum instead.
    zero: u32,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 11] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];

    #[inline]
    const fn facts(self) -> Facts {
        let (name, gguf, columns, bytes, bits, zero) = match self {
            Format::F32 => ("F32", 0, 1, 4, 0, 0),
            Format::F16 => ("F16", 1, 1, 2, 0, 0),
            Format::Bf16 => ("BF16", 30, 1, 2, 0, 0),
            Format::Q8_0 => ("Q8_0", 8, 32, 34, 8, 7),
            Format::Q4_0 => ("Q4_0", 2, 32, 18, 4, 3),
            Format::Q4_1 => ("Q4_1", 3, 32, 20, 4, 0),
            Format::Q5_0 => ("Q5_0", 6, 32, 22, 5, 4),
            Format::Q5_1 => ("Q5_1", 7, 32, 24, 5, 0),
            Format::Q4K => ("Q4_K", 12, 256, 144, 4, 0),
            Format::Q5K => ("Q5_K", 13, 256, 176, 5, 0),
            Format::Q6K => ("Q6_K", 14, 256, 210, 6, 5),
        };
        Facts { name, gguf, columns, bytes, bits, zero }
    }

    /// The published name.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The number that GGUF gives it.
    pub const fn gguf(self) -> u32 {
        self.facts().gguf
    }

    /// The format that GGUF gives this number.
    pub fn from_gguf(number: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.gguf() == number)
    }

    /// Columns of a block: rows are whole blocks.
    #[inline]
    pub const fn block_columns(self) -> usize {
        self.facts().columns
    }

    /// Bytes of a block.
    #[inline]
    pub const fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// Bytes of a row of `width` columns, or nothing if those are not whole blocks.
    pub const fn row_bytes(self, width: usize) -> Option<usize> {
        let facts = self.facts();
        if width.is_multiple_of(facts.columns) { (width / facts.columns).checked_mul(facts.bytes) } else { None }
    }

    /// Whether weights are floats rather than codes.
    #[inline]
    pub const fn is_float(self) -> bool {
        self.facts().bits == 0
    }

    #[inline]
    pub(super) const fn bits(self) -> usize {
        self.facts().bits
    }

    /// The code of zero is `1 << zero` where there is no minimum.
    #[inline]
    pub(super) const fn zero(self) -> u32 {
        self.facts().zero
    }

    #[inline]
    pub(super) const fn has_minimum(self) -> bool {
        self.facts().zero == 0 && !self.is_float()
    }

    /// Whether every 16 columns have a scale of their own.
    #[inline]
    pub(super) const fn by_halves(self) -> bool {
        matches!(self, Format::Q6K)
    }

    /// Whether scales are small integers times an f16 of the whole block.
    #[inline]
    pub(super) const fn by_factors(self) -> bool {
        self.facts().columns > BLOCK
    }

    /// The values of `bytes`, whole blocks, in f32.
    ///
    /// # Panics
    /// If the bytes are not whole blocks, or `values` has not as many columns.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        let Facts { columns, bytes: size, .. } = self.facts();
        assert!(
            bytes.len().is_multiple_of(size) && values.len() == bytes.len() / size * columns,
            "{} bytes of {}, {size} for {columns} columns, as {} values",
            bytes.len(),
            self.name(),
            values.len()
        );
        for (block, values) in bytes.chunks_exact(size).zip(values.chunks_exact_mut(columns)) {
            match self {
                Format::F32 => values[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                Format::F16 => values[0] = half_at(block, 0),
                Format::Bf16 => values[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
                _ => {
                    for (part, values) in values.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                        *values = Piece::of(self, block, part).values(self);
                    }
                }
            }
        }
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 32 columns of one row.
pub(super) struct Piece {
    /// Unsigned; signed bytes are stored here plus 128.
    pub(super) codes: [u8; BLOCK],
    /// What belongs to these columns alone: a scale and a minimum in f16, or two factors.
    pub(super) own: [u8; 4],
    /// What they share with the rest of their block: one or two f16.
    pub(super) shared: [u8; 4],
}

impl Piece {
    /// Columns `32 * part..` of a block.
    #[inline(always)]
    pub(super) fn of(format: Format, block: &[u8], part: usize) -> Piece {
        match format {
            Format::F32 | Format::F16 | Format::Bf16 => unreachable!("floats have no codes"),
            Format::Q8_0 => {
                let (scale, signed) = block.split_at(2);
                let mut codes = [0; BLOCK];
                for (code, signed) in codes.iter_mut().zip(signed) {
                    *code = signed ^ 0x80;
                }
                Piece { codes, own: [scale[0], scale[1], 0, 0], shared: [0; 4] }
            }
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 => of_32(format, block),
            Format::Q4K | Format::Q5K => with_minima(format, block, part),
            Format::Q6K => of_6_bits(block, part),
        }
    }

    /// The scale of each half and what is added.
    fn scales(&self, format: Format) -> ([f32; 2], f32) {
        let [a, b, ..] = self.own;
        if format.by_halves() {
            let scale = half_at(&self.shared, 0);
            ([scale * f32::from(a.cast_signed()), scale * f32::from(b.cast_signed())], 0.0)
        } else if format.by_factors() {
            ([half_at(&self.shared, 0) * f32::from(a); 2], -(half_at(&self.shared, 2) * f32::from(b)))
        } else {
            ([half_at(&self.own, 0); 2], half_at(&self.own, 2))
        }
    }

    pub(super) fn values(&self, format: Format) -> [f32; BLOCK] {
        let (scales, minimum) = self.scales(format);
        let mut values = [0.0; BLOCK];
        for c in 0..BLOCK {
            let (scale, code) = (scales[c / 16], f32::from(self.codes[c]));
            values[c] = if format.has_minimum() { scale * code + minimum } else { scale * (code - (1 << format.zero()) as f32) };
        }
        values
    }
}

/// A scale, perhaps a minimum, perhaps 32 fifth bits; then the low bits of column `c` beside those of `c + 16`.
#[inline(always)]
fn of_32(format: Format, block: &[u8]) -> Piece {
    let mut own = [0; 4];
    let (fields, rest) = block.split_at(if format.has_minimum() { 4 } else { 2 });
    own[..fields.len()].copy_from_slice(fields);
    let (fifths, low) = rest.split_at(if format.bits() == 5 { 4 } else { 0 });
    let mut codes = [0; BLOCK];
    for (c, byte) in low[..BLOCK / 2].iter().enumerate() {
        codes[c] = byte & 15;
        codes[c + BLOCK / 2] = byte >> 4;
    }
    for (codes, bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(fifths) {
        // Bit `i` alone in byte `i`, and then bit 4 of every byte that is not zero: a byte and 127 carry into its last bit at most.
        let apart = (u64::from(*bits) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let fifth = ((apart + 0x7f7f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080) >> 3;
        *codes = (u64::from_le_bytes(*codes) | fifth).to_le_bytes();
    }
    Piece { codes, own, shared: [0; 4] }
}

/// Two f16; scales and minima, 6 bits each, in 12 bytes; perhaps the fifth bits of all parts side by side; then the low bits of each part
/// beside those of the next.
#[inline(always)]
fn with_minima(format: Format, block: &[u8], part: usize) -> Piece {
    let (fields, rest) = block.split_at(4);
    let (packed, rest) = rest.split_at(12);
    let (fifths, low) = rest.split_at(if format.bits() == 5 { 32 } else { 0 });
    let mut codes = [0; BLOCK];
    for (code, byte) in codes.iter_mut().zip(&low[part / 2 * BLOCK..]) {
        *code = byte >> (part % 2 * 4) & 15;
    }
    for (code, bits) in codes.iter_mut().zip(fifths) {
        *code |= (bits >> part & 1) << 4;
    }
    // The first four have bytes of their own; the upper bits of those hold what the low halves of the last four lack.
    let (scale, minimum) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        let low = packed[part + 4];
        (low & 15 | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4)
    };
    Piece { codes, own: [scale, minimum, 0, 0], shared: [fields[0], fields[1], fields[2], fields[3]] }
}

/// Low bits: of 128 columns, those of `c` beside those of `c + 64`. The upper two bits of columns 32 apart in one byte. 16 scales, an f16.
#[inline(always)]
fn of_6_bits(block: &[u8], part: usize) -> Piece {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, scale) = rest.split_at(16);
    let (half, quarter) = (part / 4, part % 4);
    let mut codes = [0; BLOCK];
    let (low, high) = (&low[half * 64 + quarter % 2 * BLOCK..], &high[half * BLOCK..]);
    for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
        *code = low >> (quarter / 2 * 4) & 15 | (high >> (quarter * 2) & 3) << 4;
    }
    Piece { codes, own: [scales[2 * part], scales[2 * part + 1], 0, 0], shared: [scale[0], scale[1], 0, 0] }
}
