//! Figures that others published, beside the same ratios here.
//!
//! What was published is of certain mechanisms, so here their names are the labels of its tables: a ratio is to `mha` as the
//! papers' are, whatever the comparison's reference is.

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
    let caption = format!(
        "Shared key heads: Ainslie et al. 2023, arXiv 2305.13245, T5-XXL. Times are relative to multi-head attention, here for \
         one token after {context}; losses here are nats above mha’s."
    );
    open_table(section, "Shared key heads", &caption, &["mechanism", "s per sample", "time", "score", "time here", "loss here"]);
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

/// A table up to its first row; headings that end in “here” are of this comparison.
fn open_table(section: &mut String, label: &str, caption: &str, heads: &[&str]) {
    let _ = write!(
        section,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n<table class=\"published\">\n\
         <caption><span>{caption}</span></caption>\n<thead><tr>"
    );
    for head in heads {
        let class = if head.ends_with("here") { " class=\"ours\"" } else { "" };
        let _ = write!(section, "<th scope=\"col\"{class}>{head}</th>");
    }
    section.push_str("</tr></thead>\n<tbody>\n");
}

fn latent(section: &mut String, mla: &Outcome, mha: &Outcome) {
    let ours = cache_ratio(mla, mha).map_or_else(|| number::MISSING.to_owned(), number::times);
    let caption = "Latent attention: DeepSeek-V2 2024, arXiv 2405.04434, cache elements per token, and bytes per token here.";
    open_table(section, "Latent attention", caption, &["model", "MHA", "MLA", "share"]);
    for (label, many, few) in LATENT {
        let ratio = number::times(few / many);
        let _ = writeln!(section, "<tr><th scope=\"row\">{label}</th><td>{many}k</td><td>{few}k</td><td>{ratio}</td></tr>");
    }
    let _ = writeln!(
        section,
        "<tr class=\"ours\"><th scope=\"row\">here: {}, bytes</th><td>{}</td><td>{}</td><td>{ours}</td></tr>\n\
         </tbody></table></div>\n\
         <p>The paper’s often quoted saving of 93.3% is against a 67B model with eight key heads and counts a cache of six bits; \
         by elements it is 34,560 against 243,200, a saving of 85.8%.</p>",
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
