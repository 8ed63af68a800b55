//! What the data says, in plain sentences. A difference is claimed only where it is more than chance explains.

use crate::comparison::{Comparison, DecodePoint, Hold, Measured, Outcome};
use crate::number;

/// Ratios nearer to one than this read as equal: they would print as `1.00×`.
const SAME_RATIO: f64 = 0.005;

/// One sentence on an outcome of the comparison, relative to [`Comparison::reference`].
#[must_use]
pub fn sentence(comparison: &Comparison, outcome: &Outcome) -> String {
    let text = match (&outcome.failure, comparison.reference()) {
        (Some(failure), _) => format!("{} has no result: {}.", outcome.name, failure.trim_end_matches('.')),
        (None, Some(reference)) if reference.name != outcome.name => relative(outcome, reference),
        _ => standing(comparison, outcome),
    };
    printable(&text)
}

/// The comparison's answer in one sentence: the smallest cache with neither loss nor recall shown to be worse than the
/// reference's; at equal state, the lowest loss.
#[must_use]
pub fn headline(comparison: &Comparison) -> String {
    let Some(reference) = comparison.reference() else {
        return "Nothing was compared.".to_owned();
    };
    if reference.failure.is_some() {
        return "No mechanism has a result.".to_owned();
    }
    let others: Vec<&Outcome> = sound_others(comparison, reference).collect();
    if others.is_empty() {
        return printable(&standing(comparison, reference));
    }
    let text = match comparison.held {
        Hold::Params => format!("At equal parameters, {}", least_harmful(&others, reference)),
        Hold::State => format!("At equal state, {}", least_loss(&others, reference)),
        Hold::None => capitalised(&least_harmful(&others, reference)),
    };
    printable(&text) + "."
}

/// At equal state the caches say nothing; the lowest loss does.
fn least_loss(others: &[&Outcome], reference: &Outcome) -> String {
    let best = others.iter().min_by(|a, b| a.loss.mean.total_cmp(&b.loss.mean));
    best.map_or_else(String::new, |best| loss_against(best, reference))
}

fn least_harmful(others: &[&Outcome], reference: &Outcome) -> String {
    let smaller = others.iter().copied().filter(|other| cache_ratio(other, reference).is_some_and(|ratio| ratio < 1.0));
    let smaller: Vec<&Outcome> = smaller.collect();
    let unharmed = smaller.iter().copied().filter(|other| !loses_loss(other, reference) && !loses_recall(other, reference));
    let least_cache = unharmed.min_by(|a, b| a.cache_bytes_per_token.total_cmp(&b.cache_bytes_per_token));
    let least_loss = smaller.iter().copied().min_by(|a, b| a.loss.mean.total_cmp(&b.loss.mean));
    match (least_cache, least_loss) {
        (Some(best), _) => {
            let (cache, speed) = (cache_clause(best, reference), speed_clause(best, reference));
            format!("{} {cache}{speed}{}", best.name, quality_clause(best, reference))
        }
        (None, Some(mildest)) => {
            let price = if smaller.iter().all(|other| loses_loss(other, reference)) { "loss" } else { "loss or recall" };
            let (cache, cost) = (cache_clause(mildest, reference), cost_clause(mildest, reference));
            format!("every smaller cache costs {price} here; {} {cache}{cost}", mildest.name)
        }
        (None, None) => format!("nothing here keeps a smaller cache than {}", reference.name),
    }
}

fn sound_others<'a>(comparison: &'a Comparison, reference: &'a Outcome) -> impl Iterator<Item = &'a Outcome> {
    comparison.mechanisms.iter().filter(|other| other.failure.is_none() && other.name != reference.name)
}

fn loses_loss(outcome: &Outcome, reference: &Outcome) -> bool {
    outcome.loss.mean > reference.loss.mean && outcome.loss.differs_from(&reference.loss) == Some(true)
}

/// Whether recall was tested but hardly learned: below twice what guessing gives, it says nothing about a mechanism.
fn guesses(outcome: &Outcome) -> bool {
    outcome.recall.as_ref().zip(outcome.recall_chance).is_some_and(|(recall, chance)| recall.mean < 2.0 * chance)
}

/// Recall of both, unless neither learned it: then they do not differ in anything but luck.
fn recalls<'a>(outcome: &'a Outcome, reference: &'a Outcome) -> Option<(&'a Measured, &'a Measured)> {
    let luck = guesses(outcome) && guesses(reference);
    outcome.recall.as_ref().zip(reference.recall.as_ref()).filter(|_| !luck)
}

fn loses_recall(outcome: &Outcome, reference: &Outcome) -> bool {
    let both = recalls(outcome, reference);
    both.is_some_and(|(ours, theirs)| ours.mean < theirs.mean && ours.differs_from(theirs) == Some(true))
}

fn cache_clause(outcome: &Outcome, reference: &Outcome) -> String {
    if outcome.cache_bytes_per_token == 0.0 {
        return format!("keeps {} instead of {}’s growing cache", cache_in_words(outcome), reference.name);
    }
    format!("keeps {} of {}’s cache", share(cache_ratio(outcome, reference)), reference.name)
}

fn speed_clause(outcome: &Outcome, reference: &Outcome) -> String {
    let Some((context, ours, theirs)) = longest_common_decode(outcome, reference) else {
        return String::new();
    };
    let ratio = ours.tokens_per_second / theirs.tokens_per_second;
    let place = number::context(context);
    if ranges_meet(ours, theirs) {
        format!(", decodes no faster or slower at {place} tokens than the timing can tell")
    } else {
        format!(", decodes {} as fast at {place} tokens", number::times(ratio))
    }
}

fn quality_clause(outcome: &Outcome, reference: &Outcome) -> String {
    let seeds = counted(outcome.loss.values.len().min(reference.loss.values.len()), "seed");
    let recalls = recalls(outcome, reference);
    match outcome.loss.differs_from(&reference.loss) {
        Some(true) => {
            let gain = number::nats(reference.loss.mean - outcome.loss.mean);
            format!(", and its loss is {gain} nats per token lower")
        }
        Some(false) => {
            let recall = recalls.is_some_and(|(ours, theirs)| ours.differs_from(theirs) == Some(false));
            format!(", and {seeds} show no difference in loss{}", if recall { " or recall" } else { "" })
        }
        None => format!(", and {seeds} cannot say whether its loss differs"),
    }
}

/// What a smaller cache is paid for with.
fn cost_clause(outcome: &Outcome, reference: &Outcome) -> String {
    let difference = outcome.loss.mean - reference.loss.mean;
    let loss = loses_loss(outcome, reference).then(|| format!("loses {} nats per token", number::nats(difference)));
    let recalls = recalls(outcome, reference).filter(|_| loses_recall(outcome, reference));
    let recall = recalls
        .map(|(ours, theirs)| format!("recalls {}% against {}%", number::percent(ours.mean), number::percent(theirs.mean)));
    [loss, recall].into_iter().flatten().map(|cost| format!(" and {cost}")).collect()
}

/// The figures of an outcome that is compared with nothing.
fn standing(comparison: &Comparison, outcome: &Outcome) -> String {
    let interval = outcome
        .loss
        .interval()
        .map_or_else(String::new, |(low, high)| format!(" (95% {} to {})", number::nats(low), number::nats(high)));
    let mut clauses = vec![
        format!("{} reaches {} nats per token{interval}", outcome.name, number::nats(outcome.loss.mean)),
        format!("keeps {}", cache_in_words(outcome)),
    ];
    if let Some(point) = comparison.contexts().into_iter().rev().find_map(|context| outcome.decode_at(context)) {
        let speed = number::rate(point.tokens_per_second);
        clauses.push(format!("decodes {speed} tokens a second at {} tokens of context", number::context(point.context)));
    }
    if let Some(recall) = &outcome.recall {
        clauses.push(format!("recalls {}%{}", number::percent(recall.mean), luck(outcome)));
    }
    joined(&clauses) + "."
}

fn relative(outcome: &Outcome, reference: &Outcome) -> String {
    let mut clauses = vec![loss_against(outcome, reference), cache_against(outcome, reference)];
    clauses.extend(decode_against(outcome, reference));
    clauses.extend(recall_against(outcome, reference));
    joined(&clauses) + "."
}

fn loss_against(outcome: &Outcome, reference: &Outcome) -> String {
    let (name, other) = (&outcome.name, &reference.name);
    let difference = outcome.loss.mean - reference.loss.mean;
    let size = number::nats(difference.abs());
    let side = if difference > 0.0 { "above" } else { "below" };
    let seeds = outcome.loss.values.len().min(reference.loss.values.len());
    match outcome.loss.differs_from(&reference.loss) {
        _ if !difference.is_finite() => format!("{name} has no loss to hold against {other}’s"),
        Some(true) => {
            let range = extent(&outcome.loss, &reference.loss, number::nats);
            format!("{name}’s loss is {size} nats per token {side} {other}’s, more than chance explains (95% {range})")
        }
        Some(false) => {
            let seeds = counted(seeds, "seed");
            format!("{name}’s loss is {size} nats per token {side} {other}’s, no difference that {seeds} can show")
        }
        None => {
            let seeds = counted(seeds, "seed");
            format!("{name}’s loss is {size} nats per token {side} {other}’s, but {seeds} cannot say whether they differ")
        }
    }
}

/// The 95 % interval of how far two means are apart, the smaller size first.
fn extent(ours: &Measured, theirs: &Measured, show: fn(f64) -> String) -> String {
    let (low, high) = ours.difference(theirs).ends().unwrap_or((f64::NAN, f64::NAN));
    let (near, far) = (low.abs().min(high.abs()), low.abs().max(high.abs()));
    format!("{} to {}", show(near), show(far))
}

fn cache_against(outcome: &Outcome, reference: &Outcome) -> String {
    match cache_ratio(outcome, reference) {
        Some(ratio) if (ratio - 1.0).abs() < SAME_RATIO => "it keeps as many cache bytes per token".to_owned(),
        Some(ratio) if outcome.cache_bytes_per_token > 0.0 => {
            let kept = number::bytes(outcome.cache_bytes_per_token);
            let of = number::bytes(reference.cache_bytes_per_token);
            format!("it keeps {} of the cache bytes per token ({kept} against {of})", share(Some(ratio)))
        }
        _ => format!("it keeps {}", cache_in_words(outcome)),
    }
}

fn cache_in_words(outcome: &Outcome) -> String {
    let constant = number::whole(outcome.constant_bytes as f64);
    match (outcome.cache_bytes_per_token, outcome.constant_bytes) {
        (grows, _) if !grows.is_finite() => "a cache that was not counted".to_owned(),
        (0.0, 0) => "no cache".to_owned(),
        (0.0, _) => format!("{constant} bytes of state whatever the length"),
        (grows, 0) => format!("{} cache bytes per token", number::bytes(grows)),
        (grows, _) => format!("{} cache bytes per token beside {constant} bytes of state", number::bytes(grows)),
    }
}

fn decode_against(outcome: &Outcome, reference: &Outcome) -> Option<String> {
    let (context, ours, theirs) = longest_common_decode(outcome, reference)?;
    let ratio = number::times(ours.tokens_per_second / theirs.tokens_per_second);
    let spread = if ranges_meet(ours, theirs) { ", within the spread of the timings" } else { "" };
    Some(format!("it decodes {ratio} as fast at {} tokens of context{spread}", number::context(context)))
}

/// What to add to a recall that is hardly above guessing.
fn luck(outcome: &Outcome) -> String {
    match outcome.recall_chance.filter(|_| guesses(outcome)) {
        Some(chance) => format!(", hardly above the {}% of guessing", number::percent(chance)),
        None => String::new(),
    }
}

fn recall_against(outcome: &Outcome, reference: &Outcome) -> Option<String> {
    let ours = outcome.recall.as_ref().filter(|recall| recall.mean.is_finite())?;
    let recalled = format!("it recalls {}%", number::percent(ours.mean));
    let Some(theirs) = reference.recall.as_ref().filter(|recall| recall.mean.is_finite()) else {
        return Some(recalled);
    };
    if recalls(outcome, reference).is_none() {
        return Some(format!("{recalled}{}: neither learned the task", luck(outcome)));
    }
    let against = number::percent(theirs.mean);
    let seeds = counted(ours.values.len().min(theirs.values.len()), "seed");
    let verdict = match ours.differs_from(theirs) {
        Some(true) => format!(", more than chance explains (95% {} points)", extent(ours, theirs, number::percent)),
        Some(false) => format!(", no difference that {seeds} can show"),
        None => format!(", but {seeds} cannot say whether they differ"),
    };
    Some(format!("{recalled} against {against}%{verdict}"))
}

/// Cache bytes per token relative to the reference's, when that has any.
pub(crate) fn cache_ratio(outcome: &Outcome, reference: &Outcome) -> Option<f64> {
    let ratio = outcome.cache_bytes_per_token / reference.cache_bytes_per_token;
    ratio.is_finite().then_some(ratio)
}

/// The longest context at which both were timed, with their speeds.
pub(crate) fn longest_common_decode<'a>(a: &'a Outcome, b: &'a Outcome) -> Option<(usize, &'a DecodePoint, &'a DecodePoint)> {
    a.decode
        .iter()
        .filter_map(|point| Some((point.context, a.decode_at(point.context)?, b.decode_at(point.context)?)))
        .max_by_key(|(context, ..)| *context)
}

fn ranges_meet(a: &DecodePoint, b: &DecodePoint) -> bool {
    a.min <= b.max && b.min <= a.max
}

fn share(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if (0.01..1.0).contains(&ratio) => format!("{}%", number::percent(ratio).trim_end_matches(".0")),
        Some(0.0) => "none".to_owned(),
        Some(ratio) => number::times(ratio),
        None => number::MISSING.to_owned(),
    }
}

/// Names come from a configuration and must not steer the terminal that a sentence is printed on.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// `one seed`, `three seeds`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number::word(count))
}

/// Clauses joined by semicolons, so that the commas inside them stay readable.
fn joined(clauses: &[String]) -> String {
    match clauses {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{}; and {last}", most.join("; ")),
    }
}

/// A mechanism's name is written as it is, so only the sentence's own words are capitalised.
fn capitalised(text: &str) -> String {
    for own in ["every", "nothing"] {
        if let Some(rest) = text.strip_prefix(own) {
            return own[..1].to_uppercase() + &own[1..] + rest;
        }
    }
    text.to_owned()
}
