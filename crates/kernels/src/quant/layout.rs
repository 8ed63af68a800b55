//! Where a packed matrix has what: 16 rows beside each other, so that a vector holds one group of columns of all of them.
//!
//! A group of 16 rows is a stream. For every published block of columns it has what the block's pieces share, field by field, 16 rows each;
//! then for every 32 columns the codes and the piece's own fields, 16 rows each. Codes lie in lines of 64 bytes, byte `4 * row + column % 4`,
//! for group `j = column / 4`: low bits in line `j % 4`, the upper half of the byte for `j >= 4`; a fifth bit in line 4, bit `j`; a fifth and sixth
//! in line `4 + j / 4`, from bit `2 * (j % 4)`; codes of 8 bits in line `j`. Floats lie column by column, 16 rows each.

use super::format::{BLOCK, Format, Piece};

/// Rows of a group.
pub(super) const GROUP: usize = 16;

/// Bytes of a line: four codes of each row.
pub(super) const LINE: usize = 4 * GROUP;

impl Format {
    /// Bytes of each of the piece's own fields, of which there are [`Format::own_fields`].
    pub(super) const fn own_size(self) -> usize {
        if self.by_factors() { 1 } else { 2 }
    }

    pub(super) const fn own_fields(self) -> usize {
        if self.has_minimum() || self.by_factors() { 2 } else { 1 }
    }

    /// Fields of 2 bytes that the pieces of a block share.
    const fn shared_fields(self) -> usize {
        match (self.by_factors(), self.has_minimum()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }
    }

    /// Pieces that share fields.
    pub(super) const fn pieces(self) -> usize {
        self.block_columns() / BLOCK
    }

    /// Bytes of what is shared, for a group.
    pub(super) const fn shared_bytes(self) -> usize {
        2 * GROUP * self.shared_fields()
    }

    /// Bytes of a piece of every row of a group.
    pub(super) const fn piece_bytes(self) -> usize {
        LINE * self.bits() + GROUP * self.own_fields() * self.own_size()
    }

    /// Bytes of a group, for rows of whole blocks.
    pub(super) const fn group_bytes(self, width: usize) -> usize {
        if self.is_float() {
            return GROUP * width * self.block_bytes();
        }
        width / self.block_columns() * (self.shared_bytes() + self.pieces() * self.piece_bytes())
    }

    /// Where in a group the shared fields of piece `index` are, and the piece itself.
    pub(super) const fn place(self, index: usize) -> (usize, usize) {
        let block = index / self.pieces();
        let shared = block * (self.shared_bytes() + self.pieces() * self.piece_bytes());
        (shared, shared + self.shared_bytes() + index % self.pieces() * self.piece_bytes())
    }
}

/// Writes piece `index` of row `row` of a group, which held zeros there.
pub(super) fn put(format: Format, group: &mut [u8], row: usize, index: usize, piece: &Piece) {
    let (shared, at) = format.place(index);
    for field in 0..format.shared_fields() {
        group[shared + (field * GROUP + row) * 2..][..2].copy_from_slice(&piece.shared[field * 2..][..2]);
    }
    let (lines, own) = group[at..at + format.piece_bytes()].split_at_mut(LINE * format.bits());
    for (column, code) in piece.codes.iter().enumerate() {
        let (j, byte) = (column / 4, 4 * row + column % 4);
        if format.bits() == 8 {
            lines[j * LINE + byte] = *code;
            continue;
        }
        lines[j % 4 * LINE + byte] |= (code & 15) << (j / 4 * 4);
        match format.bits() {
            5 => lines[4 * LINE + byte] |= code >> 4 << j,
            6 => lines[(4 + j / 4) * LINE + byte] |= code >> 4 << (2 * (j % 4)),
            _ => {}
        }
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
    for (column, code) in piece.codes.iter_mut().enumerate() {
        let (j, byte) = (column / 4, 4 * row + column % 4);
        *code = match format.bits() {
            8 => lines[j * LINE + byte],
            _ => lines[j % 4 * LINE + byte] >> (j / 4 * 4) & 15,
        };
        match format.bits() {
            5 => *code |= (lines[4 * LINE + byte] >> j & 1) << 4,
            6 => *code |= (lines[(4 + j / 4) * LINE + byte] >> (2 * (j % 4)) & 3) << 4,
            _ => {}
        }
    }
    let size = format.own_size();
    for field in 0..format.own_fields() {
        piece.own[field * size..][..size].copy_from_slice(&own[(field * GROUP + row) * size..][..size]);
    }
    piece
}
