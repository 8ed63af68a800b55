//! A report for a terminal.

use super::table::{columns, memory, wrapped};
use attendant_lab::number::{compact, context, rate, whole};
use attendant_model::inspect::cache::{Cache, Decode};
use attendant_model::inspect::layer::{Group, Mixer, places};
use attendant_model::inspect::{Measured, Question, Report};
use attendant_state::Dtype;
use std::fmt::Write as _;

pub(super) fn report(report: &Report, question: Question, width: usize) -> String {
    let mut out = String::new();
    let Report { family, d_model, vocab_size, context: own, .. } = report;
    let sizes = format!(
        "{family}, {} layers of width {}, a vocabulary of {}, made for {} tokens",
        report.layers.count(),
        whole(*d_model as f64),
        whole(*vocab_size as f64),
        whole(*own as f64)
    );
    out += &wrapped("", &format!("{}: {sizes}", report.model.display()), width);
    out += "\nlayers\n";
    for group in &report.layers.groups {
        out += &layers(group, width);
    }
    if report.cache.keeps_nothing() {
        out += "\ncache: none, nothing is kept between calls\n";
    } else {
        out += &cache(&report.cache, *own, question);
        out += &decode(&report.decode, *own, question);
        out += &alternatives(report, width);
        out += &engines(report, width);
    }
    out += &weights(report);
    if !report.warnings.is_empty() {
        out += "\nnotes\n";
    }
    for warning in &report.warnings {
        out += &wrapped("  ", warning, width);
    }
    out
}

/// Whether the store held what its planes declare.
pub(super) fn measured(measured: &Measured, dtype: Dtype) -> String {
    let Measured { tokens, declared, allocated } = measured;
    let [tokens, declared, allocated] = [tokens, declared, allocated].map(|number| whole(*number as f64));
    format!(
        "\nmeasured, {tokens} tokens in {}, in pages\n  declared {declared} bytes, allocated {allocated} bytes\n",
        dtype.name()
    )
}

fn layers(group: &Group, width: usize) -> String {
    let mut out = String::new();
    let mut first = format!("  {}  ", places(&group.places));
    for mixer in &group.mixers {
        out += &wrapped(&first, &in_words(mixer), width);
        first = " ".repeat(first.chars().count());
        let formula = mixer.formula();
        if !formula.is_empty() {
            out += &wrapped(&first, &format!("keeps {formula}{}", sum(mixer)), width);
        }
    }
    out
}

fn in_words(mixer: &Mixer) -> String {
    let mut words = mixer.mechanism.clone();
    let number = |size: usize| whole(size as f64);
    match (mixer.heads, mixer.kv_heads) {
        (Some(heads), Some(kv_heads)) => {
            let _ = write!(words, ": {} on {}", counted(heads, "head"), counted(kv_heads, "key head"));
        }
        (Some(heads), None) => {
            let _ = write!(words, ": {}", counted(heads, "head"));
        }
        _ => {}
    }
    match (mixer.d_qk, mixer.d_v) {
        (Some(d_qk), Some(d_v)) if d_qk == d_v => {
            let _ = write!(words, " of {}", number(d_qk));
        }
        (Some(d_qk), Some(d_v)) => {
            let _ = write!(words, " of {} and {} for values", number(d_qk), number(d_v));
        }
        _ => {}
    }
    format!("{words}; positions {}; sees {}", mixer.positions, mixer.sees)
}

/// The sum that a formula comes to.
fn sum(mixer: &Mixer) -> String {
    let values = mixer.layout.bytes_per_token(Dtype::F32) / size_of::<f32>() as f64;
    let once = mixer.layout.constant_bytes() / size_of::<f32>();
    let mut parts = Vec::new();
    if values > 0.0 {
        parts.push(format!("{} values a token", trimmed(values)));
    }
    if once > 0 {
        parts.push(format!("{} once", whole(once as f64)));
    }
    if parts.is_empty() { String::new() } else { format!(" = {}", parts.join(" and ")) }
}

/// Parameters in the field's own units.
fn billions(count: usize) -> String {
    compact(count as f64).replace('G', "B")
}

/// Bytes as the gigabytes that were given: the product of both is rounded, and a whole number of bytes is meant.
fn billionth(bytes: f64) -> f64 {
    bytes.round() / 1e9
}

fn trimmed(value: f64) -> String {
    if value.fract() == 0.0 { whole(value) } else { format!("{value:.2}") }
}

fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", whole(count as f64), if count == 1 { "" } else { "s" })
}

/// A context, the model's own marked.
fn head(tokens: usize, own: usize) -> String {
    format!("{}{}", context(tokens), if tokens == own { "*" } else { "" })
}

fn cache(cache: &Cache, own: usize, question: Question) -> String {
    let mut out = format!("\ncache: {} values a token", trimmed(cache.values_per_token));
    if cache.values_per_token_later != cache.values_per_token {
        let _ = write!(out, ", {} once windows are full", trimmed(cache.values_per_token_later));
    }
    if cache.constant_bytes > 0 {
        let _ = write!(out, "; {} whatever the length", memory(cache.constant_bytes as f64));
    }
    out.push('\n');
    let mut rows = vec![vec!["".to_owned(), "bytes/token".into()]];
    rows[0].extend(cache.contexts.iter().map(|&tokens| head(tokens, own)));
    if let Some(bytes) = question.memory {
        rows[0].push(format!("fits in {} GB", billionth(bytes)));
    }
    for dtype in &cache.dtypes {
        let mut row = vec![dtype.dtype.to_owned(), trimmed(dtype.per_token)];
        row.extend(dtype.at.iter().map(|&bytes| memory(bytes as f64)));
        if question.memory.is_some() {
            row.push(dtype.fits.map_or("any length".into(), |tokens| whole(tokens as f64)));
        }
        rows.push(row);
    }
    out + &columns(&rows, 1) + "  * the context that the model was made for\n"
}

fn decode(steps: &[Decode], own: usize, question: Question) -> String {
    let mut rows = vec![vec!["tokens before".to_owned(), "weights".into(), "cache, bf16".into()]];
    if let Some(bytes) = question.bandwidth {
        rows[0].push(format!("tokens/s at {} GB/s", billionth(bytes)));
    }
    for step in steps {
        let mut row = vec![head(step.context, own), memory(step.weight_bytes), memory(step.cache_bytes as f64)];
        row.extend(step.tokens_per_second.map(rate));
        rows.push(row);
    }
    format!("\none more token reads, at most\n{}", columns(&rows, 1))
}

fn alternatives(report: &Report, width: usize) -> String {
    let own = report.context;
    let mut rules = vec![""];
    let mut rows = vec![vec!["".to_owned(), "values/token".into(), format!("bf16 at {}", context(own))]];
    let bytes = report.cache.contexts.iter().position(|&tokens| tokens == own);
    let bf16 = report.cache.dtypes.iter().find(|dtype| dtype.dtype == Dtype::Bf16.name());
    if let Some((bytes, bf16)) = bytes.zip(bf16) {
        rules.push("");
        rows.push(vec!["as it is".into(), trimmed(report.cache.values_per_token), memory(bf16.at[bytes] as f64)]);
    }
    for way in &report.alternatives {
        rules.push(way.rule);
        rows.push(vec![format!("as {}", way.name), whole(way.values_per_token as f64), memory(way.bytes as f64)]);
    }
    let table = columns(&rows, 1);
    let lines = table.lines().zip(rules).map(|(line, rule)| wrapped(&format!("{line}  "), rule, width));
    format!("\nthe same heads would keep\n{}", lines.collect::<String>())
}

fn engines(report: &Report, width: usize) -> String {
    let mut out = format!("\nother engines, 16 bits a value, at {}\n", context(report.context));
    let longest = report.engines.iter().map(|engine| engine.engine.chars().count()).max().unwrap_or(0);
    for engine in &report.engines {
        let first = format!("  {:longest$}  {:>8}  {:>6.2}x  ", engine.engine, memory(engine.bytes as f64), engine.ratio);
        out += &wrapped(&first, &format!("{} ({})", engine.rule, engine.source), width);
    }
    out
}

fn weights(report: &Report) -> String {
    let weights = &report.weights;
    let mut out = format!("\nweights: {} parameters", billions(weights.parameters));
    if weights.active < weights.parameters {
        let _ = write!(out, ", {} of them for one token", billions(weights.active));
    }
    let _ = writeln!(out, ", {}", memory(weights.bytes as f64));
    let row = |dtype: &attendant_model::inspect::weight::TypeReport| {
        vec![
            dtype.dtype.clone(),
            counted(dtype.tensors, "tensor"),
            format!("{} elements", billions(dtype.elements)),
            memory(dtype.bytes as f64),
        ]
    };
    out + &columns(&weights.dtypes.iter().map(row).collect::<Vec<_>>(), 1)
}
