//! A plan as a published configuration, and back. The plan itself goes along under `attendant`, so that reading is exact.

use crate::plan::{FeedForward, Norm, Plan, Positions};
use serde_json::{Map, Value, json};

/// config.json of a plan.
pub(crate) fn configuration(plan: &Plan) -> Value {
    let mut config = Map::new();
    let uniform = plan.layers.windows(2).all(|pair| pair[0] == pair[1]);
    let standard = plan.norm == Norm::Rms && plan.feed_forward == FeedForward::SwiGlu && plan.positions == Positions::None;
    let layer = &plan.layers[0];
    let published = if uniform && standard { llama(layer).or_else(|| deepseek_v3(layer, plan)) } else { None };
    config.extend(published.unwrap_or_else(|| [("model_type".to_string(), json!("attendant"))].into_iter().collect()));
    config.extend([
        ("vocab_size".to_string(), json!(plan.vocab_size)),
        ("hidden_size".into(), json!(plan.d_model)),
        ("intermediate_size".into(), json!(plan.d_ff)),
        ("num_hidden_layers".into(), json!(plan.layers.len())),
        ("rms_norm_eps".into(), json!(plan.eps)),
        ("max_position_embeddings".into(), json!(plan.context)),
        ("tie_word_embeddings".into(), json!(plan.tie_embeddings)),
        ("hidden_act".into(), json!("silu")),
        ("torch_dtype".into(), json!("float32")),
        ("attendant".into(), json!(plan)),
    ]);
    Value::Object(config)
}

fn llama(layer: &Value) -> Option<Map<String, Value>> {
    let rotary = &layer["rotary"];
    let plain = layer["kind"] == "gqa"
        && layer.get("qk_norm").is_none()
        && layer["bias"] == false
        && layer["pattern"] == json!({"see": "causal", "sink": false})
        && rotary["width"] == layer["d_head"]
        && rotary["pairs"] == "halves";
    plain.then(|| {
        object(json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_attention_heads": layer["heads"],
            "num_key_value_heads": layer["kv_heads"],
            "head_dim": layer["d_head"],
            "rope_theta": rotary["base"],
            "attention_bias": false,
            "mlp_bias": false,
        }))
    })
}

fn deepseek_v3(layer: &Value, plan: &Plan) -> Option<Map<String, Value>> {
    // transformers keeps 1e-6 for the norms of the latents whatever the configuration says.
    (layer["kind"] == "mla" && (layer["eps"].as_f64()? - 1e-6).abs() < 1e-9).then(|| {
        object(json!({
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "num_attention_heads": layer["heads"],
            "num_key_value_heads": layer["heads"],
            "kv_lora_rank": layer["r_kv"],
            "q_lora_rank": layer.get("r_q").cloned().unwrap_or_default(),
            "qk_nope_head_dim": layer["d_nope"],
            "qk_rope_head_dim": layer["d_rope"],
            "v_head_dim": layer["d_v"],
            "rope_theta": layer["base"],
            "rope_interleave": layer["pairs"] == "adjacent",
            "attention_bias": false,
            // No layer has experts.
            "first_k_dense_replace": plan.layers.len(),
        }))
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
