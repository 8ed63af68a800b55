//! Rotations: bases, the share of a head that is rotated, and how wavelengths are stretched.

use super::Result;
use super::keys::Keys;
use serde_json::{Map, Value, json};

/// What a file says about its rotation, in a configuration's keys.
pub(super) fn read(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<()> {
    let base = keys.number_if("rope.freq_base")?;
    config.extend(base.map(|base| ("rope_theta".to_owned(), base.into())));
    config.extend(share(keys, config)?.map(|share| ("partial_rotary_factor".to_owned(), share.into())));
    config.extend(scaling(keys)?.map(|scaling| ("rope_scaling".to_owned(), scaling)));
    Ok(())
}

/// The share of a head that is rotated, where it is not all.
fn share(keys: &Keys<'_>, config: &Map<String, Value>) -> Result<Option<f64>> {
    let size = |name: &str| config.get(name).and_then(Value::as_u64);
    let even = size("hidden_size").zip(size("num_attention_heads")).and_then(|(width, heads)| width.checked_div(heads));
    let (rotated, head) = (keys.size_if("rope.dimension_count")?, size("head_dim").or(even));
    Ok(rotated.zip(head).filter(|(rotated, head)| rotated != head).map(|(rotated, head)| {
        let share = rotated as f64 / head as f64;
        // A family takes the whole part of head times share.
        if ((head as f64 * share) as u64) < rotated { share.next_up() } else { share }
    }))
}

fn scaling(keys: &Keys<'_>) -> Result<Option<Value>> {
    let kind = keys.text("rope.scaling.type").filter(|kind| *kind != "none");
    let original = keys.size_if("rope.scaling.original_context_length")?;
    if let Some(stretched) = stretched(keys, original)? {
        return Ok(Some(stretched));
    }
    let factor = match keys.number_if("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number_if("rope.scale_linear")?,
    };
    let kind = match (kind, factor) {
        (None | Some("linear"), None) => return Ok(None),
        (kind, _) => kind.unwrap_or("linear"),
    };
    let mut scaling = Map::from_iter([("rope_type".to_owned(), Value::from(kind))]);
    scaling.extend(factor.map(|factor| ("factor".to_owned(), factor.into())));
    scaling.extend(original.map(|original| ("original_max_position_embeddings".to_owned(), original.into())));
    for (published, stored) in
        [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow"), ("attention_factor", "yarn_attn_factor")]
    {
        let number = keys.number_if(&format!("rope.scaling.{stored}"))?;
        scaling.extend(number.map(|number| (published.to_owned(), number.into())));
    }
    Ok(Some(Value::Object(scaling)))
}

/// Each wavelength by a factor of its own: two tables, for short and for long texts, or the one that Llama 3's rule gives.
fn stretched(keys: &Keys<'_>, original: Option<u64>) -> Result<Option<Value>> {
    let table = |name: &str| keys.tensors.values(&format!("{name}.weight"));
    let tables = table("rope_factors_short").zip(table("rope_factors_long")).or_else(|| {
        let one = table("rope_freqs")?;
        Some((one.clone(), one))
    });
    let Some((short, long)) = tables else { return Ok(None) };
    let original = original.map_or_else(|| keys.size("context_length"), Ok)?;
    let factor = keys.number_if("rope.scaling.attn_factor")?.unwrap_or(1.0);
    Ok(Some(json!({
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": original,
        "attention_factor": factor,
    })))
}
