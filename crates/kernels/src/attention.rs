//! Softmax attention: what a call describes. MHA, MQA, GQA and absorbed MLA are this with other strides.

mod backward;
mod check;
mod forward;
mod reach;
mod rows;
mod softmax;

pub use backward::{backward, backward_scratch};
pub(crate) use forward::{KEYS, is_in_place, keys, part};
pub use forward::{Statistics, forward, forward_scratch, gains_by_bf16, statistics, statistics_scratch};
pub(crate) use softmax::SLACK;

use crate::Precision;
use crate::int4::Int4;
use half::{bf16, f16};
use std::ops::Range;

/// Which keys a query sees, by position. Both count from the start of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Every key, before and after.
    All,
    /// Keys up to and including the query's own position.
    Causal,
    /// Causal, and at most the last `window` keys, the query's own among them; the first `keep` positions stay visible.
    Window {
        /// Keys in the window, at least 1.
        window: usize,
        /// Positions at the start of the sequence that every later query sees (attention sinks).
        keep: usize,
    },
    /// Causal within chunks aligned to the start of the sequence.
    Chunk(usize),
    /// The first `n` keys are visible to all, causal after.
    Prefix(usize),
    /// Keys at most this far from the query, before and after.
    Near(usize),
}

impl Visible {
    /// The key positions that a query at `q_pos` sees among keys `0..keys`, as two ascending, disjoint ranges of which
    /// either may be empty.
    pub fn spans(self, q_pos: usize, keys: usize) -> [Range<usize>; 2] {
        let end = (q_pos + 1).min(keys);
        match self {
            Visible::All => [0..0, 0..keys],
            Visible::Causal => [0..0, 0..end],
            Visible::Window { window, keep } => {
                let start = (q_pos + 1).saturating_sub(window).min(end);
                [0..keep.min(start), start..end]
            }
            Visible::Chunk(size) => [0..0, (q_pos / size * size).min(end)..end],
            Visible::Prefix(n) => [0..0, 0..end.max(n.min(keys))],
            Visible::Near(n) => [0..0, q_pos.saturating_sub(n).min(keys)..(q_pos + 1).saturating_add(n).min(keys)],
        }
    }

    /// The query positions that see a key at `k_pos`: the inverse of [`Visible::spans`]. `usize::MAX` stands for no end.
    pub(crate) fn queries(self, k_pos: usize) -> Range<usize> {
        match self {
            Visible::All => 0..usize::MAX,
            Visible::Causal => k_pos..usize::MAX,
            // A kept position is in the window first and in the kept span from then on.
            Visible::Window { keep, .. } if k_pos < keep => k_pos..usize::MAX,
            Visible::Window { window, .. } => k_pos..k_pos.saturating_add(window),
            Visible::Chunk(size) => k_pos..(k_pos / size + 1).saturating_mul(size),
            Visible::Prefix(n) => (if k_pos < n { 0 } else { k_pos })..usize::MAX,
            Visible::Near(n) => k_pos.saturating_sub(n)..(k_pos + 1).saturating_add(n),
        }
    }
}

/// An additive bias that depends only on the head and on how far the key is from the query: ALiBi, T5.
#[derive(Clone, Copy, Debug)]
pub struct DistanceBias<'a> {
    /// `[H, width]`: the bias of head `h` for a key at `k_pos` is `table[h * width + (k_pos - q_pos - first)]`.
    pub table: &'a [f32],
    /// The smallest `k_pos - q_pos` that the table holds.
    pub first: isize,
    /// Distances a head's row of the table holds.
    pub width: usize,
}

/// What one attention computes, apart from the rows it reads.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Query heads, `H`.
    pub heads: usize,
    /// Key heads, `G`; divides `heads`. Query head `h` reads key head `h / (H / G)`.
    pub kv_heads: usize,
    /// Width of a query or key, per head.
    pub d_qk: usize,
    /// Width of a value, per head.
    pub d_v: usize,
    /// What the dot products are multiplied by.
    pub scale: f32,
    /// Which keys a query sees.
    pub visible: Visible,
    /// Scaled scores become `cap * tanh(score / cap)`, before the bias.
    pub softcap: Option<f32>,
    /// Added to the scaled, capped scores.
    pub bias: Option<DistanceBias<'a>>,
    /// `[H]`: one more score per head in the softmax, that of a key with value zero.
    pub sink: Option<&'a [f32]>,
    /// What the products multiply, forward and backward.
    ///
    /// Rounded to bf16 are queries once they are scaled, keys, values, and weights relative to the largest so far; in the backward
    /// also queries as they are, gradients of outputs, probabilities and gradients of scores. Sums, the softmax and what comes out are
    /// f32. What is exact and what is bounded of such products is said in [`crate::product::bf16`].
    ///
    /// Of at most 8 rows of a sequence whose first keys are not f32, keys and values are multiplied as they are stored, and only queries and
    /// weights are rounded; over keys of bytes queries may become two bytes, and the product of a weight and a scale is rounded.
    pub precision: Precision,
}

impl Attention<'static> {
    /// Causal attention of heads of width `d`, in f32: scores divided by the root of `d`, nothing added.
    pub fn causal(heads: usize, kv_heads: usize, d: usize) -> Self {
        Attention {
            heads,
            kv_heads,
            d_qk: d,
            d_v: d,
            scale: 1.0 / (d as f32).sqrt(),
            visible: Visible::Causal,
            softcap: None,
            bias: None,
            sink: None,
            precision: Precision::F32,
        }
    }
}

/// Values in the type that they are stored in. All of them are read as f32, a register at a time.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// 4 bytes each.
    F32(&'a [f32]),
    /// 2 bytes each, the upper half of an f32.
    Bf16(&'a [bf16]),
    /// 2 bytes each.
    F16(&'a [f16]),
    /// 1 byte each, times a scale.
    Int8 {
        /// The bytes.
        values: &'a [i8],
        /// A scale for each head of each row: that of head `g` of row `r` at `g * scale_stride + r`.
        scales: &'a [f32],
        /// Distance between the scales of heads.
        scale_stride: usize,
    },
    /// 4 bits each, and 2 bytes for the step of each group; a head of a row begins a group.
    Int4(&'a [Int4]),
}

/// Rows of one sequence at consecutive positions, in place: head `g` of row `r` begins at `g * head_stride + r * row_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Position of the first row.
    pub first: usize,
    /// How many rows.
    pub rows: usize,
    /// Where they lie.
    pub data: Cells<'a>,
    /// Distance between rows, in what the data are a slice of.
    pub row_stride: usize,
    /// Distance between the heads of one row, in the same.
    pub head_stride: usize,
}

impl<'a> Run<'a> {
    /// Rows `[rows, heads * width]`, token by token, as projections give them.
    pub fn by_token(first: usize, rows: usize, data: Cells<'a>, heads: usize, width: usize) -> Run<'a> {
        let head_stride = data.cells(width);
        Run { first, rows, data, row_stride: heads * head_stride, head_stride }
    }

    /// Rows `[heads, room, width]`, head by head with room for as many, as caches keep them.
    pub fn by_head(first: usize, rows: usize, data: Cells<'a>, room: usize, width: usize) -> Run<'a> {
        let row_stride = data.cells(width);
        Run { first, rows, data, row_stride, head_stride: room * row_stride }
    }

    /// The `width` values of a head of row `row`, as f32.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn values(&self, row: usize, head: usize, width: usize) -> Vec<f32> {
        let start = head * self.head_stride + row * self.row_stride;
        let cells = start..start + width;
        match self.data {
            Cells::F32(values) => values[cells].to_vec(),
            Cells::Bf16(values) => values[cells].iter().map(|x| x.to_f32()).collect(),
            Cells::F16(values) => values[cells].iter().map(|x| x.to_f32()).collect(),
            Cells::Int8 { values, scales, scale_stride } => {
                let scale = scales[head * scale_stride + row];
                values[cells].iter().map(|&x| f32::from(x) * scale).collect()
            }
            Cells::Int4(groups) => (0..width).map(|i| groups[start + i / Int4::VALUES].value(i % Int4::VALUES)).collect(),
        }
    }
}

/// One sequence of a ragged batch, whose sequences come in ascending rows: new query rows, and every key and value that they may see.
#[derive(Clone, Debug)]
pub struct Sequence<'a> {
    /// Rows of `q`, `out` and `lse` that belong to this sequence.
    pub rows: Range<usize>,
    /// Position of the first query row.
    pub q_first: usize,
    /// Number of positions that keys may have: the largest key position plus one. `Visible` is asked with this.
    pub k_end: usize,
    /// Keys in ascending position. A visible position that no run holds is an error.
    pub keys: &'a [Run<'a>],
    /// Values at the same positions. For absorbed MLA these are the key runs themselves: a value is then the first `d_v`
    /// entries of the key's row.
    pub values: &'a [Run<'a>],
}

/// One sequence of a training batch, whose spans come in ascending rows: its keys and values are rows of one array each, from position 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Rows of `q`, `out` and `lse`.
    pub rows: Range<usize>,
    /// Position of the first query row.
    pub q_first: usize,
    /// Rows of `k` and `v`.
    pub k_rows: Range<usize>,
    /// Position of the first key row.
    pub k_first: usize,
}

/// What [`backward`] reads: rows of all spans, and what [`forward`] made of them.
#[derive(Clone, Copy, Debug)]
pub struct BackwardInputs<'a> {
    /// Queries, `[N, H * d_qk]`.
    pub q: &'a [f32],
    /// Keys, `[Nk, G * d_qk]`.
    pub k: &'a [f32],
    /// Values, `[Nk, G * d_v]`.
    pub v: &'a [f32],
    /// Outputs, `[N, H * d_v]`.
    pub out: &'a [f32],
    /// Logarithms of sums of exponentials, `[N, H]`.
    pub lse: &'a [f32],
    /// Gradients of the outputs, `[N, H * d_v]`.
    pub d_out: &'a [f32],
}

/// What [`backward`] adds to.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of queries, `[N, H * d_qk]`.
    pub d_q: &'a mut [f32],
    /// Of keys, `[Nk, G * d_qk]`.
    pub d_k: &'a mut [f32],
    /// Of values, `[Nk, G * d_v]`.
    pub d_v: &'a mut [f32],
    /// Of the bias table, `[H, width]`.
    pub d_bias: Option<&'a mut [f32]>,
    /// Of the sinks, `[H]`.
    pub d_sink: Option<&'a mut [f32]>,
}
