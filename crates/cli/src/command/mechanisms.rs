//! `attendant mechanisms`

use crate::arguments::Mechanisms;
use crate::failure::Done;
use crate::output::print;
use attendant_lab::table::Terminal;
use attendant_mech::{Mechanism, Size, kinds, preset};
use attendant_state::{Dtype, Growth};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The size that byte counts are stated at: eight heads of 64.
const SIZE: Size = Size { d_model: 512, heads: 8, d_head: 64 };

pub(crate) fn run(options: &Mechanisms) -> Done {
    let mut rows = Vec::new();
    for kind in kinds() {
        for name in kind.presets {
            let made = preset(name, SIZE)?;
            rows.push(describe(name, kind.name, &*made.mechanism, made.configuration));
        }
    }
    if options.json {
        return print(serde_json::to_string_pretty(&rows).expect("rows are JSON already") + "\n");
    }
    print(if options.markdown { markdown(&rows) } else { prose(&rows, Terminal::stdout().width.min(WIDEST)) })
}

/// Columns beyond which prose is hard to read.
const WIDEST: usize = 100;
const INDENT: &str = "  ";

fn prose(rows: &[Value], width: usize) -> String {
    let mut out = String::new();
    for row in rows {
        let [name, sentence, cache, planes, paper, tier] =
            ["name", "sentence", "cache", "planes_text", "paper", "tier"].map(|key| text(&row[key]));
        let keeps = format!("keeps {cache} values a token: {} bytes a layer in f32 with 8 heads of 64", bytes(row));
        let _ = writeln!(out, "{name}");
        for paragraph in [sentence, keeps, format!("planes: {planes}"), format!("{paper}; tier {}", tier.to_lowercase())] {
            wrapped(&mut out, &paragraph, width);
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// Adds a paragraph in lines of at most `width` columns, indented, the later ones twice.
fn wrapped(out: &mut String, paragraph: &str, width: usize) {
    let mut line = INDENT.to_owned();
    for word in paragraph.split(' ') {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            let _ = writeln!(out, "{line}");
            line = INDENT.repeat(2);
        }
        if !line.trim().is_empty() {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(out, "{line}");
}

fn markdown(rows: &[Value]) -> String {
    let mut out = "| name | keeps per token | planes | bytes a token* | tier | paper | published models |\n\
                   | --- | --- | --- | ---: | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        let [name, cache, planes, tier, paper, models] =
            ["name", "cache", "planes_text", "tier", "paper", "models_text"].map(|key| text(&row[key]));
        let _ = writeln!(out, "| {name} | {cache} | {planes} | {} | {} | {paper} | {models} |", bytes(row), tier.to_lowercase());
    }
    out + "\n\\* one layer in f32, at d_model 512 with 8 heads of 64.\n"
}

/// Bytes a token, whole where they are whole.
fn bytes(row: &Value) -> String {
    row["bytes_per_token"].as_f64().map_or_else(String::new, |bytes| bytes.to_string())
}

fn describe(name: &str, kind: &str, mechanism: &dyn Mechanism, configuration: Value) -> Value {
    let card = mechanism.card();
    let layout = mechanism.state();
    let planes: Vec<Value> = layout
        .planes()
        .iter()
        .map(|plane| json!({"name": plane.name, "width": plane.width, "heads": plane.heads, "growth": growth(plane.growth)}))
        .collect();
    let planes_text: Vec<String> =
        layout.planes().iter().map(|plane| format!("{} {} {}", plane.name, plane.width, growth(plane.growth))).collect();
    json!({
        "name": name,
        "kind": kind,
        "sentence": card.sentence,
        "cache": card.cache,
        "bytes_per_token": layout.bytes_per_token(Dtype::F32),
        "planes": planes,
        "planes_text": planes_text.join("; "),
        "order": mechanism.order(),
        "tier": card.tier,
        "paper": card.paper,
        "models": card.models,
        "models_text": card.models.join(", "),
        "configuration": configuration,
    })
}

fn growth(growth: Growth) -> String {
    match growth {
        Growth::PerToken => "per token".into(),
        Growth::PerBlock { tokens } => format!("per {tokens} tokens"),
        Growth::Ring { window, keep: 0 } => format!("in a ring of {window}"),
        Growth::Ring { window, keep } => format!("in a ring of {window} and {keep} kept"),
        Growth::Constant => "in all".into(),
        Growth::PerSource => "per source row".into(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
