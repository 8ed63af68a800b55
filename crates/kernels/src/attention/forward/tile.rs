//! One item: a tile of queries goes over its keys, a tile of keys at a time.

mod scores;
mod values;

use super::group;
use super::plan::{Item, Size, panels_of_keys};
use super::squares::{CutQueries, Factor};
use super::{KEYS, Target, keys};
use crate::attention::check::union;
use crate::attention::reach::{MAX_ROWS, Reach};
use crate::attention::softmax::{Left, Scale, SoftCap, States, finish, hide, query_factor};
use crate::attention::{Attention, DistanceBias};
use crate::product::MatrixRef;
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::tile::{MAX_PANEL, Operand, TILE_ROWS, hull};
use crate::vector::{Map, apply, load};
use std::f32::consts::LOG2_E;
use std::marker::PhantomData;
use std::ops::Range;
use values::panel_depth;

/// `O` is what both products multiply.
pub(super) struct Tile<'a, O> {
    pub(super) operand: PhantomData<O>,
    pub(super) spec: &'a Attention<'a>,
    pub(super) item: Item<'a>,
    pub(super) q: &'a [f32],
    pub(super) target: Target<'a>,
    pub(super) scratch: &'a mut [f32],
}

impl<O: Operand> Kernel for Tile<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tile { spec, item, q, target, scratch, .. } = self;
        let mut work = Work::<O>::new(spec, &item, scratch);
        work.load_queries(simd, q);
        for start in work.starts() {
            work.attend(simd, start);
        }
        work.finish(simd, target);
    }
}

/// The tiles that hold any of the keys in two ascending ranges.
fn tiles(spans: [Range<usize>; 2], keys: usize) -> impl Iterator<Item = usize> {
    let [first, second] = spans.map(|span| if span.is_empty() { 0..0 } else { span.start / keys..span.end.div_ceil(keys) });
    let rest = second.start.max(first.end)..second.end;
    first.chain(rest)
}

/// A tile of queries and what it has come to so far.
pub(super) struct Work<'a, O> {
    operand: PhantomData<O>,
    spec: &'a Attention<'a>,
    item: &'a Item<'a>,
    /// Query heads that share the key head.
    group: usize,
    rows: usize,
    /// `[rows, d_qk]`, times what makes the scores ready for the softmax or the cap.
    queries: &'a mut [f32],
    /// `[block, keys]`: scores, then weights.
    scores: &'a mut [f32],
    /// Queries and weights as left operands, where they do not lie as such.
    left_queries: &'a mut [f32],
    left_weights: &'a mut [f32],
    max: &'a mut [f32],
    /// `[rows, MAX_LANES]`
    sums: &'a mut [f32],
    /// `[rows, out_stride]`
    out: &'a mut [f32],
    out_stride: usize,
    /// Packed keys, or the packed queries of a large group, or queries cut for squares.
    panels: &'a mut [f32],
    value_panels: &'a mut [f32],
    gathered: &'a mut [f32],
    /// How the cut queries are multiplied, if they are cut.
    cut: Option<Factor>,
    /// Columns of the tile of keys at hand that each row sees.
    seen: [[Range<usize>; 2]; MAX_ROWS],
}

impl<'a, O: Operand> Work<'a, O> {
    pub(super) fn new(spec: &'a Attention<'a>, item: &'a Item<'a>, mut scratch: &'a mut [f32]) -> Self {
        let Attention { d_qk, d_v, .. } = *spec;
        let mut take = |n| scratch.split_off_mut(..n).expect("scratch as Plan::tile_scratch says");
        let (out_stride, Size { tile, block }) = (d_v.next_multiple_of(MAX_LANES), item.size);
        let work = Work {
            operand: PhantomData,
            spec,
            item,
            group: spec.heads / spec.kv_heads,
            rows: item.rows.len(),
            queries: take(tile * d_qk),
            scores: take(block * keys::<O>()),
            left_queries: take(O::left_scratch(tile, d_qk)),
            left_weights: take(O::left_scratch(block, keys::<O>())),
            max: take(tile),
            sums: take(tile * MAX_LANES),
            out: take(tile * out_stride),
            out_stride,
            panels: take(panels_of_keys::<O>(tile, d_qk)),
            value_panels: take(panel_depth(KEYS) * d_v.next_multiple_of(MAX_PANEL)),
            gathered: take(MAX_PANEL * d_qk.max(d_v)),
            cut: None,
            seen: [const { [0..0, 0..0] }; MAX_ROWS],
        };
        work.max.fill(f32::NEG_INFINITY);
        work.sums[..work.rows * MAX_LANES].fill(0.0);
        work.out[..work.rows * out_stride].fill(0.0);
        work
    }

    fn position(&self, row: usize) -> usize {
        self.item.position(self.spec, row)
    }

    fn place(&self, row: usize) -> (usize, usize) {
        self.item.place(self.spec, row)
    }

    #[inline(always)]
    pub(super) fn load_queries<S: Simd>(&mut self, simd: S, q: &[f32]) {
        let width = self.spec.d_qk;
        let factor = query_factor(self.spec);
        for (i, row) in self.item.rows.clone().enumerate() {
            let from = &q[self.place(row).1 * width..][..width];
            for (to, from) in self.queries[i * width..][..width].iter_mut().zip(from) {
                *to = from * factor;
            }
        }
        if self.item.few {
            let queries = &mut self.queries[..self.rows * width];
            apply(simd, Nearest::<O>(PhantomData), [&mut *queries], []);
            let (operand, queries) = (PhantomData::<O>, &*queries);
            let cut = |factor: &Factor| {
                simd.call_with_squares(CutQueries { operand, queries, width, factor: *factor, groups: &mut *self.panels })
            };
            self.cut = Factor::of(self.item.sequence.keys, width, self.group).filter(cut);
        }
        if self.item.few && self.cut.is_none() && self.rows >= group::LARGE {
            group::pack(simd, &self.queries[..self.rows * width], width, self.panels);
        }
        O::round(simd, MatrixRef::row_major(self.queries, self.rows, width), self.left_queries);
    }

    /// Finds the columns of the tile at position `start` that each row sees.
    fn look(&mut self, start: usize) {
        for (i, row) in self.item.rows.clone().enumerate() {
            // Heads of one position see the same.
            self.seen[i] = if i > 0 && row % self.group != 0 {
                self.seen[i - 1].clone()
            } else {
                self.spec.visible.spans(self.position(row), self.item.sequence.k_end).map(|span| {
                    let end = span.end.clamp(start, start + keys::<O>()) - start;
                    span.start.clamp(start, start + end) - start..end
                })
            };
        }
    }

    /// Attends to the keys of the tile at position `start`.
    #[inline(always)]
    fn attend<S: Simd>(&mut self, simd: S, start: usize) {
        let Some(reach) = self.reach(start) else { return };
        if self.item.few {
            self.score_in_place(simd, start, reach.columns());
            self.weigh(simd, start, &reach, 0..self.rows, 0);
            self.add_values_of_few(simd, start, &reach);
            return;
        }
        self.pack_keys(simd, start, reach.columns());
        let values = self.pack_values(simd, start, reach.columns());
        for rows in self.blocks() {
            self.score(simd, &reach, rows.clone());
            self.weigh(simd, start, &reach, rows.clone(), values.columns.start / S::LANES * S::LANES);
            self.add_values(simd, start, &reach, &values, rows);
        }
    }

    /// Rows whose scores are held together.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<O> {
        let (rows, block) = (self.rows, self.item.size.block);
        (0..rows).step_by(block).map(move |first| first..(first + block).min(rows))
    }

    /// The scores of each row of the item with the keys of the tile at position `start`, strip by strip: `each` gets the index of
    /// a row, its column of the first score, and the scores, whole vectors, minus infinity where the row does not see.
    #[inline(always)]
    pub(super) fn each_score<S: Simd>(&mut self, simd: S, start: usize, mut each: impl FnMut(usize, usize, &[f32])) {
        let Some(reach) = self.reach(start) else { return };
        if !self.item.few {
            self.pack_keys(simd, start, reach.columns());
        }
        for block in self.blocks() {
            if self.item.few {
                self.score_in_place(simd, start, reach.columns());
            } else {
                self.score(simd, &reach, block.clone());
            }
            for first in block.clone().step_by(TILE_ROWS) {
                let (columns, rows) = (reach.vectors_of::<S>(first), first..(first + TILE_ROWS).min(block.end));
                if columns.is_empty() {
                    continue;
                }
                self.complete(simd, start, rows.clone(), block.start, columns.clone());
                for i in rows {
                    each(i, columns.start, &self.scores[(i - block.start) * keys::<O>()..][columns.clone()]);
                }
            }
        }
    }

    /// What is visible of the tile of keys at position `start`, if anything is.
    fn reach(&mut self, start: usize) -> Option<Reach> {
        self.look(start);
        let reach = Reach::new(self.rows, |i| {
            let [first, second] = self.seen[i].clone();
            hull(first, second)
        });
        (!reach.columns().is_empty()).then_some(reach)
    }

    /// The first positions of the tiles that hold any key that the item's rows see.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> + use<O> {
        let (item, first) = (self.item, self.position(self.item.rows.start));
        let spans = union(self.spec.visible, first..self.position(item.rows.end - 1) + 1, item.sequence.k_end);
        let spans = spans.map(|span| span.start.max(item.keys.start)..span.end.min(item.keys.end));
        tiles(spans, keys::<O>()).map(|tile| tile * keys::<O>())
    }

    /// Turns the scores of a block of rows into weights; as left operands they begin with those of column `first`.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, start: usize, reach: &Reach, block: Range<usize>, first: usize) {
        let stride = self.left_of_weights(simd, block.len(), reach.columns().end - first).row_stride();
        for strip in block.clone().step_by(TILE_ROWS) {
            let (rows, columns) = (strip..(strip + TILE_ROWS).min(block.end), reach.vectors_of::<S>(strip));
            if columns.is_empty() {
                continue;
            }
            self.complete(simd, start, rows.clone(), block.start, columns.clone());
            let states = States {
                max: &mut self.max[rows.clone()],
                sums: &mut self.sums[rows.start * MAX_LANES..rows.end * MAX_LANES],
                out: &mut self.out[rows.start * self.out_stride..rows.end * self.out_stride],
                out_stride: self.out_stride,
            };
            let of_block = rows.start - block.start..rows.end - block.start;
            let left = Left { rows: self.left_weights.get_mut(of_block.start * stride..).unwrap_or(&mut []), stride, first };
            let scores = &mut self.scores[of_block.start * keys::<O>()..of_block.end * keys::<O>()];
            states.absorb::<O, _>(simd, scores, keys::<O>(), columns, left);
        }
    }

    /// Weights `[rows, columns]` of a block as a left operand.
    #[inline(always)]
    fn left_of_weights<S: Simd>(&self, simd: S, rows: usize, columns: usize) -> MatrixRef<'_> {
        O::left(simd, MatrixRef::strided(self.scores, rows, columns, keys::<O>(), 1), self.left_weights)
    }

    /// Makes dot products in `columns`, whole vectors, into scores: capped, with the bias, minus infinity where a row does not see. The rows
    /// are some of the block that begins with row `block`.
    #[inline(always)]
    fn complete<S: Simd>(&mut self, simd: S, start: usize, rows: Range<usize>, block: usize, columns: Range<usize>) {
        for i in rows {
            let row = self.item.rows.start + i;
            let (q_pos, head) = (self.position(row), self.place(row).0);
            let scores = &mut self.scores[(i - block) * keys::<O>()..][..keys::<O>()];
            if let Some(cap) = self.spec.softcap {
                apply(simd, SoftCap(cap * LOG2_E), [&mut scores[columns.clone()]], []);
            }
            if let Some(bias) = self.spec.bias {
                for range in self.seen[i].clone() {
                    add_bias(&mut scores[range.clone()], &bias, head, start + range.start, q_pos);
                }
            }
            hide(scores, columns.clone(), &self.seen[i], f32::NEG_INFINITY);
        }
    }

    /// Writes the results, or the state to go on from.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, target: Target<'_>) {
        let d_v = self.spec.d_v;
        for i in 0..self.rows {
            let (head, place) = self.place(self.item.rows.start + i);
            let out = &mut self.out[i * self.out_stride..][..self.out_stride];
            let sum = simd.reduce_add(load(simd, &self.sums[i * MAX_LANES..][..S::LANES]));
            if let Some((first, step)) = self.item.part {
                let at = first + i * step;
                // SAFETY: the state of this row after this part, which no other item writes.
                let state = unsafe { target.parts.slice(at..at + 2 + d_v) };
                (state[0], state[1]) = (self.max[i], sum);
                state[2..].copy_from_slice(&out[..d_v]);
                continue;
            }
            let finished = finish(self.max[i], sum, self.spec.sink.map(|sink| sink[head]));
            apply(simd, Scale(finished.factor), [&mut *out], []);
            target.write(place, &out[..d_v], finished.lse);
        }
    }
}

/// Values as cells hold them.
#[derive(Clone, Copy)]
struct Nearest<O>(PhantomData<O>);

impl<O: Operand> Map<1, 0> for Nearest<O> {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [x]: [S::V; 1], _: [S::V; 0]) -> [S::V; 1] {
        [O::nearest(simd, x)]
    }
}

#[inline(always)]
fn multiply_each(values: &mut [f32], by: &[f32]) {
    for (value, by) in values.iter_mut().zip(by) {
        *value *= by;
    }
}

/// Adds a head's bias to scores of keys from `k_pos` on.
#[inline(always)]
fn add_bias(scores: &mut [f32], bias: &DistanceBias<'_>, head: usize, k_pos: usize, q_pos: usize) {
    if scores.is_empty() {
        return;
    }
    let distance = k_pos as isize - q_pos as isize - bias.first;
    let bias = &bias.table[head * bias.width..][..bias.width][distance as usize..][..scores.len()];
    for (score, bias) in scores.iter_mut().zip(bias) {
        *score += bias * LOG2_E;
    }
}
