//! What the probabilities are like, without ever holding them all: a second pass over scores, from the log-sum-exp that the
//! forward left.

use super::check_call;
use super::plan::{Item, Plan};
use super::tile::Work;
use crate::attention::reach::MAX_ROWS;
use crate::attention::{Attention, Sequence};
use crate::disjoint::{Disjoint, run};
use crate::expect;
use crate::pairs::Pair;
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::tile::{Operand, Single};
use crate::vector::load;
use crate::{Machine, Precision};
use std::f32::consts::{LN_2, LOG2_E};
use std::marker::PhantomData;

/// Where the statistics of each query head of each row go: `[N, H]` each, `[N, H, K]` for the largest.
#[derive(Debug)]
pub struct Statistics<'a> {
    /// Entropy of the probabilities in nats, the sink's among them.
    pub entropy: &'a mut [f32],
    /// Probability of the key at position 0.
    pub first: &'a mut [f32],
    /// Mean of `q_pos - k_pos` under the probabilities, the sink's counting as 0.
    pub distance: &'a mut [f32],
    /// Positions of the K largest probabilities, falling, the earlier first among equals; `u32::MAX` where fewer are visible. K may
    /// be 0.
    pub top_keys: &'a mut [u32],
    /// Those probabilities; 0 where fewer are visible.
    pub top_probs: &'a mut [f32],
}

/// Statistics of the probabilities of every sequence's queries: `q` and `sequences` as they were given to
/// [`forward`](super::forward), and the `lse` `[N, H]` that it gave. Nothing of the size of all probabilities is held.
///
/// Of a row that sees no key all are 0. Rows that belong to no sequence are left alone.
///
/// # Panics
/// As [`forward`](super::forward); if the statistics have not a value for each row and head.
pub fn statistics(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    lse: &[f32],
    out: Statistics<'_>,
    scratch: &mut [f32],
) {
    match spec.precision {
        Precision::F32 => call::<Single>(machine, spec, sequences, q, lse, out, scratch),
        Precision::Bf16 => call::<Pair>(machine, spec, sequences, q, lse, out, scratch),
    }
}

/// Values of scratch that [`statistics`] needs.
pub fn statistics_scratch(spec: &Attention<'_>, sequences: &[Sequence<'_>], workers: usize) -> usize {
    let plan = Plan::uncut(spec, sequences);
    workers
        * match spec.precision {
            Precision::F32 => plan.tile_scratch::<Single>(),
            Precision::Bf16 => plan.tile_scratch::<Pair>(),
        }
}

fn call<O: Operand>(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    sequences: &[Sequence<'_>],
    q: &[f32],
    lse: &[f32],
    out: Statistics<'_>,
    scratch: &mut [f32],
) {
    let places = q.len() / spec.d_qk;
    check_call(spec, sequences, q, None, Some(lse));
    let Statistics { entropy, first, distance, top_keys, top_probs } = out;
    for (what, len) in [("entropy", entropy.len()), ("first", first.len()), ("distance", distance.len())] {
        expect::length(what, len, places);
    }
    let top = top_keys.len().checked_div(places).unwrap_or(0);
    expect::length("top_keys", top_keys.len(), places * top);
    expect::length("top_probs", top_probs.len(), places * top);
    let workers = machine.executor.workers();
    let want = statistics_scratch(spec, sequences, workers);
    assert!(scratch.len() >= want, "scratch of statistics: want {want}, got {}", scratch.len());
    let plan = Plan::uncut(spec, sequences);
    let size = plan.tile_scratch::<O>();
    let scratch = Disjoint::new(scratch);
    let out = Places {
        values: [entropy, first, distance].map(Disjoint::new),
        top,
        top_keys: Disjoint::new(top_keys),
        top_probs: Disjoint::new(top_probs),
    };
    run(machine, plan.items(), &|index, worker| {
        // SAFETY: this is the worker's own part, and a worker runs one item at a time.
        let scratch = unsafe { scratch.slice(worker * size..(worker + 1) * size) };
        let (item, out) = (plan.item(index), &out);
        if item.few {
            O::InPlace::run(machine.isa, Measure::<O::InPlace> { operand: PhantomData, spec, item, q, lse, out, scratch });
        } else {
            O::run(machine.isa, Measure::<O> { operand: PhantomData, spec, item, q, lse, out, scratch });
        }
    });
}

struct Places<'a> {
    /// Entropy, first, distance.
    values: [Disjoint<'a, f32>; 3],
    top: usize,
    top_keys: Disjoint<'a, u32>,
    top_probs: Disjoint<'a, f32>,
}

struct Measure<'a, O> {
    operand: PhantomData<O>,
    spec: &'a Attention<'a>,
    item: Item<'a>,
    q: &'a [f32],
    lse: &'a [f32],
    out: &'a Places<'a>,
    scratch: &'a mut [f32],
}

/// Sums over the keys of one row.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Of probabilities.
    prob: f64,
    /// Of probabilities times scores in base 2.
    score: f64,
    /// Of probabilities times positions.
    position: f64,
    first: f32,
}

impl<O: Operand> Kernel for Measure<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Measure { spec, item, q, lse, out, scratch, .. } = self;
        let mut work = Work::<O>::new(spec, &item, scratch);
        work.load_queries(simd, q);
        let mut sums = [Sums::default(); MAX_ROWS];
        let place = |i: usize| item.place(spec, item.rows.start + i).1;
        for i in 0..item.rows.len() {
            let (keys, probs) = out.top_of(place(i));
            keys.fill(u32::MAX);
            probs.fill(0.0);
        }
        let mut counted = [0.0; MAX_LANES];
        for lane in 0..S::LANES {
            counted[lane] = lane as f32;
        }
        let counted = load(simd, &counted[..S::LANES]);
        for start in work.starts() {
            work.each_score(simd, start, |i, column, scores| {
                let place = place(i);
                // Where nothing is visible lse is minus infinity, and so are the scores.
                let lse = if lse[place] == f32::NEG_INFINITY { 0.0 } else { lse[place] * LOG2_E };
                let seen = tile_sums(simd, scores, lse, counted);
                let sums = &mut sums[i];
                let position = f64::from(seen[2]) + (start + column) as f64 * f64::from(seen[0]);
                sums.prob += f64::from(seen[0]);
                sums.score += f64::from(seen[1]);
                sums.position += position;
                if start + column == 0 {
                    sums.first = (scores[0] - lse).exp2();
                }
                if out.top > 0 {
                    let (keys, probs) = out.top_of(place);
                    insert_largest(scores, lse, (start + column) as u32, keys, probs);
                }
            });
        }
        for i in 0..item.rows.len() {
            let (head, place) = item.place(spec, item.rows.start + i);
            let lse = lse[place];
            let Sums { prob, score, position, first } = sums[i];
            let sink = spec.sink.map_or(0.0, |sink| f64::from((sink[head] - lse).exp()) * f64::from(sink[head]));
            let all = if lse == f32::NEG_INFINITY { 0.0 } else { f64::from(lse) };
            let entropy = (all - score * f64::from(LN_2) - sink).max(0.0);
            let distance = prob * item.position(spec, item.rows.start + i) as f64 - position;
            out.write(place, [entropy as f32, first, distance as f32]);
        }
    }
}

/// Of the probabilities of some scores, in base 2 like `lse`: their sum, that of them times scores, and of them times the places
/// of the scores.
#[inline(always)]
fn tile_sums<S: Simd>(simd: S, scores: &[f32], lse: f32, counted: S::V) -> [f32; 3] {
    let (zero, hidden) = (simd.splat(0.0), simd.splat(f32::MIN));
    let lse = simd.splat(lse);
    let mut sums = [zero; 3];
    let mut places = counted;
    for scores in scores.chunks_exact(S::LANES) {
        let score = load(simd, scores);
        let prob = simd.exp2(simd.sub(score, lse));
        // A hidden score is minus infinity, and zero times that is not zero.
        let finite = simd.select_lt(score, hidden, zero, score);
        sums[0] = simd.add(sums[0], prob);
        sums[1] = simd.fma(prob, finite, sums[1]);
        sums[2] = simd.fma(prob, places, sums[2]);
        places = simd.add(places, simd.splat(S::LANES as f32));
    }
    sums.map(|sum| simd.reduce_add(sum))
}

/// Keeps the largest probabilities seen so far, falling.
#[inline(always)]
fn insert_largest(scores: &[f32], lse: f32, first: u32, keys: &mut [u32], probs: &mut [f32]) {
    let last = keys.len() - 1;
    // In scores, so that the exponential is taken of the few that matter.
    let mut least = if keys[last] == u32::MAX { f32::NEG_INFINITY } else { probs[last].log2() + lse };
    for (i, &score) in scores.iter().enumerate() {
        if score > least {
            let prob = (score - lse).exp2();
            let at = probs.iter().zip(&*keys).position(|(&held, &key)| key == u32::MAX || held < prob);
            let Some(at) = at else { continue };
            keys.copy_within(at..last, at + 1);
            probs.copy_within(at..last, at + 1);
            (keys[at], probs[at]) = (first + i as u32, prob);
            least = if keys[last] == u32::MAX { f32::NEG_INFINITY } else { probs[last].log2() + lse };
        }
    }
}

impl Places<'_> {
    fn write(&self, place: usize, values: [f32; 3]) {
        for (to, value) in self.values.iter().zip(values) {
            // SAFETY: rows of sequences do not overlap (checked by `check_call`), and each row and head is in one item.
            let to = unsafe { to.slice(place..place + 1) };
            to[0] = value;
        }
    }

    #[allow(clippy::mut_from_ref)]
    fn top_of(&self, place: usize) -> (&mut [u32], &mut [f32]) {
        let range = place * self.top..(place + 1) * self.top;
        // SAFETY: as above; the item that holds this row and head takes them one at a time.
        unsafe { (self.top_keys.slice(range.clone()), self.top_probs.slice(range)) }
    }
}
