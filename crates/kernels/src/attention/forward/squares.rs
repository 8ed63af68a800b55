//! Scores of few queries where the processor multiplies squares, with keys of bf16 or of bytes: they are a left operand where they
//! lie. Queries are cut, once for all keys, into numbers of the type of the keys whose sum they are, so that nothing is rounded
//! more than in f32: three bf16 hold its 24 bits, and three bytes, each a 254th of the one before, a query within 2^-24 of its largest
//! value. Queries that are bf16 themselves are one of those, or two bytes.
//!
//! A score's bits depend on its query and its key alone, as those of [`super::few`].

use super::KEYS;
use crate::attention::rows::{Piece, View};
use crate::attention::{Cells, Run};
use crate::element::Element;
use crate::simd::{CACHE_LINE, Kernel, Lines, MAX_LANES, SQUARE, Simd};
use crate::tile::{LINE, Operand};
use crate::vector::{load, store};
use half::bf16;
use std::marker::PhantomData;
use std::ops::Range;

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

    /// Numbers that a query's value is cut into.
    const fn parts<O: Operand>(self) -> usize {
        match self {
            Factor::Bf16 => O::PARTS,
            Factor::Int8 if O::PARTS == 1 => 2,
            Factor::Int8 => 3,
        }
    }

    /// Queries whose parts are the columns of a square.
    const fn queries<O: Operand>(self) -> usize {
        SQUARE / self.parts::<O>()
    }

    /// Squares of queries side by side: keys are loaded once for two.
    fn side_by_side<O: Operand>(self, count: usize) -> usize {
        if count > self.queries::<O>() { 2 } else { 1 }
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
pub(super) struct CutQueries<'a, O> {
    pub(super) operand: PhantomData<O>,
    pub(super) queries: &'a [f32],
    pub(super) width: usize,
    pub(super) factor: Factor,
    pub(super) groups: &'a mut [f32],
}

impl<O: Operand> Kernel for CutQueries<'_, O> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let CutQueries { queries, width, factor, groups, .. } = self;
        let (count, of_square) = (queries.len() / width, factor.queries::<O>());
        let squares = factor.side_by_side::<O>(count);
        let (size, stride) = (factor.group(width, squares), squares * SQUARE);
        let room = count.div_ceil(squares * of_square) * size <= groups.len();
        if !simd.has_squares() || !room || !queries.iter().all(|x| x.is_finite()) {
            return false;
        }
        for (queries, group) in queries.chunks(squares * of_square * width).zip(groups.chunks_exact_mut(size)) {
            let (scales, cells) = group.split_at_mut(squares * LINE);
            cells.fill(0.0);
            for (i, query) in queries.chunks_exact(width).enumerate() {
                let column = i / of_square * SQUARE + i % of_square;
                match factor {
                    Factor::Bf16 => cut_to_bf16::<O, S>(simd, query, &mut cells[column..], stride),
                    Factor::Int8 => scales[i] = cut_to_bytes::<O, S>(simd, query, &mut cells[column..], stride),
                }
            }
        }
        true
    }
}

/// Cuts a query, whole vectors of it, into pairs of bf16: pair `p` of part `i` at `cells[p * stride + i * queries]`, where there are as
/// many in a square.
#[inline(always)]
fn cut_to_bf16<O: Operand, S: Simd>(simd: S, query: &[f32], cells: &mut [f32], stride: usize) {
    for (at, values) in query.chunks_exact(S::LANES).enumerate() {
        // SAFETY: a whole vector.
        let mut rest = unsafe { simd.load(values.as_ptr()) };
        for part in 0..O::PARTS {
            let mut pairs = [0.0; MAX_LANES / 2];
            // SAFETY: as many pairs hold the bf16 of a vector.
            unsafe {
                simd.store_bf16(pairs.as_mut_ptr().cast(), rest);
                rest = simd.sub(rest, simd.load_bf16(pairs.as_ptr().cast()));
            }
            for (p, &pair) in pairs[..S::LANES / 2].iter().enumerate() {
                cells[(at * S::LANES / 2 + p) * stride + part * Factor::Bf16.queries::<O>()] = pair;
            }
        }
    }
}

/// Cuts a query, whole vectors of it, into bytes: four `f` of part `i` at `cells[f * stride + i * queries]`, likewise. Gives what those of the
/// first part are to be multiplied by.
#[inline(always)]
fn cut_to_bytes<O: Operand, S: Simd>(simd: S, query: &[f32], cells: &mut [f32], stride: usize) -> f32 {
    let scale = query.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / LARGEST;
    // Bytes of zero are there, and dividing by less would give infinity.
    if scale < f32::MIN_POSITIVE {
        return 0.0;
    }
    for (at, values) in query.chunks_exact(S::LANES).enumerate() {
        // SAFETY: a whole vector.
        let (mut rest, mut step) = (unsafe { simd.load(values.as_ptr()) }, scale);
        for part in 0..Factor::Int8.parts::<O>() {
            let whole = simd.round(simd.div(rest, simd.splat(step)));
            rest = simd.fma(whole, simd.splat(-step), rest);
            step /= 2.0 * LARGEST;
            let mut lanes = [0.0; MAX_LANES];
            // SAFETY: room for a vector.
            unsafe { simd.store(lanes.as_mut_ptr(), whole) };
            for (f, four) in lanes[..S::LANES].chunks_exact(4).enumerate() {
                let bytes = [four[0], four[1], four[2], four[3]].map(|x| x as i8);
                cells[(at * S::LANES / 4 + f) * stride + part * Factor::Int8.queries::<O>()] = bytemuck::cast(bytes);
            }
        }
    }
    scale
}

/// `scores[i * KEYS + r] = queries[i] . keys[r]`, without the scales that keys may have. Gives whether all of them are finite:
/// otherwise they are not what f32 gives, whose parts are not infinite too.
pub(super) struct SquareScore<'a, E, O> {
    operand: PhantomData<O>,
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
pub(super) fn score<O: Operand, S: Simd>(
    simd: S,
    scores: &mut [f32],
    count: usize,
    factor: Factor,
    groups: &[f32],
    piece: Piece<'_>,
    gathered: &mut [f32],
) -> bool {
    let operand = PhantomData::<O>;
    match (factor, piece) {
        (Factor::Bf16, Piece::Bf16(keys)) => {
            simd.call_with_squares(SquareScore { operand, scores, count, groups, keys, gathered })
        }
        (Factor::Int8, Piece::Int8(keys, _)) => {
            simd.call_with_squares(SquareScore { operand, scores, count, groups, keys, gathered })
        }
        _ => false,
    }
}

impl<E: SquareElement, O: Operand> Kernel for SquareScore<'_, E, O> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        match E::FACTOR.side_by_side::<O>(self.count) {
            1 => self.score::<S, 1>(simd),
            _ => self.score::<S, 2>(simd),
        }
    }
}

impl<E: SquareElement, O: Operand> SquareScore<'_, E, O> {
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
        let queries = const { E::FACTOR.queries::<O>() };
        let steps = bytes / CACHE_LINE;
        let ahead = column + super::few::AHEAD.div_ceil(bytes);
        for row in ahead..ahead + ROWS * SQUARE {
            let row = self.keys.ahead(row);
            for line in (0..bytes).step_by(CACHE_LINE) {
                simd.prefetch_second(row.wrapping_add(line).cast());
            }
        }
        let mut sums = Lines([0.0; 4 * SQUARE * SQUARE]);
        for (first, group) in (0..self.count).step_by(COLS * queries).zip(self.groups.chunks_exact(size)) {
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
                for i in 0..queries {
                    let query = first + col * queries + i;
                    if query >= self.count {
                        continue;
                    }
                    // From the least part on.
                    let mut score = simd.splat(0.0);
                    for part in (0..const { E::FACTOR.parts::<O>() }).rev() {
                        let of_part = sums[part * queries + i];
                        score = match E::FACTOR {
                            Factor::Bf16 => simd.add(of_part, score),
                            Factor::Int8 => simd.fma(score, simd.splat(1.0 / (2.0 * LARGEST)), simd.integers(of_part)),
                        };
                    }
                    if E::FACTOR == Factor::Int8 {
                        score = simd.mul(score, simd.splat(scales[col * queries + i]));
                    }
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
