//! Latent attention: files describe it as it is cached, one key head as wide as the latent and the rotated part together.

use super::Result;
use super::keys::Keys;
use serde_json::{Map, Value, json};

/// Numbers of the functions that score experts.
const SOFTMAX: u64 = 1;
pub(super) const SIGMOID: u64 = 2;

/// Writers store this much of the factor of all dimensions.
const STORED_SHARE: f64 = 0.1;

/// DeepSeek V2, V3 and their relatives, which differ in how experts are scored.
pub(super) fn deepseek(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    sizes(keys, config)?;
    let renormalised = keys.flag_if("expert_weights_norm")?.unwrap_or(false);
    config.insert("norm_topk_prob".into(), renormalised.into());
    let family = match keys.size_if("expert_gating_func")? {
        Some(SIGMOID) => "deepseek_v3",
        None | Some(SOFTMAX) if renormalised => {
            let why = format_args!("wanted {SIGMOID}, with which weights of experts are divided by their sum");
            return Err(keys.refuse("expert_gating_func", why));
        }
        None | Some(SOFTMAX) => "deepseek_v2",
        Some(other) => {
            return Err(keys.refuse("expert_gating_func", format_args!("wanted {SOFTMAX} or {SIGMOID}, got {other}")));
        }
    };
    if config.get("n_group").and_then(Value::as_u64).is_some_and(|groups| groups > 1) {
        config.insert("topk_method".into(), "group_limited_greedy".into());
    }
    config.insert("model_type".into(), family.into());
    Ok(())
}

/// DeepSeek V3.2.
pub(super) fn deepseek32(keys: &Keys<'_>, config: &mut Map<String, Value>, assumed: &mut Vec<String>) -> Result<()> {
    deepseek(keys, config, assumed)?;
    config.insert("model_type".into(), "deepseek_v32".into());
    for (published, stored) in [("index_n_heads", "head_count"), ("index_head_dim", "key_length"), ("index_topk", "top_k")] {
        config.insert(published.into(), keys.size(&format!("attention.indexer.{stored}"))?.into());
    }
    Ok(())
}

/// Mistral Small 4, whose experts a softmax scores.
pub(super) fn mistral4(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    sizes(keys, config)?;
    config.insert("norm_topk_prob".into(), keys.flag_if("expert_weights_norm")?.unwrap_or(false).into());
    match keys.size_if("expert_gating_func")? {
        None | Some(SOFTMAX) => Ok(()),
        Some(other) => Err(keys.refuse("expert_gating_func", format_args!("wanted {SOFTMAX}, got {other}"))),
    }
}

/// MiniCPM3, whose values are as wide as the product after them says.
pub(super) fn minicpm3(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    sizes(keys, config)?;
    let heads = keys.size("attention.head_count")?.max(1);
    let joined = keys.tensors.shape("blk.0.attn_output.weight").and_then(|shape| shape.last().copied());
    config.insert("v_head_dim".into(), (joined.unwrap_or(0) as u64 / heads).into());
    Ok(())
}

fn sizes(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<()> {
    for cached in ["head_dim", "num_key_value_heads", "partial_rotary_factor"] {
        config.remove(cached);
    }
    // Older files have the widths of whole heads under the names that are now those of what is cached.
    let width = |own: &str, older: &str| -> Result<Option<u64>> { Ok(keys.size_if(own)?.or(keys.size_if(older)?)) };
    let rotated = keys.size("rope.dimension_count")?;
    let query = width("attention.key_length_mla", "attention.key_length")?.unwrap_or(0);
    let Some(still) = query.checked_sub(rotated) else {
        return Err(keys.refuse("rope.dimension_count", format_args!("wanted at most {query}, got {rotated}")));
    };
    let value = width("attention.value_length_mla", "attention.value_length")?;
    config.insert("kv_lora_rank".into(), keys.size("attention.kv_lora_rank")?.into());
    config.insert("qk_rope_head_dim".into(), rotated.into());
    config.insert("qk_nope_head_dim".into(), still.into());
    config.extend(value.map(|value| ("v_head_dim".to_owned(), value.into())));
    config.extend(keys.size_if("attention.q_lora_rank")?.map(|rank| ("q_lora_rank".to_owned(), rank.into())));
    if let (Some(stored), Some(scaling)) = (keys.number_if("rope.scaling.yarn_log_multiplier")?, config.get_mut("rope_scaling")) {
        // A file has one of the two factors; where they differ in published models, the other is 1.
        let all = stored / STORED_SHARE;
        scaling["mscale_all_dim"] = json!(all);
        scaling["mscale"] = json!(if (all - 1.0).abs() < f64::from(f32::EPSILON) { 1.0 } else { all });
    }
    Ok(())
}
