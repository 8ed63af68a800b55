//! Attention over memories, and what an observer is told of it.

use super::{Context, Memory};
use crate::observer::AttentionMap;
use attendant_core::Var;
use attendant_core::ops::{Keys, Run, Softmax, Span};
use attendant_state::SequenceState;

impl Context<'_> {
    /// Softmax attention of q `[N, H * d_qk]` over memories of keys and values -> `[N, H * d_v]`. With values of another width
    /// than their rows, each head's value is the first `d_v` of its part: keys that serve as their own values.
    pub fn attend(&mut self, q: Var, keys: &Memory, values: &Memory, spec: &Softmax) -> Var {
        if self.tape.recording() && keys.plane.is_some() {
            let (keys, values) = (self.visible(keys), self.visible(values));
            return self.attend_rows(q, &keys, &values, spec);
        }
        self.attend_rows(q, keys, values, spec)
    }

    fn attend_rows(&mut self, q: Var, keys: &Memory, values: &Memory, spec: &Softmax) -> Var {
        let (old_keys, old_values) = (past(self.states, self.layer, keys), past(self.states, self.layer, values));
        let keys_of = Keys { past: &old_keys, new: keys.new };
        if let Some(observer) = &mut self.observer {
            let probs = self.tape.attention_probs(q, keys_of, spec, &keys.spans);
            for ((probs, span), &sequence) in probs.into_iter().zip(&keys.spans).zip(&keys.sequences) {
                let (heads, rows) = (spec.heads, span.rows.len());
                observer.maps.push(AttentionMap { sequence, heads, rows, keys: probs.len() / (heads * rows).max(1), probs });
            }
        }
        self.tape.attention(q, keys_of, Keys { past: &old_values, new: values.new }, spec, &keys.spans)
    }

    /// Softmax attention of q `[N, H * d_qk]` where every row reads no more than the positions chosen for it, in ascending order, of
    /// a memory that is [`visible`](Context::visible): key heads that serve as their own values -> `[N, H * d_v]`.
    ///
    /// # Panics
    /// If there is not one choice for each row of the memory's sequences, or a position is not there.
    pub fn attend_chosen(&mut self, q: Var, memory: &Memory, chosen: &[Vec<usize>], spec: &Softmax) -> Var {
        let places = memory.spans.iter().flat_map(|span| span.rows.clone().map(move |row| (row, span)));
        let (mut ids, mut spans) = (Vec::new(), Vec::new());
        for ((row, span), positions) in places.zip(chosen) {
            let start = ids.len();
            ids.extend(positions.iter().map(|position| (span.k_rows.start + position - span.k_first) as u32));
            spans.push(Span { rows: row..row + 1, q_first: 0, k_rows: start..ids.len(), k_first: 0 });
        }
        assert_eq!((spans.len(), chosen.len()), (self.tape.rows(q), self.tape.rows(q)), "a choice for every query");
        let gathered = self.tape.embedding(memory.new, &ids);
        let keys = Keys { past: &[], new: gathered };
        if let Some(observer) = &mut self.observer {
            let probs = self.tape.attention_probs(q, keys, spec, &spans);
            observer.maps.extend(scattered(memory, spec.heads, chosen, &probs));
        }
        let values = if self.tape.recording() { self.prefixes(gathered, spec) } else { gathered };
        self.tape.attention(q, keys, Keys { past: &[], new: values }, spec, &spans)
    }

    /// The first `d_v` values of every key head, as rows of their own: going backward needs them packed.
    fn prefixes(&mut self, keys: Var, spec: &Softmax) -> Var {
        let heads = self.tape.reshape(keys, self.tape.width(keys) / spec.kv_heads);
        let heads = self.tape.columns(heads, 0..spec.d_v);
        self.tape.reshape(heads, spec.kv_heads * spec.d_v)
    }

    /// The distances `k_pos - q_pos` that a memory needs a bias for: the smallest, and how many.
    pub fn distances(&self, memory: &Memory) -> (isize, usize) {
        let oldest = |i: usize, span: &Span| {
            let store = memory.plane.and_then(|plane| self.store(i, plane));
            store.and_then(|store| store.held().into_iter().find(|held| !held.is_empty())).map_or(span.k_first, |held| held.start)
        };
        let spans = || memory.spans.iter().enumerate().filter(|(_, span)| !span.rows.is_empty());
        let low = spans().map(|(i, span)| oldest(i, span) as isize - (span.q_first + span.rows.len() - 1) as isize).min();
        let high = spans().map(|(_, span)| (span.k_first + span.k_rows.len()) as isize - 1 - span.q_first as isize).max();
        let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
        (low, (high - low + 1).max(1) as usize)
    }
}

/// Probabilities `[H, chosen]` of every row, at the positions that they are of.
fn scattered(memory: &Memory, heads: usize, chosen: &[Vec<usize>], probs: &[Vec<f32>]) -> Vec<AttentionMap> {
    let mut choices = chosen.iter().zip(probs);
    let map = |(span, &sequence): (&Span, &usize)| {
        let (rows, keys) = (span.rows.len(), span.k_first + span.k_rows.len());
        let mut all = vec![0.0; heads * rows * keys];
        for (row, (positions, probs)) in choices.by_ref().take(rows).enumerate() {
            for head in 0..heads {
                for (position, prob) in positions.iter().zip(&probs[head * positions.len()..]) {
                    all[(head * rows + row) * keys + position] = *prob;
                }
            }
        }
        AttentionMap { sequence, heads, rows, keys, probs: all }
    };
    memory.spans.iter().zip(&memory.sequences).map(map).collect()
}

/// The rows that a memory's plane holds, for every sequence; none where it has no plane.
fn past<'a>(states: &'a [&'a mut SequenceState], layer: usize, memory: &Memory) -> Vec<Vec<Run<'a>>> {
    let Some(plane) = memory.plane else { return Vec::new() };
    states.iter().map(|state| state.layer(layer).plane(plane).runs()).collect()
}
