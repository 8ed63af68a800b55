//! `attendant mechanisms`

use crate::arguments::Mechanisms;
use crate::failure::Done;
use attendant_mech::{Mechanism, Size, kinds, preset};
use attendant_state::{Dtype, Growth};
use serde_json::{Value, json};

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
        anstream::println!("{}", serde_json::to_string_pretty(&rows).expect("rows are JSON already"));
    } else if options.markdown {
        anstream::println!(
            "| name | keeps per token | planes | bytes a token* | tier | paper | published models |\n| --- | --- | --- | ---: | --- | --- | --- |"
        );
        for row in &rows {
            let cells =
                ["name", "cache", "planes_text", "bytes_per_token", "tier", "paper", "models_text"].map(|key| text(&row[key]));
            anstream::println!("| {} |", cells.join(" | "));
        }
        anstream::println!("\n\\* one layer in f32, at d_model 512 with 8 heads of 64.");
    } else {
        for row in &rows {
            anstream::println!("{:<10} {}", text(&row["name"]), text(&row["sentence"]));
            anstream::println!(
                "{:<10} {} values a token; {} bytes a layer in f32 with 8 heads of 64",
                "",
                text(&row["cache"]),
                text(&row["bytes_per_token"])
            );
            anstream::println!("{:<10} planes: {}", "", text(&row["planes_text"]));
            anstream::println!("{:<10} {}; tier {}\n", "", text(&row["paper"]), text(&row["tier"]));
        }
    }
    Ok(())
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
