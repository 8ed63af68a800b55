//! Points about state: its bytes, where it lies, and going back.

use super::Verdict;
use super::candidate::{Candidate, Chunk, Desk, Text};
use super::compare::{bound, close, same};
use super::schedule::storages;
use crate::mechanism::Oracle;
use attendant_core::{Error, Random};
use attendant_state::{Dtype, Growth, Rings, SequenceState, Storage};

/// Point 3: after every call of a random history, in every store, the bytes allocated are those that the planes declare.
///
/// # Errors
/// In which store and at which position they differ.
pub fn declared_bytes<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(1);
    let layout = candidate.layout();
    for (round, storage) in storages().into_iter().enumerate() {
        let mut random = Random::at(candidate.seed, "declared_bytes", round as u64);
        let lengths = [1 + random.below(60), 1 + random.below(20)];
        let texts = candidate.texts(&mut random, &lengths);
        let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(storage)).collect();
        let schedule = candidate.schedule(&mut random, &texts);
        candidate.follow(&desk, &texts, &mut states, &schedule, |states| {
            for (state, text) in states.iter().zip(&texts) {
                let tokens = state.position();
                let source = if tokens > 0 { text.source_rows } else { 0 };
                let (want, got) = (layout.bytes(tokens, source, storage), state.allocated_bytes());
                if got != want {
                    return Err(format!("{storage:?} at {tokens} tokens: declared {want} bytes, allocated {got}"));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Point 7: the same history over contiguous memory, pages of 1, 3 and 16 rows, with rings and without, gives the same bits;
/// and over stores of fewer bits what their step allows.
///
/// # Errors
/// Which two stores differ, and where.
pub fn stores_agree<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(1);
    let mut random = Random::new(candidate.seed, "stores_agree");
    let texts = candidate.texts(&mut random, &[50, 17, 3]);
    let schedule = candidate.schedule(&mut random, &texts);
    let mut first: Option<(Storage, Vec<f32>)> = None;
    for storage in storages() {
        let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(storage)).collect();
        let got = candidate.follow(&desk, &texts, &mut states, &schedule, |_| Ok(()))?.concat();
        match &first {
            Some((other, want)) => same(&format!("{storage:?} against {other:?}, chunks {schedule:?}"), &got, want)?,
            None => first = Some((storage, got)),
        }
    }
    let want: Vec<f64> = first.iter().flat_map(|(_, want)| want).map(|&want| want.into()).collect();
    let bounds = [
        (Dtype::F16, bound::F16_STORE),
        (Dtype::Bf16, bound::BF16_STORE),
        (Dtype::Int8, bound::INT8_STORE),
        (Dtype::Int4, bound::INT4_STORE),
    ];
    for (dtype, bound) in bounds {
        let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(Storage::paged(3).dtype(dtype))).collect();
        let got = candidate.follow(&desk, &texts, &mut states, &schedule, |_| Ok(()))?.concat();
        close(&format!("{dtype:?}, chunks {schedule:?}"), &got, &want, bound)?;
    }
    Ok(())
}

/// Point 8: a fork, a truncated state and a state rewound to a snapshot continue as if never interrupted, bit for bit.
/// Truncation may be refused, with an error that names the plane, only for constant planes and for rings that have wrapped.
///
/// # Errors
/// In which store, after what, and which value differs.
pub fn rewinding<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    for (round, storage) in storages().into_iter().enumerate() {
        let mut random = Random::at(candidate.seed, "rewinding", round as u64);
        let text = candidate.text(&mut random, 30, 1.0);
        let interruption = Interruption::new(candidate, storage, &text, &mut random);
        interruption.check().map_err(|why| format!("{storage:?}, interrupted at {}: {why}", interruption.cut))?;
    }
    Ok(())
}

/// A text that is interrupted at `cut`, goes astray for some rows of another one, and comes back.
struct Interruption<'a, M> {
    candidate: &'a Candidate<'a, M>,
    desk: Desk,
    storage: Storage,
    text: &'a Text,
    astray: Text,
    cut: usize,
}

impl<'a, M: Oracle> Interruption<'a, M> {
    fn new(candidate: &'a Candidate<'a, M>, storage: Storage, text: &'a Text, random: &mut Random) -> Self {
        let cut = if candidate.whole() { 0 } else { 1 + random.below(20) };
        let rows = if candidate.whole() { 9 } else { cut + [1, 2, 17][random.below(3)] };
        let astray = Text { source: text.source.clone(), source_rows: text.source_rows, ..candidate.text(random, rows, 1.0) };
        Interruption { candidate, desk: Desk::new(1), storage, text, astray, cut }
    }

    fn step(&self, state: &mut SequenceState, text: &Text, rows: std::ops::Range<usize>) -> Result<Vec<f32>, String> {
        self.candidate.call(&self.desk, &[Chunk { text, rows }], &mut [state])
    }

    /// The rest of the text, in two calls if it may be cut.
    fn finish(&self, state: &mut SequenceState) -> Result<Vec<f32>, String> {
        if self.candidate.whole() {
            return self.step(state, self.text, 0..self.text.rows);
        }
        let middle = self.text.rows - 3;
        let mut y = self.step(state, self.text, self.cut..middle)?;
        y.extend(self.step(state, self.text, middle..self.text.rows)?);
        Ok(y)
    }

    fn check(&self) -> Verdict {
        let mut state = self.candidate.empty(self.storage);
        if self.cut > 0 {
            self.step(&mut state, self.text, 0..self.cut)?;
        }
        let snapshot = state.snapshot();
        let mut forked = state.fork();
        let mut to_truncate = state.fork();
        let mut astray = state.fork();
        let want = self.finish(&mut state)?;

        self.step(&mut astray, &self.astray, self.cut..self.astray.rows)?;
        same("a fork", &self.finish(&mut forked)?, &want)?;
        astray.rewind(&snapshot);
        same("rewound", &self.finish(&mut astray)?, &want)?;
        state.rewind(&snapshot);
        same("rewound after the end", &self.finish(&mut state)?, &want)?;
        self.check_truncation(&mut to_truncate, &want)
    }

    fn check_truncation(&self, state: &mut SequenceState, want: &[f32]) -> Verdict {
        self.step(state, &self.astray, self.cut..self.astray.rows)?;
        match state.truncate(self.cut) {
            Ok(()) => same("truncated", &self.finish(state)?, want),
            Err(Error::State { plane, .. }) if self.may_refuse(&plane) => Ok(()),
            Err(why) => Err(format!("truncation refused: {why}")),
        }
    }

    fn may_refuse(&self, name: &str) -> bool {
        let layout = self.candidate.layout();
        layout.planes().iter().any(|plane| match plane.growth {
            Growth::Constant => plane.name == name && self.cut > 0,
            Growth::Ring { window, keep } => {
                let wrapped = self.storage.rings == Rings::Overwrite && self.astray.rows > window + keep;
                plane.name == name && wrapped
            }
            _ => false,
        })
    }
}
