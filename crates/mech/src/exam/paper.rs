//! The point about what a mechanism says of itself.

use super::Verdict;
use crate::mechanism::{Mechanism, Registered, Size};
use crate::registry;
use serde_json::{Map, Value};

/// Point 14: the card is complete, the preset can be used, parameters have names of their own, and configurations survive
/// being written down and read; an unknown field is refused.
///
/// # Errors
/// What is missing or wrong, and the configuration.
pub fn card<M: Registered>(preset: &str) -> Verdict {
    let usual = M::preset(preset, Size { d_model: 48, heads: 4, d_head: 12 });
    let configurations = M::exam(preset);
    if configurations.is_empty() {
        return Err(format!("{preset}: no configuration sits the exam"));
    }
    for mechanism in configurations.iter().chain([&usual]) {
        complete(mechanism).and_then(|()| written_down(mechanism, preset)).map_err(|why| format!("{why}\n  {mechanism:?}"))?;
    }
    Ok(())
}

fn complete(mechanism: &impl Mechanism) -> Verdict {
    mechanism.check().map_err(|why| format!("check: {why}"))?;
    let card = mechanism.card();
    let wanted = |ok: bool, field: &str, want: &str, got: &str| {
        if ok { Ok(()) } else { Err(format!("card, {field}: wanted {want}, got {got:?}")) }
    };
    wanted(card.sentence.len() > 20 && card.sentence.ends_with('.'), "sentence", "a sentence", card.sentence)?;
    wanted(names_a_paper(card.paper), "paper", "authors, a year and a number like 1706.03762", card.paper)?;
    wanted(!card.cache.is_empty(), "cache", "values per token", card.cache)?;
    wanted(!card.models.is_empty() && card.models.iter().all(|model| !model.is_empty()), "models", "who uses it", "")?;
    let params = mechanism.params();
    for (i, parameter) in params.iter().enumerate() {
        let name = parameter.name;
        if name.is_empty() || params[..i].iter().any(|other| other.name == name) {
            return Err(format!("parameter {i}: the name {name:?} is empty or taken"));
        }
        if parameter.shape.is_empty() || parameter.shape.contains(&0) {
            return Err(format!("parameter {name}: shape {:?}", parameter.shape));
        }
    }
    Ok(())
}

/// A year, and a number as arXiv gives them: four digits after the point until 2014, five since.
fn names_a_paper(paper: &str) -> bool {
    let mut words = paper.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    let digits = |word: &str, count| word.len() == count && word.bytes().all(|byte| byte.is_ascii_digit());
    let year = words.clone().any(|word| digits(word, 4) && (word.starts_with("19") || word.starts_with("20")));
    year && words.any(|word| {
        word.split_once('.').is_some_and(|(month, number)| digits(month, 4) && (digits(number, 4) || digits(number, 5)))
    })
}

fn written_down<M: Registered>(mechanism: &M, preset: &str) -> Verdict {
    let Ok(Value::Object(written)) = serde_json::to_value(mechanism) else {
        return Err("the configuration does not become an object".into());
    };
    let text = Value::Object(written.clone()).to_string();
    let again: M = serde_json::from_str(&text).map_err(|why| format!("{text} is not read back: {why}"))?;
    let unchanged = format!("{again:?}") == format!("{mechanism:?}");
    unchanged.then_some(()).ok_or_else(|| format!("{text} is read back as {again:?}"))?;

    let mut unknown = written.clone();
    unknown.insert("no_such_field".into(), Value::Bool(true));
    if serde_json::from_value::<M>(Value::Object(unknown)).is_ok() {
        return Err("an unknown field is not refused".into());
    }
    match registry::kinds().iter().find(|kind| kind.presets.contains(&preset)) {
        Some(kind) => built(kind.name, written, mechanism),
        None => Ok(()),
    }
}

fn built(kind: &str, fields: Map<String, Value>, mechanism: &impl Mechanism) -> Verdict {
    let mut configuration = Map::from_iter([("kind".to_string(), Value::from(kind))]);
    configuration.extend(fields);
    let configuration = Value::Object(configuration);
    let built = registry::build(&configuration).map_err(|why| format!("{configuration} is not built: {why}"))?;
    let unchanged = format!("{built:?}") == format!("{mechanism:?}");
    unchanged.then_some(()).ok_or_else(|| format!("{configuration} is built as {built:?}"))
}
