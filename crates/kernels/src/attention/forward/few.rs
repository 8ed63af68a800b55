//! Few queries over keys and values that are read once, in place, in the type that they are stored in: decoding.
//!
//! Scores are sums along lanes, up to four queries at a time, each key loaded once for all of them; the
//! sums of a block are reduced together. Values are multiplied by broadcast weights where they lie. Nothing is packed.
//! A score is the same bits whatever block it falls in.

use super::KEYS;
use crate::attention::rows::View;
use crate::element::Element;
use crate::simd::{CACHE_LINE, Kernel, MAX_LANES, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Bytes of keys that pass by all queries, and of values that weighted sums stay in registers for: as much as leaves the
/// first-level cache room for the others.
const BLOCK: usize = 16 << 10;

/// Bytes between the key at hand and the one that is asked for: pages, since hardware foresees none but the lines of its own, and
/// begins anew whenever keys follow values.
pub(super) const AHEAD: usize = 8 << 10;

/// Rows that make a block, a multiple of `unit`.
#[inline]
fn block_rows<E: Element>(width: usize, unit: usize) -> usize {
    let rows = BLOCK / E::bytes(width).max(1) / unit * unit;
    if rows < unit { unit } else { rows }
}

/// Scores of every query with every row of `keys`: `scores[i * KEYS + r] = queries[i] . keys[r]`.
pub(super) struct Score<'a, E> {
    /// `[queries, KEYS]`, from the column of the first key on.
    pub(super) scores: &'a mut [f32],
    /// `[queries, width]`
    pub(super) queries: &'a [f32],
    pub(super) keys: View<'a, E>,
}

impl<E: Element> Kernel for Score<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (width, rows) = (self.keys.width(), self.keys.rows());
        let count = self.queries.len() / width;
        if rows == 0 || count == 0 {
            return;
        }
        assert!(self.scores.len() >= (count - 1) * KEYS + rows, "{count} rows of scores of {rows} keys in {}", self.scores.len());
        let (scores, queries) = (self.scores.as_mut_ptr(), self.queries.as_ptr());
        let checked = Checked { scores, queries, count, first: self.keys.rows_from(0..rows).as_ptr(), keys: self.keys };
        // SAFETY: the scores are that many (asserted), the queries by what `count` is, and the keys are all there (`rows_from`).
        unsafe {
            match count {
                1 => checked.score::<S, 1>(simd),
                2 => checked.score::<S, 2>(simd),
                3 => checked.score::<S, 3>(simd),
                _ => checked.score::<S, 4>(simd),
            }
        }
    }
}

/// What [`Score`] has, checked once for all scores: a head of 64 has but a few instructions for each.
struct Checked<'a, E> {
    /// `[count, KEYS]`, of which one for each key is written.
    scores: *mut f32,
    /// `[count, width]`
    queries: *const f32,
    count: usize,
    /// The first of the keys.
    first: *const E,
    keys: View<'a, E>,
}

impl<E: Element> Checked<'_, E> {
    /// # Safety
    /// Pointers must be valid for what the fields say; there must be a key, and `QUERIES` queries.
    #[inline(always)]
    unsafe fn score<S: Simd, const QUERIES: usize>(&self, simd: S) {
        let step = keys_of_block::<S, QUERIES>();
        // SAFETY: the caller's promise, and that there are as many keys as a block has.
        unsafe {
            match step {
                _ if self.keys.rows() < step => self.score_fewer(simd),
                1 => self.score_all::<S, QUERIES, 1>(simd),
                2 => self.score_all::<S, QUERIES, 2>(simd),
                _ => self.score_all::<S, QUERIES, 4>(simd),
            }
        }
    }

    /// # Safety
    /// As of [`Checked::score`], and there must be the keys of a block.
    #[inline(always)]
    unsafe fn score_all<S: Simd, const QUERIES: usize, const ROWS: usize>(&self, simd: S) {
        let (rows, step) = (self.keys.rows(), keys_of_block::<S, QUERIES>());
        let size = block_rows::<E>(self.keys.width(), step);
        let mut start = 0;
        while start < rows {
            let end = (start + size).min(rows);
            let mut query = 0;
            while query < self.count {
                let mut key = start;
                while key < end {
                    // What does not fill a block is scored once more with the ones before.
                    let (first_query, first_key) = (query.min(self.count - QUERIES), key.min(rows - step));
                    // SAFETY: the caller's promise: QUERIES queries and as many keys as a block has are there.
                    unsafe { self.block::<S, QUERIES, ROWS>(simd, first_query, first_key) };
                    key += step;
                }
                query += QUERIES;
            }
            start = end;
        }
    }

    /// QUERIES queries from `query` on by as many keys from `key` on as make a vector of scores, ROWS of them at a time.
    ///
    /// # Safety
    /// As of [`Checked::score`], and these queries and keys must be there.
    #[inline(always)]
    unsafe fn block<S: Simd, const QUERIES: usize, const ROWS: usize>(&self, simd: S, query: usize, key: usize) {
        let (width, stride, step) = (self.keys.width(), self.keys.stride(), keys_of_block::<S, QUERIES>());
        let bytes = E::bytes(width);
        let ahead = AHEAD.div_ceil(bytes.max(1));
        let mut sums = [simd.splat(0.0); MAX_LANES];
        // SAFETY: the caller's promise.
        unsafe {
            let mut queries = [self.queries; QUERIES];
            for i in 0..QUERIES {
                queries[i] = self.queries.add((query + i) * width);
            }
            for row in (0..step).step_by(ROWS) {
                let mut keys = [self.first; ROWS];
                for r in 0..ROWS {
                    let key = key + row + r;
                    keys[r] = self.first.add(key * stride);
                    // The first queries bring the keys from memory; the others find them near.
                    let mut line = if query == 0 { 0 } else { bytes };
                    while line < bytes {
                        simd.prefetch_second(self.keys.ahead(key + ahead).wrapping_add(line).cast());
                        line += CACHE_LINE;
                    }
                }
                let of_rows = dots::<E, S, QUERIES, ROWS>(simd, queries, keys, width);
                for i in 0..QUERIES {
                    for r in 0..ROWS {
                        sums[i * step + row + r] = of_rows[i][r];
                    }
                }
            }
            let mut lanes = [0.0; MAX_LANES];
            store(simd, &mut lanes[..S::LANES], simd.sum_each(sums));
            for i in 0..QUERIES {
                let to = self.scores.add((query + i) * KEYS + key);
                to.copy_from_nonoverlapping(lanes.as_ptr().add(i * step), step);
            }
        }
    }

    /// Fewer keys than a block has, query by query.
    ///
    /// # Safety
    /// As of [`Checked::score`], and there must be fewer keys than lanes.
    #[inline(always)]
    unsafe fn score_fewer<S: Simd>(&self, simd: S) {
        let (rows, width) = (self.keys.rows(), self.keys.width());
        for query in 0..self.count {
            let mut sums = [simd.splat(0.0); MAX_LANES];
            let mut lanes = [0.0; MAX_LANES];
            // SAFETY: the caller's promise.
            unsafe {
                let of_query = self.queries.add(query * width);
                for row in 0..rows {
                    sums[row] = dots::<E, S, 1, 1>(simd, [of_query], [self.first.add(row * self.keys.stride())], width)[0][0];
                }
                store(simd, &mut lanes[..S::LANES], simd.sum_each(sums));
                self.scores.add(query * KEYS).copy_from_nonoverlapping(lanes.as_ptr(), rows);
            }
        }
    }
}

/// Keys whose scores with QUERIES queries fill a vector, if not quite with three.
const fn keys_of_block<S: Simd, const QUERIES: usize>() -> usize {
    S::LANES / QUERIES.next_power_of_two()
}

/// Dot products of queries with keys as sums along lanes, which are left to add.
///
/// # Safety
/// Every query and every key must hold `width` values.
#[inline(always)]
unsafe fn dots<E: Element, S: Simd, const QUERIES: usize, const ROWS: usize>(
    simd: S,
    queries: [*const f32; QUERIES],
    keys: [*const E; ROWS],
    width: usize,
) -> [[S::V; ROWS]; QUERIES] {
    let mut sums = [[simd.splat(0.0); ROWS]; QUERIES];
    let (mut k, rest) = (0, width % S::LANES);
    while k + S::LANES <= width {
        let mut x = [simd.splat(0.0); ROWS];
        for r in 0..ROWS {
            // SAFETY: `k + LANES <= width`, and the key has as many values (the caller's promise).
            x[r] = unsafe { E::load(simd, keys[r], k) };
        }
        for i in 0..QUERIES {
            // SAFETY: as above; so has the query.
            let q = unsafe { simd.load(queries[i].add(k)) };
            for r in 0..ROWS {
                sums[i][r] = simd.fma(x[r], q, sums[i][r]);
            }
        }
        k += S::LANES;
    }
    if rest > 0 {
        for r in 0..ROWS {
            // SAFETY: as above; `k + rest` is `width`.
            let x = unsafe { E::load_partial(simd, keys[r], k, rest) };
            for i in 0..QUERIES {
                // SAFETY: as above.
                let q = simd.load_partial(unsafe { std::slice::from_raw_parts(queries[i].add(k), rest) });
                sums[i][r] = simd.fma(x, q, sums[i][r]);
            }
        }
    }
    sums
}

/// Adds the values in `range`, weighted: `out[i] += weights[i * KEYS + r] * values[r]`.
pub(super) struct AddWeighted<'a, E> {
    /// `[rows, out_stride]`, of which the first `width` of a row are written.
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
    /// `[rows, KEYS]`, from the column of the first row of `values` on.
    pub(super) weights: &'a [f32],
    pub(super) values: View<'a, E>,
    /// Rows of `values`.
    pub(super) range: Range<usize>,
}

impl<E: Element> Kernel for AddWeighted<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let rows = self.out.len() / self.out_stride;
        let size = block_rows::<E>(self.values.width(), 8);
        for start in self.range.clone().step_by(size) {
            let block = start..(start + size).min(self.range.end);
            let mut row = 0;
            while row < rows {
                // The fewer rows, the more vectors of each, so that no sum waits for itself.
                row += match rows - row {
                    1 => self.add_rows::<S, 1, 8>(simd, row, &block),
                    2 if const { S::TILE_VECTORS == 4 } => self.add_rows::<S, 2, 8>(simd, row, &block),
                    2 => self.add_rows::<S, 2, 4>(simd, row, &block),
                    3 if const { S::TILE_VECTORS == 4 } => self.add_rows::<S, 3, 4>(simd, row, &block),
                    3 => self.add_rows::<S, 3, 2>(simd, row, &block),
                    4 | 5 if const { S::TILE_VECTORS == 4 } => self.add_rows::<S, 4, 4>(simd, row, &block),
                    4 | 5 => self.add_rows::<S, 4, 2>(simd, row, &block),
                    _ if const { S::TILE_VECTORS == 4 } => self.add_rows::<S, 6, 4>(simd, row, &block),
                    _ => self.add_rows::<S, 6, 2>(simd, row, &block),
                };
            }
        }
    }
}

impl<E: Element> AddWeighted<'_, E> {
    /// ROWS rows from `row` on, VECTORS vectors of columns at a time. Gives ROWS.
    #[inline(always)]
    fn add_rows<S: Simd, const ROWS: usize, const VECTORS: usize>(&mut self, simd: S, row: usize, block: &Range<usize>) -> usize {
        let width = self.values.width();
        let mut column = 0;
        while column + VECTORS * S::LANES <= width {
            self.add_columns::<S, ROWS, VECTORS>(simd, row, column, block);
            column += VECTORS * S::LANES;
        }
        while const { VECTORS > 4 } && column + 4 * S::LANES <= width {
            self.add_columns::<S, ROWS, 4>(simd, row, column, block);
            column += 4 * S::LANES;
        }
        while column + 2 * S::LANES <= width {
            self.add_columns::<S, ROWS, 2>(simd, row, column, block);
            column += 2 * S::LANES;
        }
        while column < width {
            self.add_columns::<S, ROWS, 1>(simd, row, column, block);
            column += S::LANES;
        }
        ROWS
    }

    /// VECTORS vectors of columns from `column` on. Only a single vector may be partial.
    #[inline(always)]
    fn add_columns<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        block: &Range<usize>,
    ) {
        // Known to the compiler but for a single vector, so that what is partial is compiled for that alone.
        let count = if const { VECTORS == 1 } { S::LANES.min(self.values.width() - column) } else { VECTORS * S::LANES };
        let (columns, partial) = (column..column + count, count < VECTORS * S::LANES);
        let mut weights = [&[][..]; ROWS];
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        for i in 0..ROWS {
            weights[i] = &self.weights[(row + i) * KEYS..][..block.end];
            let out = &self.out[(row + i) * self.out_stride..][columns.clone()];
            for j in 0..VECTORS {
                sums[i][j] = load(simd, &out[j * S::LANES..]);
            }
        }
        let stride = self.values.stride();
        let first = self.values.rows_from(block.clone()).as_ptr();
        // The next block is asked for, some bytes at each row: from one end to the other, which memory likes best, or if there are
        // others between its rows the same columns of it.
        let (width, bytes) = (self.values.width(), E::bytes(VECTORS * S::LANES));
        let next = self.values.ahead(block.start + block_rows::<E>(width, 8));
        let (next, step) = if stride == E::cells(width) {
            (next.wrapping_add(E::bytes(column) * block.len()), bytes)
        } else {
            (next.wrapping_add(E::bytes(column)), stride * size_of::<E>())
        };
        for r in block.clone() {
            let at = r - block.start;
            let value = first.wrapping_add(at * stride);
            if row == 0 {
                for line in (0..bytes).step_by(CACHE_LINE) {
                    simd.prefetch_second(next.wrapping_add(at * step + line).cast());
                }
            }
            let mut vectors = [simd.splat(0.0); VECTORS];
            for j in 0..VECTORS {
                // SAFETY: the rows of the block are all there (`rows_from` checked it), and `columns` are columns of a row.
                vectors[j] = unsafe {
                    if partial {
                        E::load_partial(simd, value, column, count)
                    } else {
                        E::load(simd, value, column + j * S::LANES)
                    }
                };
            }
            for i in 0..ROWS {
                // SAFETY: `r < block.end`, the length of each row of weights.
                let weight = simd.splat(unsafe { *weights[i].get_unchecked(r) });
                for j in 0..VECTORS {
                    sums[i][j] = simd.fma(weight, vectors[j], sums[i][j]);
                }
            }
        }
        for i in 0..ROWS {
            let out = &mut self.out[(row + i) * self.out_stride..][columns.clone()];
            for j in 0..VECTORS {
                store(simd, &mut out[j * S::LANES..], sums[i][j]);
            }
        }
    }
}
