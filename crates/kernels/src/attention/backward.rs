//! Backward: scores are computed again from queries and keys, and turned into probabilities by the log-sum-exp that forward
//! kept. Memory grows with the rows, not with their products.
//!
//! Scores are held transposed, keys by queries: log-sum-exp and delta are then plain vectors along a row and nothing is
//! reduced; the same rows are the left operand of the gradients of values and keys as they stand, and of queries read by
//! columns. An item owns a key head of one sequence with all its query heads, so no two add to the same place; where there are few
//! key heads it has some of the queries, and what the items give to keys and values is added up in order.

mod block;
mod item;
mod plan;

use super::{Attention, BackwardInputs, Gradients, Span, check};
use crate::disjoint::{Disjoint, run};
use crate::expect;
use crate::pairs::Pair;
use crate::product::MatrixMut;
use crate::tile::{Operand, Single};
use crate::{Machine, Precision};
use item::Item;
use plan::{Part, Plan};
use std::marker::PhantomData;

/// Queries of a block.
const QUERIES: usize = 128;

/// Keys of a block: whole register tiles.
const KEYS: usize = 96;

/// Where gradients are added. Of `d_bias` and `d_sink` every span has its own sums, `[spans, H, width]` and `[spans, H]`.
struct Target<'a> {
    d_q: MatrixMut<'a>,
    d_k: MatrixMut<'a>,
    d_v: MatrixMut<'a>,
    bias_sums: Disjoint<'a, f32>,
    sink_sums: Disjoint<'a, f32>,
    /// Gradients of keys and then of values, of items that share them.
    key_sums: Disjoint<'a, f32>,
}

impl Target<'_> {
    /// Where an item adds gradients of its keys and values.
    ///
    /// # Safety
    /// No other item may be given the same place while the result lives.
    unsafe fn of_keys(&self, spec: &Attention<'_>, part: &Part<'_>) -> [MatrixMut<'_>; 2] {
        let rows = part.span.k_rows.clone();
        let Some(sums) = part.sums.clone() else {
            // SAFETY: the caller's promise.
            return unsafe { self.of_head(spec, part) };
        };
        // SAFETY: the caller's promise.
        let sums = unsafe { self.key_sums.slice(sums) };
        sums.fill(0.0);
        let (d_k, d_v) = sums.split_at_mut(rows.len() * spec.d_qk);
        [MatrixMut::row_major(d_k, rows.len(), spec.d_qk), MatrixMut::row_major(d_v, rows.len(), spec.d_v)]
    }

    /// The gradients of a part's keys and values themselves.
    ///
    /// # Safety
    /// As [`Target::of_keys`].
    unsafe fn of_head(&self, spec: &Attention<'_>, part: &Part<'_>) -> [MatrixMut<'_>; 2] {
        let (rows, columns) = (&part.span.k_rows, |width: usize| part.head * width..(part.head + 1) * width);
        // SAFETY: rows of spans do not overlap (checked by `check_inputs`), and the caller promises the rest.
        unsafe { [self.d_k.part(0, rows.clone(), columns(spec.d_qk)), self.d_v.part(0, rows.clone(), columns(spec.d_v))] }
    }

    /// Adds the sums of the items that share a part's keys, the first first.
    ///
    /// # Safety
    /// As [`Target::of_keys`].
    unsafe fn add_sums(&self, spec: &Attention<'_>, part: &Part<'_>) {
        let Some(all) = part.all_sums() else { return };
        let rows = part.span.k_rows.len();
        // SAFETY: the caller's promise.
        let (sums, [mut d_k, mut d_v]) = unsafe { (self.key_sums.slice(all), self.of_head(spec, part)) };
        for sums in sums.chunks((rows * (spec.d_qk + spec.d_v)).max(1)) {
            let (of_keys, of_values) = sums.split_at(rows * spec.d_qk);
            add_rows(&mut d_k, of_keys);
            add_rows(&mut d_v, of_values);
        }
    }
}

/// `to += from`, whose rows follow each other.
fn add_rows(to: &mut MatrixMut<'_>, from: &[f32]) {
    for (i, from) in from.chunks_exact(to.cols()).enumerate() {
        for (to, from) in to.row_mut(i).iter_mut().zip(from) {
            *to += from;
        }
    }
}

/// Gradients of [`forward`](super::forward) for every span, which are **added** to what stands in `gradients`.
///
/// # Panics
/// If shapes do not agree, if spans do not come in ascending rows of queries and of keys, if a query sees a position outside
/// its span's keys or a distance that the bias does not cover, if `d_bias` or `d_sink` is given without a bias or sink,
/// or if `scratch` is shorter than [`backward_scratch`] says; before anything is written.
pub fn backward(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    spans: &[Span],
    inputs: BackwardInputs<'_>,
    gradients: Gradients<'_>,
    scratch: &mut [f32],
) {
    match spec.precision {
        Precision::F32 => call::<Single>(machine, spec, spans, inputs, gradients, scratch),
        Precision::Bf16 => call::<Pair>(machine, spec, spans, inputs, gradients, scratch),
    }
}

/// Values of scratch that [`backward`] needs.
pub fn backward_scratch(spec: &Attention<'_>, spans: &[Span], workers: usize) -> usize {
    match spec.precision {
        Precision::F32 => scratch_of::<Single>(spec, spans, workers),
        Precision::Bf16 => scratch_of::<Pair>(spec, spans, workers),
    }
}

fn call<O: Operand>(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    spans: &[Span],
    inputs: BackwardInputs<'_>,
    gradients: Gradients<'_>,
    scratch: &mut [f32],
) {
    let Gradients { d_q, d_k, d_v, d_bias, d_sink } = gradients;
    let [rows, key_rows] = check_inputs(spec, spans, &inputs);
    expect::length("d_q", d_q.len(), inputs.q.len());
    expect::length("d_k", d_k.len(), inputs.k.len());
    expect::length("d_v", d_v.len(), inputs.v.len());
    expect::length("d_bias", d_bias.as_ref().map_or(bias_values(spec), |d_bias| d_bias.len()), bias_values(spec));
    let sinks = spec.sink.map_or(0, <[f32]>::len);
    expect::length("d_sink", d_sink.as_ref().map_or(sinks, |d_sink| d_sink.len()), sinks);
    let want = scratch_of::<O>(spec, spans, machine.executor.workers());
    assert!(scratch.len() >= want, "scratch of attention backward: want {want}, got {}", scratch.len());

    let (bias_sums, scratch) = scratch.split_at_mut(spans.len() * bias_values(spec));
    let (sink_sums, scratch) = scratch.split_at_mut(spans.len() * sinks);
    let plan = Plan { spec, spans };
    let (key_sums, scratch) = scratch.split_at_mut(plan.sums());
    let target = Target {
        d_q: MatrixMut::row_major(d_q, rows, spec.heads * spec.d_qk),
        d_k: MatrixMut::row_major(d_k, key_rows, spec.kv_heads * spec.d_qk),
        d_v: MatrixMut::row_major(d_v, key_rows, spec.kv_heads * spec.d_v),
        bias_sums: Disjoint::new(bias_sums),
        sink_sums: Disjoint::new(sink_sums),
        key_sums: Disjoint::new(key_sums),
    };
    let scratch = Disjoint::new(scratch);
    let size = item_scratch::<O>(spec, spans);
    run(machine, plan.items(), &|index, worker| {
        // SAFETY: this is the worker's own part, and a worker runs one item at a time.
        let scratch = unsafe { scratch.slice(worker * size..(worker + 1) * size) };
        let (part, target) = (plan.part(index), &target);
        // SAFETY: items that share a span and a key head have sums of their own, and each item runs once.
        let [d_k, d_v] = unsafe { target.of_keys(spec, &part) };
        O::run(machine.isa, Item { operand: PhantomData::<O>, spec, part, inputs, target, d_k, d_v, scratch });
    });
    if plan.sums() > 0 {
        // SAFETY: the first item of several that share a span and a key head adds for all of them.
        run(machine, plan.items(), &|index, _| unsafe { target.add_sums(spec, &plan.part(index)) });
    }
    add_in_order(d_bias, bias_sums);
    add_in_order(d_sink, sink_sums);
}

fn scratch_of<O: Operand>(spec: &Attention<'_>, spans: &[Span], workers: usize) -> usize {
    let sums = bias_values(spec) + spec.sink.map_or(0, <[f32]>::len);
    item_scratch::<O>(spec, spans) * workers + spans.len() * sums + Plan { spec, spans }.sums()
}

/// Values of scratch for one worker.
fn item_scratch<O: Operand>(spec: &Attention<'_>, spans: &[Span]) -> usize {
    block::scratch::<O>(spec, spans.iter().map(|span| span.k_rows.len()).max().unwrap_or(0))
}

fn bias_values(spec: &Attention<'_>) -> usize {
    spec.bias.map_or(0, |bias| bias.table.len())
}

/// Rows of queries and of keys.
fn check_inputs(spec: &Attention<'_>, spans: &[Span], inputs: &BackwardInputs<'_>) -> [usize; 2] {
    check::spec(spec);
    let Attention { heads, kv_heads, d_qk, d_v, .. } = *spec;
    let rows = inputs.q.len() / (heads * d_qk);
    let key_rows = inputs.k.len() / (kv_heads * d_qk);
    expect::length("q", inputs.q.len(), rows * heads * d_qk);
    expect::length("k", inputs.k.len(), key_rows * kv_heads * d_qk);
    expect::length("v", inputs.v.len(), key_rows * kv_heads * d_v);
    expect::length("out", inputs.out.len(), rows * heads * d_v);
    expect::length("d_out", inputs.d_out.len(), rows * heads * d_v);
    expect::length("lse", inputs.lse.len(), rows * heads);
    check::ascending("rows", spans.iter().map(|span| span.rows.clone()), rows);
    check::ascending("key rows", spans.iter().map(|span| span.k_rows.clone()), key_rows);
    for span in spans {
        check::span(spec, span);
    }
    [rows, key_rows]
}

/// Adds the sums of every span, the first span first.
fn add_in_order(to: Option<&mut [f32]>, sums: &[f32]) {
    let Some(to) = to else { return };
    for sums in sums.chunks(to.len().max(1)) {
        for (to, sum) in to.iter_mut().zip(sums) {
            *to += sum;
        }
    }
}
