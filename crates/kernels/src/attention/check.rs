//! What a call must satisfy, checked before any work.

use super::{Attention, Cells, Run, Sequence, Span, Visible};
use crate::expect::length;
use crate::int4::Int4;
use crate::product::matrix::extent;
use crate::tile::hull;
use std::ops::Range;

/// # Panics
/// If the heads do not divide or a width is 0, or a table has not a value for each head.
pub(super) fn spec(spec: &Attention<'_>) {
    let Attention { heads, kv_heads, d_qk, d_v, .. } = *spec;
    assert!(kv_heads > 0 && heads > 0 && heads % kv_heads == 0, "{heads} heads over {kv_heads} key heads");
    assert!(d_qk > 0 && d_v > 0, "widths of attention: d_qk {d_qk}, d_v {d_v}");
    if let Some(sink) = spec.sink {
        length("a sink of attention", sink.len(), heads);
    }
    if let Some(bias) = spec.bias {
        length("a table of distances", bias.table.len(), heads.saturating_mul(bias.width));
    }
    if let Visible::Chunk(size) | Visible::Window { window: size, .. } = spec.visible {
        assert!(size > 0, "{:?}", spec.visible);
    }
}

/// # Panics
/// If ranges overlap, do not ascend, or pass `end`.
pub(super) fn ascending(what: &str, ranges: impl Iterator<Item = Range<usize>>, end: usize) {
    let mut free = 0;
    for (i, range) in ranges.enumerate() {
        let fits = range.start >= free && range.start <= range.end && range.end <= end;
        assert!(fits, "{what} of sequence {i}: {range:?} is not after {free} and within {end}");
        free = range.end;
    }
}

/// # Panics
/// If `sequence` has a query that sees a position which no run of keys or values holds, or a run that leaves its data.
pub(super) fn sequence(spec: &Attention<'_>, sequence: &Sequence<'_>) {
    runs("keys", sequence.keys, spec.kv_heads, spec.d_qk);
    runs("values", sequence.values, spec.kv_heads, spec.d_v);
    let positions = positions(sequence.q_first, sequence.rows.len());
    for span in union(spec.visible, positions.clone(), sequence.k_end) {
        held("keys", sequence.keys, span.clone());
        held("values", sequence.values, span);
    }
    distances(spec, positions, sequence.k_end);
}

/// # Panics
/// If a query of `span` sees a position that is none of its keys'.
pub(super) fn span(spec: &Attention<'_>, span: &Span) {
    let (positions, keys) = (positions(span.q_first, span.rows.len()), positions(span.k_first, span.k_rows.len()));
    for seen in union(spec.visible, positions.clone(), keys.end).into_iter().filter(|seen| !seen.is_empty()) {
        assert!(seen.start >= keys.start, "position {} is visible and the span's keys are {keys:?}", seen.start);
    }
    distances(spec, positions, keys.end);
}

/// # Panics
/// If a query at one of `positions` sees a key at a distance that the bias does not cover.
pub(super) fn distances(spec: &Attention<'_>, positions: Range<usize>, k_end: usize) {
    let Some(bias) = spec.bias else { return };
    let covered = bias.first..bias.first.saturating_add_unsigned(bias.width);
    for q_pos in positions {
        for span in spec.visible.spans(q_pos, k_end).into_iter().filter(|span| !span.is_empty()) {
            let (first, last) = (span.start as isize - q_pos as isize, span.end as isize - 1 - q_pos as isize);
            assert!(
                covered.start <= first && last < covered.end,
                "a query at {q_pos} sees distances {first}..={last}, the bias covers {covered:?}"
            );
        }
    }
}

/// The keys that queries at `positions` see together. Neighbouring queries' spans overlap or adjoin, so each union is one range.
pub(super) fn union(visible: Visible, positions: Range<usize>, k_end: usize) -> [Range<usize>; 2] {
    let mut union = [0..0, 0..0];
    for q_pos in positions {
        for (union, span) in union.iter_mut().zip(visible.spans(q_pos, k_end)) {
            *union = hull(union.clone(), span);
        }
    }
    union
}

fn runs(what: &str, runs: &[Run<'_>], kv_heads: usize, width: usize) {
    let mut free = 0;
    for run in runs {
        // Those without rows as well: runs are found by halving.
        assert!(run.first >= free, "{what}: a run at {} after one that ends at {free}", run.first);
        free = positions(run.first, run.rows).end;
        let (len, width) = (run.data.len(), run.data.cells(width));
        let fits = |rows: Option<usize>, stride: usize, len: usize| {
            rows == Some(0)
                || rows.zip((kv_heads - 1).checked_mul(stride)).is_some_and(|(rows, head)| ends_within(rows, head, len))
        };
        let Run { first, rows, row_stride, head_stride, .. } = *run;
        let inside = fits(extent(rows, width, row_stride, 1), head_stride, len);
        assert!(inside, "{what}: a run of {rows} rows at {first}, {row_stride} and heads {head_stride} apart, in {len} values");
        if let Cells::Int8 { scales, scale_stride, .. } = run.data {
            let (inside, len) = (fits(Some(rows), scale_stride, scales.len()), scales.len());
            assert!(inside, "{what}: scales of {rows} rows at {first}, heads {scale_stride} apart, in {len} values");
        }
    }
}

fn ends_within(first: usize, count: usize, len: usize) -> bool {
    first.checked_add(count).is_some_and(|end| end <= len)
}

/// # Panics
/// If the last is no number that distances can be taken of.
fn positions(first: usize, count: usize) -> Range<usize> {
    let end = first.checked_add(count).filter(|end| isize::try_from(*end).is_ok());
    first..end.unwrap_or_else(|| panic!("{count} positions from {first} on"))
}

impl Cells<'_> {
    fn len(&self) -> usize {
        match self {
            Cells::F32(values) => values.len(),
            Cells::Bf16(values) => values.len(),
            Cells::F16(values) => values.len(),
            Cells::Int8 { values, .. } => values.len(),
            Cells::Int4(groups) => groups.len(),
        }
    }

    /// How many hold `width` values.
    pub(super) fn cells(&self, width: usize) -> usize {
        match self {
            Cells::Int4(_) => width.div_ceil(Int4::VALUES),
            _ => width,
        }
    }
}

fn held(what: &str, runs: &[Run<'_>], span: Range<usize>) {
    let mut next = span.start;
    for run in runs.iter().filter(|run| run.first <= span.end) {
        if (run.first..run.first + run.rows).contains(&next) {
            next = run.first + run.rows;
        }
    }
    assert!(next >= span.end, "{what}: position {next} is visible and no run holds it");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From one position that is tried to the next; an interpreter is slow.
    const STEP: usize = if cfg!(miri) { 7 } else { 1 };

    fn all() -> Vec<Visible> {
        let mut all = vec![Visible::All, Visible::Causal];
        for n in [1, 2, 5, 40] {
            all.extend([Visible::Chunk(n), Visible::Prefix(n), Visible::Near(n - 1)]);
            all.extend([0, 1, 3, 50].map(|keep| Visible::Window { window: n, keep }));
        }
        all
    }

    #[test]
    fn queries_are_the_inverse_of_spans() {
        for visible in all() {
            for q_pos in (0..30).step_by(STEP) {
                let spans = visible.spans(q_pos, 25);
                for k_pos in 0..25 {
                    let seen = spans.iter().any(|span| span.contains(&k_pos));
                    assert_eq!(visible.queries(k_pos).contains(&q_pos), seen, "{visible:?} {q_pos} {k_pos}");
                }
            }
        }
    }

    #[test]
    fn a_union_holds_what_its_queries_see_and_no_more() {
        for visible in all() {
            for first in (0..20).step_by(STEP) {
                let positions = first..first + 9;
                let union = union(visible, positions.clone(), 25);
                for k_pos in 0..25 {
                    let seen = positions.clone().any(|q_pos| visible.spans(q_pos, 25).iter().any(|span| span.contains(&k_pos)));
                    assert_eq!(union.iter().any(|span| span.contains(&k_pos)), seen, "{visible:?} {positions:?} {k_pos}");
                }
            }
        }
    }
}
