//! Which part of a tile is visible, strip by strip: what need not be computed is left out in pieces of a register tile.

use crate::simd::Simd;
use crate::tile::{TILE_ROWS, hull};
use std::ops::Range;

/// Rows of a tile, at most.
pub(super) const MAX_ROWS: usize = 480;

/// For each strip of [`TILE_ROWS`] rows of a tile, the columns that its rows see: the smallest range that holds them all.
pub(super) struct Reach {
    rows: usize,
    /// The columns that any row sees.
    columns: Range<usize>,
    strips: [Range<usize>; MAX_ROWS / TILE_ROWS],
}

impl Reach {
    /// From the columns that each of `rows` rows sees.
    ///
    /// # Panics
    /// If `rows` exceeds [`MAX_ROWS`].
    pub(super) fn new(rows: usize, columns: impl Fn(usize) -> Range<usize>) -> Reach {
        assert!(rows <= MAX_ROWS, "{rows} rows in a tile");
        let mut strips = [const { 0..0 }; MAX_ROWS / TILE_ROWS];
        for row in 0..rows {
            let strip = &mut strips[row / TILE_ROWS];
            *strip = hull(strip.clone(), columns(row));
        }
        let columns = strips[..rows.div_ceil(TILE_ROWS)].iter().cloned().fold(0..0, hull);
        Reach { rows, columns, strips }
    }

    /// The columns that the strip of `row` sees.
    pub(super) fn of(&self, row: usize) -> Range<usize> {
        self.strips[row / TILE_ROWS].clone()
    }

    /// The same in whole vectors.
    pub(super) fn vectors_of<S: Simd>(&self, row: usize) -> Range<usize> {
        let columns = self.of(row);
        if columns.is_empty() { 0..0 } else { columns.start / S::LANES * S::LANES..columns.end.next_multiple_of(S::LANES) }
    }

    /// The columns that any row sees.
    pub(super) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The rows of strips that see any of `columns`, and of strips between them.
    pub(super) fn rows_seeing(&self, columns: Range<usize>) -> Range<usize> {
        let sees = |strip: &Range<usize>| strip.start < columns.end && columns.start < strip.end;
        let strips = &self.strips[..self.rows.div_ceil(TILE_ROWS)];
        let Some(first) = strips.iter().position(sees) else { return 0..0 };
        let last = strips.iter().rposition(sees).unwrap_or(first);
        first * TILE_ROWS..((last + 1) * TILE_ROWS).min(self.rows)
    }

    /// The columns that each strip sees, counted from column `first`, which is not after any of them.
    pub(super) fn strips_from(&self, first: usize) -> [Range<usize>; MAX_ROWS / TILE_ROWS] {
        self.strips.clone().map(|strip| strip.start.saturating_sub(first)..strip.end.saturating_sub(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_causal_tile_goes_down_in_strips() {
        let reach = Reach::new(15, |row| 0..row + 1);
        assert_eq!(reach.columns(), 0..15);
        assert_eq!(reach.of(7), 0..12);
        assert_eq!(reach.rows_seeing(0..4), 0..15);
        assert_eq!(reach.rows_seeing(12..16), 12..15);
        assert_eq!(reach.rows_seeing(15..16), 0..0);
        assert_eq!(reach.strips_from(0)[..4], [0..6, 0..12, 0..15, 0..0]);
    }

    #[test]
    fn blind_rows_are_left_out() {
        let reach = Reach::new(30, |row| if row < 12 { 4..9 } else { 0..0 });
        assert_eq!(reach.strips_from(3)[..4], [1..6, 1..6, 0..0, 0..0]);
        assert_eq!(reach.rows_seeing(0..4), 0..0);
        assert_eq!(reach.rows_seeing(8..20), 0..12);
    }
}
