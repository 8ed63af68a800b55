//! A matrix of weights, packed once.

use super::format::{BLOCK, Format, Piece};
use super::layout::{self, GROUP};
use crate::Machine;
use crate::disjoint::each_part;
use crate::memory::Memory;
use std::fmt;
use std::ops::Range;

/// Published bytes that are packed at a time.
const PART: usize = 8 << 20;

/// Weights `[rows, width]`, packed for the products of this module. Takes what the published format takes, up to 3% more, and 16 rows
/// where there are fewer.
#[derive(Clone)]
pub struct Matrix {
    format: Format,
    rows: usize,
    width: usize,
    bytes: Memory<u8>,
}

/// Why bytes are no matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackError {
    /// Rows are not whole blocks.
    Width {
        /// Of the weights.
        format: Format,
        /// Columns wanted.
        width: usize,
    },
    /// There are not as many bytes as the shape takes.
    Bytes {
        /// What the shape takes.
        want: usize,
        /// What there is.
        got: usize,
    },
    /// The shape takes more bytes than can be counted.
    TooLarge {
        /// Of the shape.
        rows: usize,
        /// Of the shape.
        width: usize,
    },
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PackError::Width { format, width } => {
                write!(f, "width of {} weights: want a multiple of {}, got {width}", format.name(), format.block_columns())
            }
            PackError::Bytes { want, got } => write!(f, "bytes of weights: want {want}, got {got}"),
            PackError::TooLarge { rows, width } => write!(f, "weights [{rows}, {width}] are too large"),
        }
    }
}

impl std::error::Error for PackError {}

impl Matrix {
    /// Packs `bytes`, rows `[rows, width]` in their published format. The bytes are not needed afterwards.
    ///
    /// # Errors
    /// If rows are not whole blocks, or the bytes not as many as the shape takes.
    pub fn pack(machine: Machine<'_>, format: Format, rows: usize, width: usize, bytes: &[u8]) -> Result<Matrix, PackError> {
        Matrix::pack_in_parts(machine, format, rows, width, bytes, |_| ())
    }

    /// The same, part by part: `packed` is told which of the bytes are not needed any more. Those of a mapped file would otherwise be in
    /// memory beside the whole matrix.
    ///
    /// # Errors
    /// As [`Matrix::pack`].
    pub fn pack_in_parts(
        machine: Machine<'_>,
        format: Format,
        rows: usize,
        width: usize,
        bytes: &[u8],
        mut packed: impl FnMut(Range<usize>),
    ) -> Result<Matrix, PackError> {
        let row_bytes = format.row_bytes(width).ok_or(PackError::Width { format, width })?;
        // Padded to whole groups and lines: what is allocated must be countable too.
        let padded = rows.checked_next_multiple_of(GROUP).and_then(|rows| rows.checked_mul(row_bytes)?.checked_mul(2));
        let want = padded.and(rows.checked_mul(row_bytes)).ok_or(PackError::TooLarge { rows, width })?;
        if bytes.len() != want {
            return Err(PackError::Bytes { want, got: bytes.len() });
        }
        let (group_bytes, groups) = (format.group_bytes(width), rows.div_ceil(GROUP));
        let mut matrix = Matrix { format, rows, width, bytes: Memory::zeroed((groups * group_bytes).next_multiple_of(64)) };
        if want == 0 {
            return Ok(matrix);
        }
        let pack_row = packer(format);
        let (size, at_once) = (GROUP * row_bytes, (PART / (GROUP * row_bytes)).max(1));
        for (part, to) in matrix.bytes[..groups * group_bytes].chunks_mut(at_once * group_bytes).enumerate() {
            let first = part * at_once * size;
            let last = (first + at_once * size).min(want);
            each_part(machine, to.len() / group_bytes, [(to, group_bytes)], |group, [to]| {
                let group = &bytes[first + group * size..(first + (group + 1) * size).min(last)];
                for (row, bytes) in group.chunks_exact(row_bytes).enumerate() {
                    pack_row(to, row, bytes);
                }
            });
            packed(first..last);
        }
        Ok(matrix)
    }

    /// The format that the weights had.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes row `i` to `values [width]`: what [`Format::decode`] made of the published row, bit for bit.
    ///
    /// # Panics
    /// If there is no such row, or `values` has another width.
    pub fn row(&self, i: usize, values: &mut [f32]) {
        assert!(
            i < self.rows && values.len() == self.width,
            "row {i} as {} values of [{}, {}]",
            values.len(),
            self.rows,
            self.width
        );
        let (group, row) = (self.group(i / GROUP), i % GROUP);
        if self.format.is_float() {
            let size = self.format.block_bytes();
            for (column, value) in values.iter_mut().enumerate() {
                self.format.decode(&group[(column * GROUP + row) * size..][..size], std::slice::from_mut(value));
            }
            return;
        }
        for (index, values) in values.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            *values = layout::get(self.format, group, row, index).values(self.format);
        }
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// The bytes of a group.
    #[inline(always)]
    pub(super) fn group(&self, group: usize) -> &[u8] {
        let size = self.format.group_bytes(self.width);
        &self.bytes[group * size..(group + 1) * size]
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}]", self.format.name(), self.rows, self.width)
    }
}

/// What packs a row, in its published format, into its group.
fn packer(format: Format) -> fn(&mut [u8], usize, &[u8]) {
    match format {
        Format::F32 => pack_floats::<4>,
        Format::F16 | Format::Bf16 => pack_floats::<2>,
        Format::Q8_0 => pack_codes::<{ Format::Q8_0 as usize }>,
        Format::Q4_0 => pack_codes::<{ Format::Q4_0 as usize }>,
        Format::Q4_1 => pack_codes::<{ Format::Q4_1 as usize }>,
        Format::Q5_0 => pack_codes::<{ Format::Q5_0 as usize }>,
        Format::Q5_1 => pack_codes::<{ Format::Q5_1 as usize }>,
        Format::Q4K => pack_codes::<{ Format::Q4K as usize }>,
        Format::Q5K => pack_codes::<{ Format::Q5K as usize }>,
        Format::Q6K => pack_codes::<{ Format::Q6K as usize }>,
    }
}

/// Packs a row of codes: for each format by itself, or asking which it is would take most of the time.
fn pack_codes<const FORMAT: usize>(group: &mut [u8], row: usize, bytes: &[u8]) {
    let format = const { Format::ALL[FORMAT] };
    for (block, bytes) in bytes.chunks_exact(format.block_bytes()).enumerate() {
        for part in 0..format.pieces() {
            layout::put(format, group, row, block * format.pieces() + part, &Piece::of(format, bytes, part));
        }
    }
}

/// Packs a row of floats of so many bytes.
fn pack_floats<const BYTES: usize>(group: &mut [u8], row: usize, bytes: &[u8]) {
    let columns = group.as_chunks_mut::<BYTES>().0.chunks_exact_mut(GROUP);
    for (column, value) in columns.zip(bytes.as_chunks().0) {
        column[row] = *value;
    }
}
