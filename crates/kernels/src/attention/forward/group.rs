//! Scores of a large group of queries, in decoding with many query heads to a key head: a product whose left operand are the keys
//! where they lie, and whose right one are the queries, packed once for all keys. Scores come key by key and are turned. The values
//! of such a group are packed as for many rows: each of its register tiles would widen them anew.

use super::KEYS;
use crate::attention::rows::Piece;
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::{Kernel, Simd};
use crate::tile::{MAX_PANEL, Single, multiply_panel, pack_panels, panel_width};

/// From this many queries on, a vector of queries is full often enough that sums need not go along the lanes.
pub(super) const LARGE: usize = 12;

/// Keys of a step: whole strips of a register tile, and whole vectors when turned. Two steps of a head of 64 are near at once.
const STEP: usize = 48;

/// Columns of panels that take a tile of keys, or up to `queries` queries.
pub(super) fn panel_columns(queries: usize) -> usize {
    queries.max(KEYS).next_multiple_of(MAX_PANEL)
}

/// Packs `queries` `[count, width]` as columns.
#[inline(always)]
pub(super) fn pack<S: Simd>(simd: S, queries: &[f32], width: usize, panels: &mut [f32]) {
    let queries = MatrixRef::row_major(queries, queries.len() / width, width);
    pack_panels(simd, queries.transposed(), panels, width, 0);
}

/// `scores[i * KEYS + r] = queries[i] . keys[r]`, without the scales that keys may have.
pub(super) struct GroupScore<'a> {
    /// `[count, KEYS]`, from the column of the first key on.
    pub(super) scores: &'a mut [f32],
    /// Queries.
    pub(super) count: usize,
    /// Width of a query and a key.
    pub(super) width: usize,
    /// The queries, as [`pack`] packs them.
    pub(super) panels: &'a [f32],
    pub(super) keys: Piece<'a>,
    /// `[STEP, width]`: keys that need widening.
    pub(super) gathered: &'a mut [f32],
    /// `[STEP, MAX_PANEL]`: scores before they are turned.
    pub(super) turned: &'a mut [f32],
}

impl Kernel for GroupScore<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let GroupScore { scores, count, width, panels, keys, gathered, turned } = self;
        for start in (0..keys.rows()).step_by(STEP) {
            let rows = start..(start + STEP).min(keys.rows());
            let matrix = match keys.in_place() {
                Some(keys) => keys.part(rows.clone(), 0..width),
                None => {
                    let gathered = &mut gathered[..rows.len() * width];
                    keys.widen_unscaled(simd, rows.clone(), gathered);
                    MatrixRef::row_major(gathered, rows.len(), width)
                }
            };
            let columns = panel_width::<S>();
            for (first, panel) in (0..count).step_by(columns).zip(panels.chunks(columns * width)) {
                let queries = (count - first).min(columns);
                // Whole vectors: a panel holds zeros beyond the last query.
                let product = MatrixMut::strided(turned, rows.len(), queries.next_multiple_of(S::LANES), MAX_PANEL);
                multiply_panel::<Single, _>(simd, product, matrix, panel, Accumulate::Store);
                turn(simd, turned, rows.len(), &mut scores[first * KEYS + start..], queries);
            }
        }
    }
}

/// `scores[i * KEYS + r] = turned[r * MAX_PANEL + i]` for `keys` keys and `queries` queries.
#[inline(always)]
fn turn<S: Simd>(simd: S, turned: &[f32], keys: usize, scores: &mut [f32], queries: usize) {
    assert!(turned.len() >= keys * MAX_PANEL && queries <= MAX_PANEL, "{keys} keys of {} scores", turned.len());
    assert!(scores.len() >= (queries - 1) * KEYS + keys, "{queries} rows of scores of {keys} keys in {}", scores.len());
    let (whole_keys, whole_queries) = (keys / S::LANES * S::LANES, queries / S::LANES * S::LANES);
    for i in (0..whole_queries).step_by(S::LANES) {
        for r in (0..whole_keys).step_by(S::LANES) {
            // SAFETY: both squares lie inside: `r + LANES <= keys` and `i + LANES <= queries`, and the slices are that long
            // (asserted above).
            unsafe {
                let to = scores.as_mut_ptr().add(i * KEYS + r);
                simd.transpose(turned.as_ptr().add(r * MAX_PANEL + i), MAX_PANEL, to, KEYS);
            }
        }
    }
    for i in 0..queries {
        let first = if i < whole_queries { whole_keys } else { 0 };
        for r in first..keys {
            scores[i * KEYS + r] = turned[r * MAX_PANEL + i];
        }
    }
}
