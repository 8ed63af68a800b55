//! How it was measured, and what must not be read into it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::escape::markup;
use crate::comparison::{Comparison, Hold, Outcome};
use crate::config::PrecisionKind;
use crate::number;
use crate::sentence::counted;

/// What was held equal, with how nearly that succeeded.
pub(super) fn held(comparison: &Comparison) -> String {
    let parameters = comparison.mechanisms.iter().map(|outcome| outcome.parameters as f64);
    let state =
        comparison.mechanisms.iter().filter(|outcome| outcome.failure.is_none()).map(|outcome| outcome.cache_bytes_per_token);
    match comparison.held {
        Hold::Params => format!("parameters ({})", extent(parameters, number::compact)),
        Hold::State => {
            format!(
                "state bytes per token ({}), not parameters ({})",
                extent(state, number::bytes),
                extent(parameters, number::compact)
            )
        }
        Hold::None => format!("nothing (parameters {})", extent(parameters, number::compact)),
    }
}

fn extent(values: impl Iterator<Item = f64>, show: fn(f64) -> String) -> String {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (value.min(low), value.max(high)));
    match high - low {
        nothing if !nothing.is_finite() => number::MISSING.to_owned(),
        0.0 => format!("{} for all", show(low)),
        _ => format!("{} to {}, {:.1}% apart", show(low), show(high), (high - low) / high * 100.0),
    }
}

/// A definition list of the conditions.
pub(super) fn method(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let mut list = "<dl class=\"method\">\n".to_owned();
    let mut entry = |term: &str, text: &str| {
        let _ = writeln!(list, "<div><dt>{term}</dt><dd>{}</dd></div>", markup(text));
    };
    entry("Data", &format!("text “{}”, a vocabulary of {} tokens", comparison.text, number::whole(comparison.vocabulary as f64)));
    entry("Held equal", &held(comparison));
    entry("Training", &training(comparison));
    entry("Precision", precision(comparison));
    entry("Seeds", &seeds(comparison));
    entry("Learning rates", &learning_rates(comparison));
    entry("Cache bytes", "counted from what the stores allocated, all layers together");
    entry("Decode speed", "tokens per second at each context length; bars span the slowest and the fastest repetition");
    entry("Machine", &format!("{}, {}, {}", machine.cpu, counted(machine.threads, "thread"), machine.isa));
    entry("Made", &format!("attendant {}, {}", comparison.version, comparison.created));
    list.push_str("</dl>\n");
    list
}

fn training(comparison: &Comparison) -> String {
    let last = |outcome: &Outcome| outcome.curves.iter().flat_map(|curve| &curve.points).map(|point| point.tokens).max();
    let sound = comparison.mechanisms.iter().filter(|outcome| outcome.failure.is_none());
    let tokens: BTreeSet<u64> = sound.filter_map(last).collect();
    match (tokens.first(), tokens.last()) {
        (Some(least), Some(most)) if least == most => {
            format!("{} tokens for each mechanism and seed", number::compact(*most as f64))
        }
        (Some(least), Some(most)) => format!("{} to {} tokens", number::compact(*least as f64), number::compact(*most as f64)),
        _ => "no curve was recorded".to_owned(),
    }
}

fn precision(comparison: &Comparison) -> &'static str {
    match comparison.precision {
        PrecisionKind::Bf16 => {
            "weights, what they multiply, and what attention multiplies rounded to bf16 in training; sums, weights kept and validation in f32"
        }
        _ => "f32 throughout",
    }
}

fn seeds(comparison: &Comparison) -> String {
    let seeds: BTreeSet<u64> =
        comparison.mechanisms.iter().flat_map(|outcome| outcome.curves.iter().map(|curve| curve.seed)).collect();
    let listed = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let count = counted(comparison.seeds(), "seed");
    let listed = if listed.is_empty() { String::new() } else { format!(" ({listed})") };
    let interval = if comparison.seeds() > 1 {
        "; intervals are 95% of Student’s t over them, those of differences Welch’s"
    } else {
        "; so there are no intervals"
    };
    format!("{count}{listed}{interval}")
}

fn learning_rates(comparison: &Comparison) -> String {
    let rate = |outcome: &Outcome| format!("{} {}", outcome.name, number::learning_rate(outcome.learning_rate));
    comparison.mechanisms.iter().map(rate).collect::<Vec<_>>().join(", ")
}

/// A list of conclusions that the data does not carry.
pub(super) fn cautions(comparison: &Comparison) -> String {
    let largest = comparison.mechanisms.iter().map(|outcome| outcome.parameters).max().unwrap_or(0);
    let seeds = comparison.seeds();
    let mut list = "<ul class=\"cautions\">\n".to_owned();
    let mut caution = |text: String| {
        let _ = writeln!(list, "<li>{}</li>", markup(&text));
    };
    caution(format!(
        "This is a toy: {} parameters at most, where models in use have thousands of times as many. \
         An ordering here is no law of size.",
        number::compact(largest as f64)
    ));
    if seeds > 1 {
        caution(format!(
            "A difference that could be chance does not show that two mechanisms are equal, only that {} cannot tell them apart.",
            counted(seeds, "seed")
        ));
    } else {
        caution("With a single seed no difference in loss can be told from chance.".to_owned());
    }
    if comparison.mechanisms.len() > 2 {
        caution(
            "The more mechanisms stand side by side, the likelier one difference passes for more than chance by luck.".to_owned(),
        );
    }
    if !matches!(comparison.held, Hold::Params) {
        caution("Parameters were not held equal: a lower loss may come from a larger model.".to_owned());
    }
    caution(format!(
        "Speeds are of this machine ({}); on another, and most of all on an accelerator, ratios differ.",
        comparison.machine.cpu
    ));
    caution(format!("One text (“{}”) and one tokenisation were used; another may favour another mechanism.", comparison.text));
    list.push_str("</ul>\n");
    list
}
