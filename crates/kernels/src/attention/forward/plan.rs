//! How a call is cut into items, from its shapes alone.

use super::group::{LARGE, panel_columns};
use super::{KEYS, keys};
use crate::Precision;
use crate::attention::reach::MAX_ROWS;
use crate::attention::{Attention, Cells, Sequence};
use crate::simd::MAX_LANES;
use crate::tile::{MAX_PANEL, Operand, TILE_ROWS};
use std::ops::Range;

/// Sequences of at most this many rows are cut along their keys, which are not packed, unless f32 would have to be rounded.
pub(super) const FEW_ROWS: usize = 8;

/// Keys of a part, where keys are cut, a multiple of [`KEYS`]: the fewer key heads there are, the smaller, so that there are enough parts for all workers. Many queries
/// to a key head take long to be made ready for one.
pub(crate) fn part(spec: &Attention<'_>) -> usize {
    let least = if spec.heads / spec.kv_heads >= LARGE { 8 } else { 4 };
    KEYS * (2 * spec.kv_heads).clamp(least, 16)
}

/// Values that a tile and its operands may take: seven eighths of a second-level cache of 512 KiB.
const CACHED: usize = 7 << 14;

/// Rows of a tile of f32, at most.
const MAX_ROWS_OF_F32: usize = 240;

/// Rows of bf16 whose scores are held at a time, since products are faster there than caches: scores stay in the first one, or near it where
/// rows are wide and their products take most of the time.
const fn block(width: usize) -> usize {
    if width > 192 { 2 * STRIPS } else { STRIPS }
}

/// Items to aim for, so that a dynamic queue evens out what the workers get.
const ITEMS: usize = 16;

/// Rows of a tile are a multiple of this: whole strips and whole squares, and what is held of a row fills whole cache lines.
const STRIPS: usize = 8 * TILE_ROWS;

/// How many rows go over the keys together.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// Rows of a tile, which scratch has room for.
    pub(super) tile: usize,
    /// Rows of a tile whose scores are held at a time.
    pub(super) block: usize,
}

/// How one call is cut.
pub(super) struct Plan<'a> {
    spec: &'a Attention<'a>,
    sequences: &'a [Sequence<'a>],
    /// Of sequences that are [in place](is_in_place), and of others.
    few: Size,
    many: Size,
    /// Whether the former are cut along their keys.
    cut: bool,
}

/// A tile of queries with keys to attend to.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) sequence: &'a Sequence<'a>,
    /// The key head.
    pub(super) head: usize,
    /// Rows of the list of all queries that read the key head, `T * H / G` of them, position by position.
    pub(super) rows: Range<usize>,
    /// Positions of keys.
    pub(super) keys: Range<usize>,
    pub(super) size: Size,
    /// Whether so few queries read the keys that packing them would cost more than it saves.
    pub(super) few: bool,
    /// Where the state of the first row goes if these are not all keys, and how far the next row's is.
    pub(super) part: Option<(usize, usize)>,
}

/// Values that panels of keys take, or of the queries of a tile.
pub(super) fn panels_of_keys<O: Operand>(tile: usize, d_qk: usize) -> usize {
    (panel_columns(tile) * d_qk).max(keys::<O>() * O::cells(d_qk))
}

impl Item<'_> {
    /// Position of a row of the list.
    pub(super) fn position(&self, spec: &Attention<'_>, row: usize) -> usize {
        self.sequence.q_first + row / (spec.heads / spec.kv_heads)
    }

    /// Query head of a row of the list, and its row in `q` and `out` counted in heads.
    pub(super) fn place(&self, spec: &Attention<'_>, row: usize) -> (usize, usize) {
        let group = spec.heads / spec.kv_heads;
        let head = self.head * group + row % group;
        (head, (self.sequence.rows.start + row / group) * spec.heads + head)
    }
}

/// The rows of a key head whose keys were cut, to be joined.
pub(super) struct Joined<'a> {
    pub(super) sequence: &'a Sequence<'a>,
    pub(super) head: usize,
    /// Where the state of the first row after the first part is.
    pub(super) first: usize,
    pub(super) parts: usize,
}

/// Whether so few rows read the keys and values of a sequence that these are multiplied as they are stored.
pub(crate) fn is_in_place(spec: &Attention<'_>, sequence: &Sequence<'_>) -> bool {
    let rounds = spec.precision == Precision::Bf16;
    let single = sequence.keys.first().is_none_or(|run| matches!(run.data, Cells::F32(_)));
    sequence.rows.len() <= FEW_ROWS && !(rounds && single)
}

impl<'a> Plan<'a> {
    pub(super) fn new(spec: &'a Attention<'a>, sequences: &'a [Sequence<'a>]) -> Plan<'a> {
        // Many rows, since each tile packs its keys and values anew.
        let whole_strips = |rows: usize, most: usize| (rows / STRIPS * STRIPS).clamp(STRIPS, most);
        let width = spec.d_qk + spec.d_v;
        let tile = whole_strips(CACHED.saturating_sub(KEYS * width) / (width + KEYS), MAX_ROWS_OF_F32);
        let few = Size { tile, block: tile };
        let many = match spec.precision {
            Precision::F32 => few,
            Precision::Bf16 => {
                let all: usize = sequences.iter().map(|sequence| sequence.rows.len() * spec.heads).sum();
                let cached = CACHED.saturating_sub(KEYS * width) / (spec.d_qk / 2 + spec.d_v);
                Size { tile: whole_strips(cached.min(all / ITEMS), MAX_ROWS), block: block(width) }
            }
        };
        Plan { spec, sequences, few, many, cut: true }
    }

    /// One in which every item has all keys of its rows.
    pub(super) fn uncut(spec: &'a Attention<'a>, sequences: &'a [Sequence<'a>]) -> Plan<'a> {
        Plan { cut: false, ..Plan::new(spec, sequences) }
    }

    fn size(&self, sequence: &Sequence<'_>) -> Size {
        if is_in_place(self.spec, sequence) { self.few } else { self.many }
    }

    /// Queries that read one key head.
    fn rows(&self, sequence: &Sequence<'_>) -> usize {
        sequence.rows.len() * (self.spec.heads / self.spec.kv_heads)
    }

    /// Parts that the keys are cut into.
    fn parts(&self, sequence: &Sequence<'_>) -> usize {
        if self.cut && is_in_place(self.spec, sequence) { sequence.k_end.div_ceil(part(self.spec)).max(1) } else { 1 }
    }

    /// Values of a row's state: the largest score, the sum of weights, the weighted sum of values.
    fn state(&self) -> usize {
        2 + self.spec.d_v
    }

    /// Items of one sequence.
    fn items_of(&self, sequence: &Sequence<'_>) -> usize {
        self.rows(sequence).div_ceil(self.size(sequence).tile) * self.spec.kv_heads * self.parts(sequence)
    }

    pub(super) fn items(&self) -> usize {
        self.sequences.iter().map(|sequence| self.items_of(sequence)).sum()
    }

    /// Item `index`. The tiles of a key head follow each other, while its keys and values are near, the last first: under a causal mask
    /// it has the most keys.
    pub(super) fn item(&self, mut index: usize) -> Item<'a> {
        let mut first_part = 0;
        for sequence in self.sequences {
            let (items, rows, parts) = (self.items_of(sequence), self.rows(sequence), self.parts(sequence));
            if index < items {
                let tiles = items / (self.spec.kv_heads * parts);
                let (head, tile, part) = (index / (tiles * parts), tiles - 1 - index / parts % tiles, index % parts);
                let (size, cut) = (self.size(sequence), (parts > 1).then_some(self::part(self.spec)));
                let rows_of_tile = tile * size.tile..((tile + 1) * size.tile).min(rows);
                let place = ((head * rows + rows_of_tile.start) * parts + part) * self.state();
                return Item {
                    sequence,
                    head,
                    rows: rows_of_tile,
                    keys: cut.map_or(0..sequence.k_end, |keys| part * keys..(part + 1) * keys),
                    size,
                    few: is_in_place(self.spec, sequence),
                    part: cut.map(|_| (first_part + place, parts * self.state())),
                };
            }
            index -= items;
            first_part += self.parts_of(sequence);
        }
        unreachable!("an item beyond the last")
    }

    /// Values of all states of one sequence.
    fn parts_of(&self, sequence: &Sequence<'_>) -> usize {
        let parts = self.parts(sequence);
        if parts > 1 { parts * self.rows(sequence) * self.spec.kv_heads * self.state() } else { 0 }
    }

    /// Values of scratch for the states of all sequences cut along their keys.
    pub(super) fn parts_scratch(&self) -> usize {
        self.sequences.iter().map(|sequence| self.parts_of(sequence)).sum()
    }

    /// Key heads whose rows are to be joined.
    pub(super) fn joins(&self) -> usize {
        self.sequences.iter().filter(|sequence| self.parts(sequence) > 1).count() * self.spec.kv_heads
    }

    pub(super) fn join(&self, index: usize) -> Joined<'a> {
        let (nth, head) = (index / self.spec.kv_heads, index % self.spec.kv_heads);
        let mut first = 0;
        let mut cut = self.sequences.iter().filter(|sequence| self.parts(sequence) > 1);
        for before in cut.by_ref().take(nth) {
            first += self.parts_of(before);
        }
        let sequence = cut.next().expect("a sequence that was counted");
        let parts = self.parts(sequence);
        first += head * self.rows(sequence) * parts * self.state();
        Joined { sequence, head, first, parts }
    }

    /// Values of scratch for one tile; [`super::tile`] divides them.
    pub(super) fn tile_scratch<O: Operand>(&self) -> usize {
        self.scratch_of::<O>(self.many).max(self.scratch_of::<O::InPlace>(self.few))
    }

    fn scratch_of<O: Operand>(&self, Size { tile, block }: Size) -> usize {
        let Attention { d_qk, d_v, .. } = *self.spec;
        let left = O::left_scratch(tile, d_qk) + O::left_scratch(block, keys::<O>());
        let queries = tile * (d_qk + 1 + MAX_LANES + d_v.next_multiple_of(MAX_LANES));
        left + queries
            + block * keys::<O>()
            + panels_of_keys::<O>(tile, d_qk)
            + (KEYS + 1) * d_v.next_multiple_of(MAX_PANEL)
            + MAX_PANEL * d_qk.max(d_v)
    }
}
