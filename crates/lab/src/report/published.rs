//! Figures that others published, beside the same ratios here.

use std::fmt::Write as _;

use super::escape::markup;
use crate::comparison::{Comparison, Outcome};
use crate::number;
use crate::sentence::{cache_ratio, longest_common_decode};

/// Ainslie et al. 2023, T5-XXL: seconds per sample and average score over the paper's tasks.
const SHARING: [(&str, &str, f64, f64); 3] =
    [("MHA", "mha", 1.51, 47.2), ("GQA-8", "gqa", 0.28, 47.1), ("MQA", "mqa", 0.24, 46.6)];

/// DeepSeek-V2 2024: thousands of cache elements per token, multi-head attention against MLA.
const LATENT: [(&str, f64, f64); 2] = [("small mixture of experts", 110.6, 15.6), ("large mixture of experts", 860.2, 34.6)];

/// The section's tables, those whose mechanisms were compared here; nothing when none were.
pub(super) fn section(comparison: &Comparison) -> Option<String> {
    let mha = named(comparison, "mha")?;
    let mut section = String::new();
    if named(comparison, "gqa").or_else(|| named(comparison, "mqa")).is_some() {
        sharing(&mut section, comparison, mha);
    }
    if let Some(mla) = named(comparison, "mla") {
        latent(&mut section, mla, mha);
    }
    (!section.is_empty()).then_some(section)
}

fn sharing(section: &mut String, comparison: &Comparison, mha: &Outcome) {
    let context = comparison.contexts().last().map_or_else(|| number::MISSING.to_owned(), |&context| number::context(context));
    let _ = writeln!(
        section,
        "<div class=\"scroll\" role=\"region\" aria-label=\"Shared key heads\" tabindex=\"0\"><table class=\"published\">\n\
         <caption>Shared key heads: Ainslie et al. 2023, arXiv 2305.13245, T5-XXL, beside this comparison</caption>\n\
         <thead><tr><th scope=\"col\">mechanism</th><th scope=\"col\">published, s per sample</th><th scope=\"col\">time, × MHA</th>\
         <th scope=\"col\">average score</th><th scope=\"col\" class=\"ours\">here: time per token at {context}, × mha</th>\
         <th scope=\"col\" class=\"ours\">here: loss, nats above mha</th></tr></thead><tbody>"
    );
    for (label, name, seconds, score) in SHARING {
        let ours = named(comparison, name);
        let time = ours
            .and_then(|ours| longest_common_decode(mha, ours))
            .map(|(_, mha, ours)| mha.tokens_per_second / ours.tokens_per_second);
        let loss = ours.map(|ours| ours.loss.mean - mha.loss.mean);
        let _ = writeln!(
            section,
            "<tr><th scope=\"row\">{label}</th><td>{seconds}</td><td>{}</td><td>{score}</td>\
             <td class=\"ours\">{}</td><td class=\"ours\">{}</td></tr>",
            number::times(seconds / SHARING[0].2),
            time.map_or_else(|| number::MISSING.to_owned(), number::times),
            loss.map_or_else(|| number::MISSING.to_owned(), signed)
        );
    }
    section.push_str("</tbody></table></div>\n");
}

fn latent(section: &mut String, mla: &Outcome, mha: &Outcome) {
    let ours = cache_ratio(mla, mha).map_or_else(|| number::MISSING.to_owned(), number::times);
    let _ = writeln!(
        section,
        "<div class=\"scroll\" role=\"region\" aria-label=\"Latent attention\" tabindex=\"0\"><table class=\"published\">\n\
         <caption>Latent attention: DeepSeek-V2 2024, arXiv 2405.04434, cache elements per token, beside this comparison</caption>\n\
         <thead><tr><th scope=\"col\">model</th><th scope=\"col\">MHA</th><th scope=\"col\">MLA</th><th scope=\"col\">MLA, × MHA</th></tr></thead><tbody>"
    );
    for (label, many, few) in LATENT {
        let ratio = number::times(few / many);
        let _ = writeln!(section, "<tr><th scope=\"row\">{label}</th><td>{many}k</td><td>{few}k</td><td>{ratio}</td></tr>");
    }
    let _ = writeln!(
        section,
        "<tr class=\"ours\"><th scope=\"row\">here: {}, bytes</th><td>{}</td><td>{}</td><td>{ours}</td></tr></tbody></table></div>\n\
         <p>The paper’s often quoted saving of 93.3% is against a 67B model with eight key heads and counts a cache of six bits; by elements \
         it is 34,560 against 243,200, a saving of 85.8%.</p>",
        markup(&mla.name),
        number::bytes(mha.cache_bytes_per_token),
        number::bytes(mla.cache_bytes_per_token)
    );
}

/// The first sound outcome of that name, also with a setting behind it: `gqa`, `gqa-2`, `gqa2`.
fn named<'a>(comparison: &'a Comparison, name: &str) -> Option<&'a Outcome> {
    comparison.mechanisms.iter().filter(|outcome| outcome.failure.is_none()).find(|outcome| {
        let rest = outcome.name.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphabetic()))
    })
}

fn signed(difference: f64) -> String {
    let size = number::nats(difference.abs());
    match difference {
        zero if zero == 0.0 || !zero.is_finite() => size,
        more if more > 0.0 => format!("+{size}"),
        _ => format!("−{size}"),
    }
}
