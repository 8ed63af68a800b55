//! How a call is cut into items: key heads of spans, and where a span has few of them parts of their queries, so that a single
//! sequence keeps several workers busy. From the shapes of a span alone: its bits do not depend on its company.

use super::QUERIES;
use crate::attention::{Attention, Span};
use std::ops::Range;

/// Items to cut a span into that has fewer key heads. Each part has sums of its own.
const ITEMS: usize = 4;

/// How one call is cut.
pub(super) struct Plan<'a> {
    pub(super) spec: &'a Attention<'a>,
    pub(super) spans: &'a [Span],
}

/// What one item does: some blocks of the queries of a key head.
#[derive(Clone)]
pub(super) struct Part<'a> {
    pub(super) span: &'a Span,
    /// Which span it is.
    pub(super) index: usize,
    /// The key head.
    pub(super) head: usize,
    part: usize,
    parts: usize,
    /// Blocks that go together: those of a query head where sums over all of it are kept.
    together: usize,
    /// Where its gradients of keys and values are, if others have the same keys.
    pub(super) sums: Option<Range<usize>>,
}

impl Part<'_> {
    /// Whether it has block `block`, counted over all query heads of the key head.
    pub(super) fn has(&self, block: usize) -> bool {
        block / self.together % self.parts == self.part
    }

    /// If it is the first of several, where the sums of all of them are.
    pub(super) fn all_sums(&self) -> Option<Range<usize>> {
        let first = self.sums.clone().filter(|_| self.part == 0)?;
        Some(first.start..first.start + self.parts * first.len())
    }
}

/// Blocks of the queries of one head.
pub(super) fn blocks(span: &Span) -> usize {
    span.rows.len().div_ceil(QUERIES).max(1)
}

impl<'a> Plan<'a> {
    /// Blocks that go together, and parts of a key head.
    fn cut(&self, span: &Span) -> (usize, usize) {
        let (blocks, group) = (blocks(span), self.spec.heads / self.spec.kv_heads);
        let together = if self.spec.bias.is_some() || self.spec.sink.is_some() { blocks } else { 1 };
        (together, ITEMS.div_ceil(self.spec.kv_heads).min(group * blocks / together))
    }

    /// Values of the sums of one part.
    fn sums_of_part(&self, span: &Span) -> usize {
        span.k_rows.len() * (self.spec.d_qk + self.spec.d_v)
    }

    /// Values of the sums of all parts of a span.
    fn sums_of(&self, span: &Span) -> usize {
        let (_, parts) = self.cut(span);
        if parts > 1 { self.spec.kv_heads * parts * self.sums_of_part(span) } else { 0 }
    }

    /// Values of all sums.
    pub(super) fn sums(&self) -> usize {
        self.spans.iter().map(|span| self.sums_of(span)).sum()
    }

    pub(super) fn items(&self) -> usize {
        self.spans.iter().map(|span| self.spec.kv_heads * self.cut(span).1).sum()
    }

    /// Item `item`.
    pub(super) fn part(&self, mut item: usize) -> Part<'a> {
        let mut first = 0;
        for (index, span) in self.spans.iter().enumerate() {
            let (together, parts) = self.cut(span);
            if item < self.spec.kv_heads * parts {
                let start = first + item * self.sums_of_part(span);
                let sums = (parts > 1).then(|| start..start + self.sums_of_part(span));
                return Part { span, index, head: item / parts, part: item % parts, parts, together, sums };
            }
            item -= self.spec.kv_heads * parts;
            first += self.sums_of(span);
        }
        unreachable!("an item beyond the last")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_block_once() {
        for (heads, kv_heads, rows) in [(4, 1, 0), (1, 1, 500), (6, 3, 200), (8, 8, 10), (3, 1, 129)] {
            let spec = Attention::causal(heads, kv_heads, 8);
            let span = |start: usize| Span { rows: start..start + rows, q_first: 0, k_rows: start..start + rows, k_first: 0 };
            let spans = [span(0), span(rows)];
            let plan = Plan { spec: &spec, spans: &spans };
            let parts: Vec<_> = (0..plan.items()).map(|item| plan.part(item)).collect();
            let mut end = 0;
            for part in parts.iter().filter_map(|part| part.sums.clone()) {
                assert_eq!(part.start, end);
                end = part.end;
            }
            assert_eq!(end, plan.sums());
            for (index, head) in (0..2).flat_map(|index| (0..kv_heads).map(move |head| (index, head))) {
                for block in 0..heads / kv_heads * blocks(&spans[index]) {
                    let owners = parts.iter().filter(|part| (part.index, part.head) == (index, head) && part.has(block));
                    assert_eq!(owners.count(), 1);
                }
            }
        }
    }
}
