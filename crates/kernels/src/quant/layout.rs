//! Where a packed matrix has what: 16 rows beside each other, so that a vector holds one group of columns of all of them.
//!
//! A group of 16 rows is a stream. For every published block of columns it has what the block's pieces share, field by field, 16 rows each;
//! then for every 32 columns the codes and the piece's own fields, 16 rows each. Codes lie in lines of 64 bytes, byte `4 * row + column % 4`,
//! for group `j = column / 4`: low bits in line `j % 4`, the upper half of the byte for `j >= 4`; a fifth bit in line 4, bit `j`; a fifth and sixth
//! in line `4 + j / 4`, from bit `2 * (j % 4)`; codes of 8 bits in line `j`. Floats lie column by column, 16 rows each.

use super::format::{BLOCK, Format, Piece};
use super::piece::FOURS;

/// Rows of a group.
pub(super) const GROUP: usize = 16;

/// Bytes of a line: four codes of each row.
pub(super) const LINE: usize = 4 * GROUP;

impl Format {
    /// Bytes of each of the piece's own fields, of which there are [`Format::own_fields`].
    #[inline]
    pub(super) const fn own_size(self) -> usize {
        if self.by_factors() { 1 } else { 2 }
    }

    #[inline]
    pub(super) const fn own_fields(self) -> usize {
        if self.has_minimum() || self.by_factors() { 2 } else { 1 }
    }

    /// Fields of 2 bytes that the pieces of a block share.
    #[inline]
    const fn shared_fields(self) -> usize {
        match (self.by_factors(), self.has_minimum()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }
    }

    /// Pieces that share fields.
    #[inline]
    pub(super) const fn pieces(self) -> usize {
        self.block_columns() / BLOCK
    }

    /// Bytes of what is shared, for a group.
    #[inline]
    pub(super) const fn shared_bytes(self) -> usize {
        2 * GROUP * self.shared_fields()
    }

    /// Bytes of a piece of every row of a group.
    #[inline]
    pub(super) const fn piece_bytes(self) -> usize {
        LINE * self.bits() + GROUP * self.own_fields() * self.own_size()
    }

    /// Bytes of a group, for rows of whole blocks.
    #[inline]
    pub(super) const fn group_bytes(self, width: usize) -> usize {
        if self.is_float() {
            return GROUP * width * self.block_bytes();
        }
        width / self.block_columns() * (self.shared_bytes() + self.pieces() * self.piece_bytes())
    }

    /// Where in a group the shared fields of piece `index` are, and the piece itself.
    #[inline]
    pub(super) const fn place(self, index: usize) -> (usize, usize) {
        let block = index / self.pieces();
        let shared = block * (self.shared_bytes() + self.pieces() * self.piece_bytes());
        (shared, shared + self.shared_bytes() + index % self.pieces() * self.piece_bytes())
    }
}

/// The low half of every byte of a word.
const LOW: u32 = 0x0f0f_0f0f;

/// Four codes of a row to a word, as the words of its lines; only the first [`Format::bits`] count.
#[inline(always)]
fn to_lines(format: Format, fours: [u32; FOURS]) -> [u32; FOURS] {
    if format.bits() == 8 {
        return fours;
    }
    let upper = format.bits() - 4;
    let mut lines = [0; FOURS];
    for j in 0..FOURS {
        lines[j % 4] |= (fours[j] & LOW) << (j / 4 * 4);
        lines[4 + j * upper / 8] |= (fours[j] >> 4 & LOW) << (j * upper % 8);
    }
    lines
}

/// What [`to_lines`] was given.
#[inline(always)]
fn from_lines(format: Format, lines: [u32; FOURS]) -> [u32; FOURS] {
    if format.bits() == 8 {
        return lines;
    }
    let upper = format.bits() - 4;
    let mask = 0x0101_0101 * ((1 << upper) - 1);
    let mut fours = [0; FOURS];
    for j in 0..FOURS {
        fours[j] = lines[j % 4] >> (j / 4 * 4) & LOW | (lines[4 + j * upper / 8] >> (j * upper % 8) & mask) << 4;
    }
    fours
}

/// Writes piece `index` of row `row` of a group.
#[inline(always)]
pub(super) fn put(format: Format, group: &mut [u8], row: usize, index: usize, piece: &Piece) {
    let (shared, at) = format.place(index);
    for field in 0..format.shared_fields() {
        group[shared + (field * GROUP + row) * 2..][..2].copy_from_slice(&piece.shared[field * 2..][..2]);
    }
    let (lines, own) = group[at..at + format.piece_bytes()].split_at_mut(LINE * format.bits());
    let mut fours = [0; FOURS];
    for (four, codes) in fours.iter_mut().zip(piece.codes.as_chunks().0) {
        *four = u32::from_le_bytes(*codes);
    }
    for (line, four) in lines.as_chunks_mut::<LINE>().0.iter_mut().zip(to_lines(format, fours)) {
        line.as_chunks_mut().0[row % GROUP] = four.to_le_bytes();
    }
    let size = format.own_size();
    for field in 0..format.own_fields() {
        own[(field * GROUP + row) * size..][..size].copy_from_slice(&piece.own[field * size..][..size]);
    }
}

/// Reads what [`put`] wrote.
pub(super) fn get(format: Format, group: &[u8], row: usize, index: usize) -> Piece {
    let (shared_at, at) = format.place(index);
    let mut piece = Piece { codes: [0; BLOCK], own: [0; 4], shared: [0; 4] };
    for field in 0..format.shared_fields() {
        piece.shared[field * 2..][..2].copy_from_slice(&group[shared_at + (field * GROUP + row) * 2..][..2]);
    }
    let (lines, own) = group[at..at + format.piece_bytes()].split_at(LINE * format.bits());
    let mut fours = [0; FOURS];
    for (four, line) in fours.iter_mut().zip(lines.chunks_exact(LINE)) {
        *four = u32::from_le_bytes(line.as_chunks().0[row]);
    }
    for (codes, four) in piece.codes.as_chunks_mut().0.iter_mut().zip(from_lines(format, fours)) {
        *codes = four.to_le_bytes();
    }
    let size = format.own_size();
    for field in 0..format.own_fields() {
        piece.own[field * size..][..size].copy_from_slice(&own[(field * GROUP + row) * size..][..size]);
    }
    piece
}
