//! Random histories: which sequence gets how many rows in which call.

use super::candidate::{Candidate, Chunk, Desk, Text};
use crate::mechanism::Oracle;
use attendant_core::Random;
use attendant_state::{Rings, SequenceState, Storage};
use std::ops::Range;

/// Chunks that decode, that fall on either side of a kernel's tile, and that are long enough to be expanded.
const CHUNKS: [usize; 8] = [1, 1, 2, 3, 15, 16, 17, 33];

/// Calls, each with the sequences it holds and their new rows.
pub(super) type Schedule = Vec<Vec<(usize, Range<usize>)>>;

/// Every way to store rows in f32, with pages and first rooms of odd sizes.
pub(super) fn storages() -> Vec<Storage> {
    let plain = [Storage::contiguous(64), Storage::contiguous(1), Storage::paged(1), Storage::paged(3), Storage::paged(16)];
    let all = [Rings::Overwrite, Rings::KeepAll].map(|rings| plain.map(|storage| storage.rings(rings)));
    all.as_flattened().to_vec()
}

impl<M: Oracle> Candidate<'_, M> {
    /// A random schedule in which sequences come and go; of one call if sequences must be given whole.
    pub(super) fn schedule(&self, random: &mut Random, texts: &[Text]) -> Schedule {
        if self.whole() {
            return vec![texts.iter().enumerate().map(|(i, text)| (i, 0..text.rows)).collect()];
        }
        let mut done = vec![0; texts.len()];
        let mut calls = Vec::new();
        while texts.iter().zip(&done).any(|(text, done)| text.rows > *done) {
            let mut call = Vec::new();
            for (i, text) in texts.iter().enumerate() {
                let left = text.rows - done[i];
                if left > 0 && random.below(4) > 0 {
                    let rows = CHUNKS[random.below(CHUNKS.len())].min(left);
                    call.push((i, done[i]..done[i] + rows));
                    done[i] += rows;
                }
            }
            if !call.is_empty() {
                calls.push(call);
            }
        }
        calls
    }

    /// Follows a schedule. `after` sees the states after every call. Gives the outputs of every text.
    pub(super) fn follow(
        &self,
        desk: &Desk,
        texts: &[Text],
        states: &mut [SequenceState],
        schedule: &Schedule,
        mut after: impl FnMut(&[SequenceState]) -> Result<(), String>,
    ) -> Result<Vec<Vec<f32>>, String> {
        let mut outputs = vec![Vec::new(); texts.len()];
        for call in schedule {
            let chunks: Vec<_> = call.iter().map(|(i, rows)| Chunk { text: &texts[*i], rows: rows.clone() }).collect();
            let mut present: Vec<_> =
                states.iter_mut().enumerate().filter(|(i, _)| call.iter().any(|(j, _)| i == j)).map(|(_, state)| state).collect();
            let y = self.call(desk, &chunks, &mut present)?;
            let mut y = y.as_slice();
            for (i, rows) in call {
                let width = self.width();
                outputs[*i].extend_from_slice(y.split_off(..rows.len() * width).ok_or("fewer outputs than rows")?);
            }
            after(states)?;
        }
        Ok(outputs)
    }
}
