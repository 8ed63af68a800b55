//! Scores of few queries where the processor multiplies squares, with keys of bf16 or of bytes: they are a left operand where they
//! lie. Queries are cut, once for all keys, into numbers of the type of the keys whose sum they are, so that nothing is rounded
//! more than in f32: three bf16 hold its 24 bits, and three bytes, each a 254th of the one before, a query within 2^-24 of its largest
//! value.
//!
//! A score's bits depend on its query and its key alone, as those of [`super::few`].

use super::KEYS;
use crate::attention::rows::{Piece, View};
use crate::attention::{Cells, Run};
use crate::element::Element;
use crate::simd::{CACHE_LINE, Kernel, Lines, MAX_LANES, SQUARE, Simd};
use crate::tile::LINE;
use crate::vector::{load, store};
use half::bf16;
use std::ops::Range;

/// Numbers that a query's value is cut into, and a weight.
pub(super) const PARTS: usize = 3;

/// Queries whose parts are the columns of a square; the last is left.
const QUERIES: usize = SQUARE / PARTS;

/// From this many heads to a key head on it pays to turn squares of sums into scores.
const FEWEST: usize = 3;

/// The largest whole number of a byte, on either side of zero.
const LARGEST: f32 = 127.0;

/// Bytes of a cell.
const CELL: usize = size_of::<f32>();

/// How keys are multiplied.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Factor {
    Bf16,
    Int8,
}

impl Factor {
    /// That of the keys in the first of `runs`, if their rows of `width` values are whole steps of squares and `group` heads share a
    /// key head.
    pub(super) fn of(runs: &[Run<'_>], width: usize, group: usize) -> Option<Factor> {
        let factor = match runs.first()?.data {
            Cells::Bf16(_) => Factor::Bf16,
            Cells::Int8 { .. } => Factor::Int8,
            _ => return None,
        };
        (group >= FEWEST && factor.bytes(width).is_multiple_of(CACHE_LINE)).then_some(factor)
    }

    fn bytes(self, width: usize) -> usize {
        match self {
            Factor::Bf16 => bf16::bytes(width),
            Factor::Int8 => i8::bytes(width),
        }
    }

    /// Values of one group of queries, `squares` of them side by side: lines of scales, and then squares for each step.
    fn group(self, width: usize, squares: usize) -> usize {
        squares * (LINE + self.bytes(width) / CACHE_LINE * SQUARE * SQUARE)
    }
}

/// Types whose rows are multiplied by squares.
pub(super) trait SquareElement: Element {
    /// How keys of this type are multiplied.
    const FACTOR: Factor;

    /// The rows of a piece, if they are of this type.
    fn view(piece: Piece<'_>) -> Option<View<'_, Self>>;
}

impl SquareElement for bf16 {
    const FACTOR: Factor = Factor::Bf16;

    fn view(piece: Piece<'_>) -> Option<View<'_, bf16>> {
        if let Piece::Bf16(view) = piece { Some(view) } else { None }
    }
}

impl SquareElement for i8 {
    const FACTOR: Factor = Factor::Int8;

    fn view(piece: Piece<'_>) -> Option<View<'_, i8>> {
        if let Piece::Int8(view, _) = piece { Some(view) } else { None }
    }
}

/// Cuts `queries` `[count, width]` into `groups`. Gives whether it did: there must be squares and room, and no query infinite or NaN.
pub(super) struct CutQueries<'a> {
    pub(super) queries: &'a [f32],
    pub(super) width: usize,
    pub(super) factor: Factor,
    pub(super) groups: &'a mut [f32],
}

impl Kernel for CutQueries<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let CutQueries { queries, width, factor, groups } = self;
        let count = queries.len() / width;
        let (squares, stride) = (side_by_side(count), side_by_side(count) * SQUARE);
        let size = factor.group(width, squares);
        let room = count.div_ceil(squares * QUERIES) * size <= groups.len();
        if !simd.has_squares() || !room || !queries.iter().all(|x| x.is_finite()) {
            return false;
        }
        for (queries, group) in queries.chunks(squares * QUERIES * width).zip(groups.chunks_exact_mut(size)) {
            let (scales, cells) = group.split_at_mut(squares * LINE);
            cells.fill(0.0);
            for (i, query) in queries.chunks_exact(width).enumerate() {
                let column = i / QUERIES * SQUARE + i % QUERIES;
                match factor {
                    Factor::Bf16 => cut_to_bf16(simd, query, &mut cells[column..], stride),
                    Factor::Int8 => scales[i] = cut_to_bytes(simd, query, &mut cells[column..], stride),
                }
            }
        }
        true
    }
}

/// Squares of queries side by side: keys are loaded once for two.
fn side_by_side(count: usize) -> usize {
    if count > QUERIES { 2 } else { 1 }
}

/// Cuts a query, whole vectors of it, into pairs of bf16: pair `p` of part `i` at `cells[p * stride + i * QUERIES]`.
#[inline(always)]
fn cut_to_bf16<S: Simd>(simd: S, query: &[f32], cells: &mut [f32], stride: usize) {
    for (at, values) in query.chunks_exact(S::LANES).enumerate() {
        // SAFETY: a whole vector.
        let mut rest = unsafe { simd.load(values.as_ptr()) };
        for part in 0..PARTS {
            let mut pairs = [0.0; MAX_LANES / 2];
            // SAFETY: as many pairs hold the bf16 of a vector.
            unsafe {
                simd.store_bf16(pairs.as_mut_ptr().cast(), rest);
                rest = simd.sub(rest, simd.load_bf16(pairs.as_ptr().cast()));
            }
            for (p, &pair) in pairs[..S::LANES / 2].iter().enumerate() {
                cells[(at * S::LANES / 2 + p) * stride + part * QUERIES] = pair;
            }
        }
    }
}

/// Cuts a query, whole vectors of it, into bytes: four `f` of part `i` at `cells[f * stride + i * QUERIES]`. Gives what those of the first
/// part are to be multiplied by.
#[inline(always)]
fn cut_to_bytes<S: Simd>(simd: S, query: &[f32], cells: &mut [f32], stride: usize) -> f32 {
    let scale = query.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / LARGEST;
    // Bytes of zero are there, and dividing by less would give infinity.
    if scale < f32::MIN_POSITIVE {
        return 0.0;
    }
    for (at, values) in query.chunks_exact(S::LANES).enumerate() {
        // SAFETY: a whole vector.
        let (mut rest, mut step) = (unsafe { simd.load(values.as_ptr()) }, scale);
        for part in 0..PARTS {
            let whole = simd.round(simd.div(rest, simd.splat(step)));
            rest = simd.fma(whole, simd.splat(-step), rest);
            step /= 2.0 * LARGEST;
            let mut lanes = [0.0; MAX_LANES];
            // SAFETY: room for a vector.
            unsafe { simd.store(lanes.as_mut_ptr(), whole) };
            for (f, four) in lanes[..S::LANES].chunks_exact(4).enumerate() {
                let bytes = [four[0], four[1], four[2], four[3]].map(|x| x as i8);
                cells[(at * S::LANES / 4 + f) * stride + part * QUERIES] = bytemuck::cast(bytes);
            }
        }
    }
    scale
}

/// `scores[i * KEYS + r] = queries[i] . keys[r]`, without the scales that keys may have. Gives whether all of them are finite:
/// otherwise they are not what f32 gives, whose parts are not infinite too.
pub(super) struct SquareScore<'a, E> {
    /// `[count, KEYS]`, from the column of the first key on.
    pub(super) scores: &'a mut [f32],
    pub(super) count: usize,
    /// The queries, as [`CutQueries`] cut them.
    pub(super) groups: &'a [f32],
    pub(super) keys: View<'a, E>,
    /// Room for fewer rows than a square has.
    pub(super) gathered: &'a mut [f32],
}

/// Scores of `piece`, if its keys are multiplied by `factor`: see [`SquareScore`].
#[inline(always)]
pub(super) fn score<S: Simd>(
    simd: S,
    scores: &mut [f32],
    count: usize,
    factor: Factor,
    groups: &[f32],
    piece: Piece<'_>,
    gathered: &mut [f32],
) -> bool {
    match (factor, piece) {
        (Factor::Bf16, Piece::Bf16(keys)) => simd.call_with_squares(SquareScore { scores, count, groups, keys, gathered }),
        (Factor::Int8, Piece::Int8(keys, _)) => simd.call_with_squares(SquareScore { scores, count, groups, keys, gathered }),
        _ => false,
    }
}

impl<E: SquareElement> Kernel for SquareScore<'_, E> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        match side_by_side(self.count) {
            1 => self.score::<S, 1>(simd),
            _ => self.score::<S, 2>(simd),
        }
    }
}

impl<E: SquareElement> SquareScore<'_, E> {
    /// With COLS squares of queries side by side.
    #[inline(always)]
    fn score<S: Simd, const COLS: usize>(&mut self, simd: S) -> bool {
        let (rows, bytes) = (self.keys.rows(), self.keys.stride() * size_of::<E>());
        if !simd.has_squares() {
            return false;
        }
        let (in_place, stride) = (rows >= SQUARE && bytes.is_multiple_of(CELL), bytes / CELL);
        let (mut start, mut check) = (0, simd.splat(0.0));
        while start < rows {
            let left = rows - start;
            // SAFETY: as many rows are there, those of the last square for the second time; what is gathered has room for a square,
            // whatever the rows hold that are not there.
            check = unsafe {
                if in_place && left >= 2 * SQUARE {
                    let from = self.keys.rows_from(start..rows).as_ptr().cast();
                    self.block::<S, 2, COLS>(simd, from, stride, start, 2 * SQUARE, check)
                } else if in_place {
                    let start = start.min(rows - SQUARE);
                    let from = self.keys.rows_from(start..rows).as_ptr().cast();
                    self.block::<S, 1, COLS>(simd, from, stride, start, SQUARE, check)
                } else {
                    let (count, stride) = (left.min(SQUARE), E::bytes(self.keys.width()) / CELL);
                    self.gather(start..start + count, stride);
                    self.block::<S, 1, COLS>(simd, self.gathered.as_ptr(), stride, start, count, check)
                }
            };
            start += if in_place && left >= 2 * SQUARE { 2 * SQUARE } else { SQUARE };
        }
        simd.reduce_add(check).is_finite()
    }

    /// Copies the cells of some rows, which have `stride` whole ones, one row after the other.
    ///
    /// # Panics
    /// If there is no room for a square of such rows.
    fn gather(&mut self, rows: Range<usize>, stride: usize) {
        let gathered = &mut self.gathered[..SQUARE * stride];
        for (row, to) in rows.zip(gathered.chunks_exact_mut(stride)) {
            // SAFETY: the row has as many bytes, of which any are a value.
            let from = unsafe { std::slice::from_raw_parts(self.keys.row(row).as_ptr().cast::<u8>(), stride * CELL) };
            bytemuck::cast_slice_mut(to).copy_from_slice(from);
        }
    }

    /// Scores of the keys in ROWS squares of rows that begin at `from`, `stride` cells apart, of which the first `rows` are written,
    /// the first to column `column`. Gives `check` with what was written.
    ///
    /// # Safety
    /// There must be squares, and as many rows of keys.
    #[inline(always)]
    unsafe fn block<S: Simd, const ROWS: usize, const COLS: usize>(
        &mut self,
        simd: S,
        from: *const f32,
        stride: usize,
        column: usize,
        rows: usize,
        mut check: S::V,
    ) -> S::V {
        let (bytes, size) = (E::bytes(self.keys.width()), E::FACTOR.group(self.keys.width(), COLS));
        let steps = bytes / CACHE_LINE;
        let ahead = column + super::few::AHEAD.div_ceil(bytes);
        for row in ahead..ahead + ROWS * SQUARE {
            let row = self.keys.ahead(row);
            for line in (0..bytes).step_by(CACHE_LINE) {
                simd.prefetch_second(row.wrapping_add(line).cast());
            }
        }
        let mut sums = Lines([0.0; 4 * SQUARE * SQUARE]);
        for (first, group) in (0..self.count).step_by(COLS * QUERIES).zip(self.groups.chunks_exact(size)) {
            let (scales, cells) = group.split_at(COLS * LINE);
            let (places, width) = ([from, from.wrapping_add(SQUARE * stride)], COLS * SQUARE);
            // SAFETY: the caller promises squares and rows; a group has as many squares of cells for each step.
            unsafe {
                simd.load_squares::<ROWS, COLS>(None, width);
                match E::FACTOR {
                    Factor::Bf16 => simd.multiply_squares::<ROWS, COLS, false>(places, stride, cells.as_ptr(), width, steps),
                    Factor::Int8 => simd.multiply_squares::<ROWS, COLS, true>(places, stride, cells.as_ptr(), width, steps),
                }
                simd.store_squares::<ROWS, COLS>(sums.0.as_mut_ptr(), width);
            }
            for (row, col) in (0..ROWS).flat_map(|row| (0..COLS).map(move |col| (row, col))) {
                // SAFETY: one of the squares that were stored.
                let sums = unsafe { simd.load_columns(sums.0.as_ptr().add((row * width + col) * SQUARE), width) };
                for i in 0..QUERIES {
                    let query = first + col * QUERIES + i;
                    if query >= self.count {
                        continue;
                    }
                    let [first_part, second, third] = [sums[i], sums[QUERIES + i], sums[2 * QUERIES + i]];
                    let score = match E::FACTOR {
                        Factor::Bf16 => simd.add(first_part, simd.add(second, third)),
                        Factor::Int8 => {
                            let step = simd.splat(1.0 / (2.0 * LARGEST));
                            let lower = simd.fma(simd.integers(third), step, simd.integers(second));
                            let whole = simd.fma(lower, step, simd.integers(first_part));
                            simd.mul(whole, simd.splat(scales[col * QUERIES + i]))
                        }
                    };
                    let to = &mut self.scores[query * KEYS + column + row * SQUARE..];
                    if rows == ROWS * SQUARE {
                        check = simd.add(check, score);
                        store(simd, &mut to[..SQUARE], score);
                    } else {
                        let mut lanes = [0.0; MAX_LANES];
                        store(simd, &mut lanes[..S::LANES], score);
                        to[..rows].copy_from_slice(&lanes[..rows]);
                        lanes[rows..].fill(0.0);
                        check = simd.add(check, load(simd, &lanes));
                    }
                }
            }
        }
        check
    }
}
