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

/// Bytes between the key at hand and the one that is asked for: a page, since hardware foresees none but the lines of its own, and
/// begins anew whenever keys follow values.
pub(super) const AHEAD: usize = 4 << 10;

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
    fn run<S: Simd>(mut self, simd: S) {
        match self.queries.len() / self.keys.width() {
            0 => {}
            1 => self.score::<S, 1>(simd),
            2 => self.score::<S, 2>(simd),
            3 => self.score::<S, 3>(simd),
            _ => self.score::<S, 4>(simd),
        }
    }
}

impl<E: Element> Score<'_, E> {
    #[inline(always)]
    fn score<S: Simd, const QUERIES: usize>(&mut self, simd: S) {
        let (width, rows, step) = (self.keys.width(), self.keys.rows(), keys_of_block::<S, QUERIES>());
        for start in (0..rows).step_by(block_rows::<E>(width, step)) {
            let end = (start + block_rows::<E>(width, step)).min(rows);
            for query in (0..self.queries.len() / width).step_by(QUERIES) {
                for key in (start..end).step_by(step) {
                    // The first queries bring the keys from memory; the others find them near. Groups of 4 bits are bound by what
                    // takes them apart.
                    if query == 0 && E::VALUES == 1 {
                        self.block::<S, QUERIES, 1>(simd, query, key);
                    } else {
                        self.block::<S, QUERIES, 2>(simd, query, key);
                    }
                }
            }
        }
    }

    /// QUERIES queries from `query` on by as many keys from `key` on as make a vector of scores, ROWS of them at a time. Beyond the
    /// last query and the last key these take their places, and what comes of it is dropped.
    ///
    /// One row at a time is memory read from one end to the other; with two each query is loaded half as often.
    #[inline(always)]
    fn block<S: Simd, const QUERIES: usize, const ROWS: usize>(&mut self, simd: S, query: usize, key: usize) {
        let (width, count) = (self.keys.width(), self.queries.len() / self.keys.width());
        let keys_of_block = keys_of_block::<S, QUERIES>();
        let mut queries = [&[][..]; QUERIES];
        for i in 0..QUERIES {
            queries[i] = &self.queries[(query + i).min(count - 1) * width..][..width];
        }
        let (last, stride) = (self.keys.rows() - 1 - key, self.keys.stride());
        let first = self.keys.rows_from(key..self.keys.rows()).as_ptr();
        let ahead = AHEAD.div_ceil(E::bytes(width).max(1));
        let mut sums = [simd.splat(0.0); MAX_LANES];
        for row in (0..keys_of_block).step_by(ROWS) {
            if query == 0 {
                let next = first.wrapping_add((row + ahead) * stride).cast::<u8>();
                for line in (0..E::bytes(width) * ROWS).step_by(CACHE_LINE) {
                    simd.prefetch(next.wrapping_add(line).cast());
                }
            }
            let mut keys = [first; ROWS];
            for r in 0..ROWS {
                keys[r] = first.wrapping_add((row + r).min(last) * stride);
            }
            // SAFETY: each key is one of the rows that are there (`rows_from` checked it), `width` wide.
            let of_rows = unsafe { dots::<E, S, QUERIES, ROWS>(simd, queries, keys, width) };
            for i in 0..QUERIES {
                for r in 0..ROWS {
                    sums[i * keys_of_block + row + r] = of_rows[i][r];
                }
            }
        }
        let mut lanes = [0.0; MAX_LANES];
        store(simd, &mut lanes[..S::LANES], simd.sum_each(sums));
        let (count, rest) = (QUERIES.min(count - query), self.keys.rows() - key);
        for (i, lanes) in lanes.chunks_exact(keys_of_block).take(count).enumerate() {
            let scores = &mut self.scores[(query + i) * KEYS + key..];
            // A copy of a length that the compiler knows, but for the last block.
            if rest >= keys_of_block {
                scores[..keys_of_block].copy_from_slice(lanes);
            } else {
                scores[..rest].copy_from_slice(&lanes[..rest]);
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
/// Every key must hold `width` values.
#[inline(always)]
unsafe fn dots<E: Element, S: Simd, const QUERIES: usize, const ROWS: usize>(
    simd: S,
    queries: [&[f32]; QUERIES],
    keys: [*const E; ROWS],
    width: usize,
) -> [[S::V; ROWS]; QUERIES] {
    let mut sums = [[simd.splat(0.0); ROWS]; QUERIES];
    let whole = width / S::LANES * S::LANES;
    for query in queries {
        assert!(query.len() >= width, "a query of {} for keys of {width}", query.len());
    }
    for k in (0..whole).step_by(S::LANES) {
        let mut x = [simd.splat(0.0); ROWS];
        for r in 0..ROWS {
            // SAFETY: `k + LANES <= whole`, which is at most `width`, of which the key has as many values (the caller's promise).
            x[r] = unsafe { E::load(simd, keys[r], k) };
        }
        for i in 0..QUERIES {
            // SAFETY: as above; so has the query (asserted).
            let q = unsafe { simd.load(queries[i].as_ptr().add(k)) };
            for r in 0..ROWS {
                sums[i][r] = simd.fma(x[r], q, sums[i][r]);
            }
        }
    }
    if whole < width {
        for r in 0..ROWS {
            // SAFETY: as above; the key has `width` values.
            let x = unsafe { E::load_partial(simd, keys[r], whole, width - whole) };
            for i in 0..QUERIES {
                sums[i][r] = simd.fma(x, simd.load_partial(&queries[i][whole..width]), sums[i][r]);
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
        let next = first.wrapping_add(block_rows::<E>(width, 8) * stride).cast::<u8>();
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
                    simd.prefetch(next.wrapping_add(at * step + line).cast());
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
