//! Why reading comes before committing, and what a ring can go back to.

use attendant_core::kernels::attention::Visible;
use attendant_state::{Growth, Plane, PlaneStore, Rings, SequenceState, StateLayout, Storage};
use std::ops::Range;

const SEEN: usize = 5;
const KEEP: usize = 2;

fn plane() -> Plane {
    Plane::new("k", 1, Growth::Ring { window: SEEN - 1, keep: KEEP })
}

fn append(store: &mut PlaneStore, positions: Range<usize>) {
    store.append(&positions.map(|position| position as f32).collect::<Vec<_>>());
}

fn values(store: &PlaneStore) -> Vec<f32> {
    let mut values = Vec::new();
    store.read(&mut values);
    values
}

/// A query that sees `SEEN` keys, its own among them, finds the old ones in a ring of `SEEN - 1` before the chunk is
/// committed. Afterwards the first query of a chunk would not: the chunk's later rows lie where its keys lay.
#[test]
fn the_first_query_of_a_chunk_must_read_before_the_chunk_is_committed() {
    for storage in [Storage::contiguous(1), Storage::contiguous(64), Storage::paged(3)] {
        for chunk in [2, 3, 4, 5, 6, 17] {
            let mut store = PlaneStore::new(plane(), storage);
            append(&mut store, 0..20);
            let old = |query: usize| {
                let spans = Visible::Window { window: SEEN, keep: KEEP }.spans(query, 20 + chunk);
                spans.into_iter().flatten().filter(|&position| position < 20).collect::<Vec<_>>()
            };
            let holds = |store: &PlaneStore, position: usize| store.held().iter().any(|held| held.contains(&position));
            for query in 20..20 + chunk {
                assert!(old(query).iter().all(|&position| holds(&store, position)), "query {query}");
            }
            append(&mut store, 20..20 + chunk);
            assert!(old(20).iter().any(|&position| !holds(&store, position)), "chunk of {chunk}");
        }
    }
}

#[test]
fn a_contiguous_ring_reads_in_at_most_three_runs() {
    let mut store = PlaneStore::new(plane(), Storage::contiguous(64));
    let full = KEEP + SEEN - 1;
    for end in 1..40 {
        append(&mut store, end - 1..end);
        let runs = store.runs();
        let wraps = !(end - KEEP.min(end)).is_multiple_of(SEEN - 1);
        let want = if end > full { 2 + usize::from(wraps) } else { 1 };
        assert_eq!(runs.len(), want, "after {end}: {runs:?}");
    }
}

#[test]
fn a_chunk_longer_than_the_ring_leaves_its_last_rows() {
    for storage in [Storage::contiguous(1), Storage::paged(4)] {
        let mut store = PlaneStore::new(plane(), storage);
        append(&mut store, 0..1);
        append(&mut store, 1..100);
        assert_eq!(values(&store), [0.0, 1.0, 96.0, 97.0, 98.0, 99.0]);
    }
}

#[test]
fn a_ring_goes_back_while_nothing_is_lost() {
    let after = |tokens, rings| {
        let mut state = SequenceState::new(&[StateLayout::new([plane()])], Storage::contiguous(1).rings(rings));
        append(state.layer_mut(0).plane_mut(0), 0..tokens);
        state.advance(tokens);
        state
    };
    let mut whole = after(6, Rings::Overwrite);
    whole.truncate(4).expect("nothing was overwritten");
    assert_eq!(values(whole.layer(0).plane(0)), [0.0, 1.0, 2.0, 3.0]);

    let mut wrapped = after(7, Rings::Overwrite);
    let why = wrapped.truncate(6).expect_err("position 2 was overwritten").to_string();
    assert_eq!(
        why,
        "state k: cannot go back to position 6 of 7: the ring has overwritten rows that it held there; rewind to a snapshot"
    );
    assert_eq!((wrapped.position(), values(wrapped.layer(0).plane(0)).len()), (7, 6));
    wrapped.truncate(2).expect("the first positions stay");
    assert_eq!(values(wrapped.layer(0).plane(0)), [0.0, 1.0]);

    let mut all = after(100, Rings::KeepAll);
    all.truncate(60).expect("everything is kept");
    assert_eq!(values(all.layer(0).plane(0)).len(), 60);
}
