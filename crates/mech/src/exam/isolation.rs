//! Points about what must not matter: later rows, other sequences, threads, instruction sets, what memory held before, how parameters lie.

use super::Verdict;
use super::candidate::{Candidate, Desk, Text};
use super::compare::same;
use super::value::{chunked, weights, whole_gradients};
use crate::card::Order;
use crate::mechanism::Oracle;
use attendant_core::kernels::Isa;
use attendant_core::{Processor, Random};
use attendant_state::Storage;
use std::ops::Range;

/// Point 5: rows of another content, ten times as large, after a row of a causal mechanism change no bit of its output. If
/// the declared order is another one, the rows that it names do change it.
///
/// # Errors
/// After which row, and which value changed; or that the order declared is not the order found.
pub fn causality<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(1);
    let mut random = Random::new(candidate.seed, "causality");
    let width = candidate.width();
    let text = candidate.text(&mut random, 35, 1.0);
    let want = candidate.call(&desk, &[text.whole()], &mut [])?;
    let mut reaches_back = false;
    for last in [0, 1, 3, 16, 33] {
        let mut changed = text.clone();
        random.fill_normal(&mut changed.x[(last + 1) * width..], 10.0);
        let got = candidate.call(&desk, &[changed.whole()], &mut [])?;
        let earlier = ..(last + 1) * width;
        match candidate.mechanism.order() {
            Order::Bidirectional => reaches_back |= got[earlier] != want[earlier],
            _ => same(&format!("outputs up to row {last}, later rows changed"), &got[earlier], &want[earlier])?,
        }
    }
    match candidate.mechanism.order() {
        Order::Bidirectional if !reaches_back => Err("declared bidirectional, but no later row changes an earlier output".into()),
        Order::Cross => reads_its_source_alone(candidate, &desk, &text, &want, &mut random),
        _ => Ok(()),
    }
}

fn reads_its_source_alone<M: Oracle>(
    candidate: &Candidate<'_, M>,
    desk: &Desk,
    text: &Text,
    want: &[f32],
    random: &mut Random,
) -> Verdict {
    let (width, row) = (candidate.width(), 17);
    let mut earlier = text.clone();
    random.fill_normal(&mut earlier.x[..row * width], 10.0);
    let got = candidate.call(desk, &[earlier.whole()], &mut [])?;
    same("outputs, earlier rows changed", &got[row * width..], &want[row * width..])?;
    let mut other = text.clone();
    random.fill_normal(&mut other.source, 1.0);
    let got = candidate.call(desk, &[other.whole()], &mut [])?;
    match (0..text.rows).find(|row| got[row * width..(row + 1) * width] == want[row * width..(row + 1) * width]) {
        Some(row) => Err(format!("declared to read a source, but another source leaves row {row} as it was")),
        None => Ok(()),
    }
}

/// Point 6: other sequences in the batch, before and after, of other content and length, change no bit, over several calls.
///
/// # Errors
/// Beside which neighbours, and which value changed.
pub fn neighbour<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(2);
    let mut random = Random::new(candidate.seed, "neighbour");
    let text = candidate.text(&mut random, 37, 1.0);
    let alone = candidate.schedule(&mut random, std::slice::from_ref(&text));
    let mut states = [candidate.empty(Storage::paged(3))];
    let want = candidate.follow(&desk, std::slice::from_ref(&text), &mut states, &alone, |_| Ok(()))?;
    for neighbours in [[1, 3], [40, 17], [3, 65]] {
        let [before, after] = neighbours.map(|rows| candidate.text(&mut random, rows, 3.0));
        let texts = [before, text.clone(), after];
        // A share of each neighbour beside every call: a leak into one call alone may be lost to rounding.
        let share = |which: usize, i: usize| {
            let rows = |i: usize| texts[which].rows * i / alone.len();
            Some((which, rows(i)..rows(i + 1))).filter(|(_, rows)| !rows.is_empty())
        };
        let beside = |(i, call): (usize, &Vec<(usize, Range<usize>)>)| {
            let own = call.iter().map(|(_, rows)| (1, rows.clone()));
            share(0, i).into_iter().chain(own).chain(share(2, i)).collect::<Vec<_>>()
        };
        let schedule: Vec<_> = alone.iter().enumerate().map(beside).collect();
        let mut states = [0; 3].map(|_| candidate.empty(Storage::paged(3)));
        let got = candidate.follow(&desk, &texts, &mut states, &schedule, |_| Ok(()))?;
        same(&format!("beside {neighbours:?} rows, schedule {schedule:?}"), &got[1], &want[0])?;
    }
    Ok(())
}

/// Point 9: forward in chunks and backward give the same bits on 1, 2 and 3 threads.
///
/// # Errors
/// On how many threads, and which value differs.
pub fn threads<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desks: Vec<_> = [1, 2, 3].map(|threads| (format!("{threads} threads"), Desk::new(threads))).into();
    alike(candidate, &desks)
}

/// Point 11: memory full of NaN before every use changes no bit, forward in chunks and backward.
///
/// # Errors
/// Which value differs.
pub fn poisoned<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let clean = Desk::new(2);
    let desks = [("clean".into(), clean.clone()), ("poisoned".into(), Desk { poisoned: true, ..clean })];
    alike(candidate, &desks)
}

/// Point 13: parameters that are declared whole change no bit where they are packed, as those of a published model may be.
///
/// # Errors
/// Which value differs; or that values of such a parameter were asked for.
pub fn packed<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    let desk = Desk::new(1);
    let mut random = Random::new(candidate.seed, "packed");
    let texts = candidate.texts(&mut random, &[33, 1, 17]);
    let schedule = candidate.schedule(&mut random, &texts);
    let outputs = |candidate: &Candidate<'_, M>| {
        let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(Storage::paged(16))).collect();
        Ok::<_, String>(candidate.follow(&desk, &texts, &mut states, &schedule, |_| Ok(()))?.concat())
    };
    same(&format!("packed, chunks {schedule:?}"), &outputs(&candidate.packed(&desk))?, &outputs(candidate)?)
}

/// The same bits at every desk: outputs over a schedule, and outputs and gradients of a recorded call.
fn alike<M: Oracle>(candidate: &Candidate<'_, M>, desks: &[(String, Desk)]) -> Verdict {
    let mut random = Random::new(candidate.seed, "alike");
    let texts = candidate.texts(&mut random, &[33, 1, 17, 40]);
    let schedule = candidate.schedule(&mut random, &texts);
    let chunks: Vec<_> = texts.iter().map(Text::whole).collect();
    let weights = weights(candidate, &mut random, texts.iter().map(|text| text.rows).sum());
    let mut answers = Vec::new();
    for (name, desk) in desks {
        let mut states: Vec<_> = texts.iter().map(|_| candidate.empty(Storage::paged(16))).collect();
        let outputs = candidate.follow(desk, &texts, &mut states, &schedule, |_| Ok(()))?;
        let recorded = candidate.record(desk, &chunks, &mut [], &weights)?;
        answers.push((name, outputs.concat(), recorded));
    }
    let (_, outputs, recorded) = &answers[0];
    for (name, got_outputs, got) in &answers[1..] {
        same(&format!("{name}: outputs, chunks {schedule:?}"), got_outputs, outputs)?;
        same(&format!("{name}: recorded outputs"), &got.y, &recorded.y)?;
        for ((which, got), (_, want)) in got.gradients.iter().zip(&recorded.gradients) {
            same(&format!("{name}: gradient of {which}"), got, want)?;
        }
    }
    Ok(())
}

/// Point 10: every instruction set of this machine holds the bounds of points 2 and 4.
///
/// # Errors
/// Which instruction set, and how far it is off.
pub fn instruction_sets<M: Oracle>(candidate: &Candidate<'_, M>) -> Verdict {
    for isa in Isa::available() {
        let desk = Desk { processor: Processor::with_isa(2, isa), poisoned: true };
        let named = |why| format!("{}: {why}", isa.name());
        chunked(candidate, &desk, &mut Random::new(candidate.seed, "instruction_sets"), 0).map_err(named)?;
        whole_gradients(candidate, &desk).map_err(named)?;
    }
    Ok(())
}
