//! Random histories of several sequences: calls, forks, snapshots, truncations, failed calls, files.

use crate::cases::{any_layouts, any_paging, every_storage, for_random_cases, pick};
use crate::model::Model;
use attendant_core::Random;
use attendant_state::{SequenceState, Snapshot, StateLayout};

struct History {
    layouts: Vec<StateLayout>,
    sequences: Vec<(SequenceState, Model)>,
    snapshots: Vec<(Snapshot, Model)>,
}

impl History {
    fn step(&mut self, random: &mut Random) {
        let chosen = random.below(self.sequences.len());
        let room = self.sequences.len() < 4;
        let (state, model) = &mut self.sequences[chosen];
        match random.below(8) {
            0 if room => {
                let fork = (state.fork(), model.clone());
                self.sequences.push(fork);
            }
            1 => self.snapshots.push((state.snapshot(), model.clone())),
            2 if !self.snapshots.is_empty() => {
                let (snapshot, then) = &self.snapshots[random.below(self.snapshots.len())];
                if then.storage == model.storage {
                    assert_eq!(snapshot.position(), then.position);
                    state.rewind(snapshot);
                    *model = then.clone();
                }
            }
            3 => truncate(state, model, random.below(model.position + 2)),
            4 => fail(state, model, random),
            5 => {
                let paging = any_paging(random);
                let mut bytes = Vec::new();
                state.write(&mut bytes).expect("a vector takes everything");
                model.compact(paging);
                *state = SequenceState::read(&*bytes, &self.layouts, model.storage).expect("what was written is read");
            }
            _ => {
                let tokens = pick(random, &[1, 1, 1, 3, 17, 63, 65]);
                model.append(state, random, tokens);
                model.advance(state, tokens);
            }
        }
    }
}

/// Truncates if the model says that it must be possible, and expects a refusal that changes nothing if not.
fn truncate(state: &mut SequenceState, model: &mut Model, position: usize) {
    let allowed = model.may_truncate(position);
    let result = state.truncate(position);
    assert_eq!(result.is_ok(), allowed, "to {position} of {} in {:?}: {result:?}", model.position, model.storage);
    match result {
        Ok(()) => model.truncate(position),
        Err(why) => {
            let why = why.to_string();
            assert!(why.contains("rewind to a snapshot") || position > model.position && why.contains("tokens"), "{why}");
        }
    }
}

/// A call that appends and does not advance: truncating takes it back where that is possible, a snapshot always.
fn fail(state: &mut SequenceState, model: &mut Model, random: &mut Random) {
    let (snapshot, then) = (state.snapshot(), model.clone());
    let tokens = pick(random, &[1, 3, 65]);
    model.append(state, random, tokens);
    model.verify(state, random);
    let possible = model.may_truncate(model.position);
    truncate(state, model, model.position);
    if !possible {
        state.rewind(&snapshot);
        *model = then;
    }
}

#[test]
fn every_storage_holds_what_the_model_holds() {
    for storage in every_storage() {
        for_random_cases(4, |random| {
            let layouts = any_layouts(random);
            let first = (SequenceState::new(&layouts, storage), Model::new(&layouts, storage));
            let mut history = History { layouts, sequences: vec![first], snapshots: Vec::new() };
            for _ in 0..40 {
                history.step(random);
                for (state, model) in &history.sequences {
                    model.verify(state, random);
                }
            }
        });
    }
}
