//! Forward: tiles of queries over tiles of keys with an online softmax.
//!
//! The queries of all heads that share a key head are rows of one list, position by position; an item is a tile of that list
//! with all its keys. Key tiles begin at multiples of their size in positions, and what is invisible contributes exactly nothing,
//! so a row's bits depend on its position and its keys alone: not on the rows beside it, nor on how keys are stored.
//!
//! A sequence of few rows, as in decoding, is cut along its keys instead, and the parts are joined in order. Its keys are not packed, nor
//! are its values where few queries read them: they are multiplied in place.

mod few;
mod group;
mod join;
mod plan;
mod square_values;
mod squares;
mod statistics;
mod tile;

pub(crate) use plan::{is_in_place, part};
pub use statistics::{Statistics, statistics, statistics_scratch};

use super::{Attention, Cells, Run, Sequence, check};
use crate::disjoint::{Disjoint, run};
use crate::expect;
use crate::pairs::Pair;
use crate::tile::{Operand, Single};
use crate::{Isa, Machine, Precision};
use join::Join;
use plan::{FEW_ROWS, Plan};
use std::marker::PhantomData;
use tile::Tile;

/// Keys of a tile of f32.
pub(crate) const KEYS: usize = 128;

/// Keys of a tile: what as many cells hold.
pub(crate) const fn keys<O: Operand>() -> usize {
    KEYS * O::VALUES
}

/// Where results go.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// `[N, H * d_v]`
    out: &'a Disjoint<'a, f32>,
    /// `[N, H]`
    lse: Option<&'a Disjoint<'a, f32>>,
    /// Of sequences cut along their keys, each row's state after each part; see [`Plan::part`].
    parts: &'a Disjoint<'a, f32>,
}

impl Target<'_> {
    /// Writes the results of one query head of one row; `place` is `row * H + head`.
    fn write(&self, place: usize, out: &[f32], lse: f32) {
        // SAFETY: rows of sequences do not overlap (checked by `check_call`), and each row and head is written by one item.
        unsafe { self.out.slice(place * out.len()..(place + 1) * out.len()) }.copy_from_slice(out);
        if let Some(to) = self.lse {
            // SAFETY: as above.
            let to = unsafe { to.slice(place..place + 1) };
            to[0] = lse;
        }
    }
}

/// Softmax attention of every sequence: q `[N, H * d_qk]` -> out `[N, H * d_v]` and, if wanted, lse `[N, H]`, the logarithm of
/// the sum of exponentials of a row's scores (scaled, capped, with bias, the sink among them).
///
/// A row that sees no key gets zeros, and its lse is the sink's score or minus infinity. Rows that belong to no sequence
/// are left alone.
///
/// # Panics
/// If shapes do not agree, if sequences do not come in ascending rows, if a query sees a position that no run holds or a
/// distance that the bias does not cover, or if `scratch` is shorter than [`forward_scratch`] says; before anything is written.
pub fn forward(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    out: &mut [f32],
    lse: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    match spec.precision {
        Precision::F32 => call::<Single>(machine, spec, sequences, q, out, lse, scratch),
        Precision::Bf16 => call::<Pair>(machine, spec, sequences, q, out, lse, scratch),
    }
}

/// Whether [`forward`] of a sequence is faster with [`Precision::Bf16`]. For few rows it is with many heads to a key head, over keys in a type
/// that whole squares are multiplied of.
pub fn gains_by_bf16(isa: Isa, spec: &Attention<'_>, sequence: &Sequence<'_>) -> bool {
    if sequence.rows.len() > FEW_ROWS {
        return isa.gains_by_bf16();
    }
    let squares = |run: &Run<'_>| matches!(run.data, Cells::Bf16(_) | Cells::Int8 { .. });
    isa.has_squares() && spec.heads / spec.kv_heads >= group::LARGE && sequence.keys.first().is_some_and(squares)
}

/// Values of scratch that [`forward`] needs.
pub fn forward_scratch(spec: &Attention<'_>, sequences: &[Sequence<'_>], workers: usize) -> usize {
    let plan = Plan::new(spec, sequences);
    match spec.precision {
        Precision::F32 => scratch_of::<Single>(&plan, workers),
        Precision::Bf16 => scratch_of::<Pair>(&plan, workers),
    }
}

fn scratch_of<O: Operand>(plan: &Plan<'_>, workers: usize) -> usize {
    plan.tile_scratch::<O>() * workers + plan.parts_scratch()
}

fn call<O: Operand>(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    out: &mut [f32],
    lse: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    check_call(spec, sequences, q, Some(out), lse.as_deref());
    let plan = Plan::new(spec, sequences);
    let want = scratch_of::<O>(&plan, machine.executor.workers());
    assert!(scratch.len() >= want, "scratch of attention: want {want}, got {}", scratch.len());
    let size = plan.tile_scratch::<O>();
    let (tiles, parts) = scratch.split_at_mut(size * machine.executor.workers());
    let (tiles, parts, out, lse) = (Disjoint::new(tiles), Disjoint::new(parts), Disjoint::new(out), lse.map(Disjoint::new));
    let target = Target { out: &out, lse: lse.as_ref(), parts: &parts };
    run(machine, plan.items(), &|index, worker| {
        // SAFETY: this is the worker's own part, and a worker runs one item at a time.
        let scratch = unsafe { tiles.slice(worker * size..(worker + 1) * size) };
        let item = plan.item(index);
        if item.few {
            O::InPlace::run(machine.isa, Tile::<O::InPlace> { operand: PhantomData, spec, item, q, target, scratch });
        } else {
            O::run(machine.isa, Tile::<O> { operand: PhantomData, spec, item, q, target, scratch });
        }
    });
    run(machine, plan.joins(), &|index, _| machine.isa.run(Join { spec, join: plan.join(index), target }));
}

fn check_call(spec: &Attention<'_>, sequences: &[Sequence<'_>], q: &[f32], out: Option<&[f32]>, lse: Option<&[f32]>) {
    check::spec(spec);
    let rows = q.len() / (spec.heads * spec.d_qk);
    expect::length("q", q.len(), rows * spec.heads * spec.d_qk);
    if let Some(out) = out {
        expect::length("out", out.len(), rows * spec.heads * spec.d_v);
    }
    if let Some(lse) = lse {
        expect::length("lse", lse.len(), rows * spec.heads);
    }
    check::ascending("rows", sequences.iter().map(|sequence| sequence.rows.clone()), rows);
    for sequence in sequences {
        check::sequence(spec, sequence);
    }
}
