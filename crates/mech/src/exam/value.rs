//! Points about values: outputs and gradients against the oracle.

use super::Verdict;
use super::candidate::{Candidate, Chunk, Desk, Text};
use super::compare::{bound, close_to_scale, finite, rms};
use super::schedule::storages;
use crate::mechanism::Oracle;
use attendant_core::{Random, Tensor};
use attendant_state::{Rings, SequenceState, Storage};
use std::sync::Arc;

/// Lengths of the texts that gradients are compared on: one row, one past the smallest tiles, and one past windows.
const GRADIENT_LENGTHS: [usize; 3] = [1, 17, 6];

/// Point 1: whole sequences of odd lengths, in one call without a state, give what the oracle gives.
///
/// # Errors
/// Which sequence, and how far it is off.
pub fn equals_oracle<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(2);
    let mut random = Random::new(candidate.seed, "equals_oracle");
    let texts = candidate.texts(&mut random, &[1, 3, 17, 33, 65]);
    let chunks: Vec<_> = texts.iter().map(Text::whole).collect();
    let y = candidate.call(&desk, &chunks, &mut [])?;
    let wants: Vec<_> = texts.iter().map(|text| candidate.oracle(text)).collect();
    let scale = rms(wants.iter().flatten().copied());
    let mut y = y.as_slice();
    for (text, want) in texts.iter().zip(&wants) {
        let got = y.split_off(..text.rows * candidate.width()).ok_or("fewer outputs than rows")?;
        close_to_scale(&format!("{} rows", text.rows), got, want, scale, bound::VALUES)?;
    }
    Ok(())
}

/// Point 2: random chunks of ragged batches, sequences coming and going, over any store, give what the oracle gives.
///
/// # Errors
/// Which sequence of which schedule, and how far it is off.
pub fn any_chunking<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(2);
    for round in 0..4 {
        chunked(candidate, &desk, &mut Random::at(candidate.seed, "any_chunking", round), round as usize)?;
    }
    Ok(())
}

pub(super) fn chunked<M: Oracle>(candidate: &Candidate<'_, M>, desk: &Desk, random: &mut Random, round: usize) -> Verdict {
    // One text is long enough for every ring to wrap, and even rounds are over stores that forget.
    let lengths = [50, [1, 3, 17][random.below(3)], [33, 40, 50][random.below(3)]];
    let texts = candidate.texts(random, &lengths);
    let rings = [Rings::Overwrite, Rings::KeepAll][round % 2];
    let storages: Vec<_> = storages().into_iter().filter(|storage| storage.rings == rings).collect();
    let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(storages[random.below(storages.len())])).collect();
    let schedule = candidate.schedule(random, &texts);
    let outputs = candidate.follow(desk, &texts, &mut states, &schedule, |_| Ok(()))?;
    let wants: Vec<_> = texts.iter().map(|text| candidate.oracle(text)).collect();
    let scale = rms(wants.iter().flatten().copied());
    for (((text, got), want), state) in texts.iter().zip(&outputs).zip(&wants).zip(&states) {
        let what = format!("{} rows in {:?}, chunks {schedule:?}", text.rows, state.storage());
        close_to_scale(&what, got, want, scale, bound::VALUES)?;
    }
    Ok(())
}

/// Point 4: gradients of every input and parameter, of whole sequences against dual numbers, and over a past that stays as
/// it is: those of the inputs against dual numbers, those of parameters against differences.
///
/// # Errors
/// Which gradient, and how far it is off.
pub fn gradients<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(2);
    whole_gradients(candidate, &desk)?;
    if candidate.whole() { Ok(()) } else { gradients_over_a_past(candidate, &desk) }
}

pub(super) fn whole_gradients<M: Oracle>(candidate: &Candidate<'_, M>, desk: &Desk) -> Verdict {
    let mut random = Random::new(candidate.seed, "gradients");
    let texts = candidate.texts(&mut random, &GRADIENT_LENGTHS);
    let chunks: Vec<_> = texts.iter().map(Text::whole).collect();
    let weights = weights(candidate, &mut random, GRADIENT_LENGTHS.iter().sum());
    let got = candidate.record(desk, &chunks, &mut [], &weights)?.gradients;
    let want = candidate.exact_gradients(&texts, &weights);
    let largest = want.iter().map(|(_, want)| rms(want.iter().copied())).fold(0.0, f64::max);
    for ((name, got), (_, want)) in got.iter().zip(&want) {
        let scale = scale_of(want, largest);
        close_to_scale(&format!("gradient of {name}"), got, want, scale, bound::GRADIENTS)?;
    }
    Ok(())
}

/// The size that an error is measured by: the gradient's own, and at least a tenth of the largest one, because a small
/// gradient is a sum of larger terms that cancel. An error of 1% still shows in every gradient above 1e-4 of the largest.
fn scale_of(gradient: &[f64], largest: f64) -> f64 {
    rms(gradient.iter().copied()).max(largest / 10.0)
}

/// A first chunk that only fills the planes, then a second that records over them.
fn gradients_over_a_past<M: Oracle>(candidate: &Candidate<'_, M>, desk: &Desk) -> Verdict {
    let mut random = Random::new(candidate.seed, "gradients over a past");
    let texts = candidate.texts(&mut random, &[12, 9]);
    let cuts = [7, 4];
    let mut filled: Vec<_> = texts.iter().map(|_| candidate.empty(Storage::paged(3))).collect();
    let before: Vec<_> = texts.iter().zip(cuts).map(|(text, cut)| Chunk { text, rows: 0..cut }).collect();
    candidate.call(desk, &before, &mut filled.iter_mut().collect::<Vec<_>>())?;
    let chunks: Vec<_> = texts.iter().zip(cuts).map(|(text, cut)| Chunk { text, rows: cut..text.rows }).collect();
    let weights = weights(candidate, &mut random, chunks.iter().map(|chunk| chunk.rows.len()).sum());
    let got = candidate.record(desk, &chunks, &mut fork(&filled).iter_mut().collect::<Vec<_>>(), &weights)?.gradients;

    // Rows of the second chunk do not act through the planes: the oracle of the whole text knows their gradient.
    let (mut padded, mut rest) = (Vec::new(), weights.as_slice());
    for chunk in &chunks {
        padded.resize(padded.len() + chunk.rows.start * candidate.width(), 0.0);
        padded.extend_from_slice(rest.split_off(..chunk.rows.len() * candidate.width()).expect("a weight for every output"));
    }
    let want = candidate.exact_gradient_of_x(&texts, &padded);
    let (mut of_chunks, mut rest) = (Vec::new(), want.as_slice());
    for chunk in &chunks {
        let of_text = rest.split_off(..chunk.text.rows * candidate.width()).expect("a gradient for every input");
        of_chunks.extend_from_slice(&of_text[chunk.rows.start * candidate.width()..]);
    }
    let largest = got.iter().map(|(_, gradient)| rms(gradient.iter().map(|&g| g.into()))).fold(0.0, f64::max);
    let scale = scale_of(&of_chunks, largest);
    close_to_scale("gradient of x over a past", &got[0].1, &of_chunks, scale, bound::GRADIENTS)?;

    // Where something is chosen a loss jumps as parameters move, and differences say nothing.
    if texts.iter().any(|text| candidate.chooses(text)) {
        return Ok(());
    }
    let norm = |gradient: &[f32]| rms(gradient.iter().map(|&g| g.into())) * (gradient.len() as f64).sqrt();
    let longest = got.iter().map(|(_, gradient)| norm(gradient)).fold(0.0, f64::max);
    for (index, (name, tensor)) in candidate.parameters.iter().enumerate() {
        let (_, gradient) = got.iter().find(|(known, _)| known == name).expect("a recorded call gives every gradient");
        let mut line = vec![0.0; tensor.data().len()];
        random.fill_normal(&mut line, 1.0);
        let slope: f64 = gradient.iter().zip(&line).map(|(&g, &l)| f64::from(g) * f64::from(l)).sum();
        // A slope along a normal line is as large as the gradient is long; rounding of the losses is as large for all.
        let scale = norm(gradient).max(longest / 100.0);
        let what = format!("slope of {name} over a past");
        // A kink nearby spoils a long step, rounding a short one; the slope must agree with one of them.
        let verdicts = [1.0 / 128.0, 1.0 / 512.0].map(|step| {
            let want = slope_along(candidate, desk, &chunks, &filled, &weights, (index, &line), step)?;
            close_to_scale(&what, &[slope as f32], &[want], scale, bound::DIFFERENCES)
        });
        let [long, short] = verdicts;
        long.or(short)?;
    }
    Ok(())
}

/// The slope of the loss as one parameter moves along a line, by differences of sixth order.
fn slope_along<M: Oracle>(
    candidate: &Candidate<'_, M>,
    desk: &Desk,
    chunks: &[Chunk<'_>],
    states: &[SequenceState],
    weights: &[f32],
    (index, line): (usize, &[f32]),
    step: f32,
) -> Result<f64, String> {
    let loss_at = |steps: f32| -> Result<f64, String> {
        let mut moved = Candidate { parameters: candidate.parameters.clone(), ..*candidate };
        let (name, tensor) = &candidate.parameters[index];
        let values: Vec<f32> = tensor.data().iter().zip(line).map(|(value, line)| value + steps * step * line).collect();
        moved.parameters[index] = (*name, Arc::new(Tensor::new(tensor.shape(), &values)));
        let y = moved.call(desk, chunks, &mut fork(states).iter_mut().collect::<Vec<_>>())?;
        Ok(y.iter().zip(weights).map(|(&y, &weight)| f64::from(y) * f64::from(weight)).sum())
    };
    let mut difference = 0.0;
    for (steps, weight) in [(1.0, 45.0), (2.0, -9.0), (3.0, 1.0)] {
        difference += weight * (loss_at(steps)? - loss_at(-steps)?);
    }
    Ok(difference / (60.0 * f64::from(step)))
}

fn fork(states: &[SequenceState]) -> Vec<SequenceState> {
    states.iter().map(SequenceState::fork).collect()
}

pub(super) fn weights<M: Oracle>(candidate: &Candidate<'_, M>, random: &mut Random, rows: usize) -> Vec<f32> {
    let mut weights = vec![0.0; rows * candidate.width()];
    random.fill_normal(&mut weights, 1.0);
    weights
}

/// Point 12: inputs a hundred and ten thousand times their usual size, which make scores of 1e4 and 1e8, give finite outputs
/// and gradients.
///
/// # Errors
/// What is not finite, and where.
pub fn extreme<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(2);
    for scale in [100.0, 10_000.0] {
        let mut random = Random::new(candidate.seed, "extreme");
        let texts = [1, 3, 33].map(|rows| candidate.text(&mut random, rows, scale));
        let chunks: Vec<_> = texts.iter().map(Text::whole).collect();
        finite(&format!("outputs of inputs of {scale}"), &candidate.call(&desk, &chunks, &mut [])?)?;
        let weights = weights(candidate, &mut random, 37);
        let recorded = candidate.record(&desk, &chunks, &mut [], &weights)?;
        finite(&format!("recorded outputs of inputs of {scale}"), &recorded.y)?;
        for (name, gradient) in &recorded.gradients {
            finite(&format!("gradient of {name} of inputs of {scale}"), gradient)?;
        }
        let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(Storage::paged(3))).collect();
        let schedule = candidate.schedule(&mut random, &texts);
        for y in candidate.follow(&desk, &texts, &mut states, &schedule, |_| Ok(()))? {
            finite(&format!("outputs in chunks of inputs of {scale}"), &y)?;
        }
    }
    Ok(())
}
