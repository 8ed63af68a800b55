//! Architectures of the format. Each is a published family; an entry says which keys and tensors have other names here, and what a
//! file does not say because the engine it was written for has it in its code.

use super::keys::Keys;
use super::{Result, latent};
use serde_json::{Map, Value, json};

/// A name in published models, and the one here.
type Pair = (&'static str, &'static str);

/// Adds keys to a configuration, and sentences about what was taken as usual.
type More = fn(&Keys<'_>, &mut Map<String, Value>, &mut Vec<String>) -> Result<()>;

/// How the rows of queries and keys lie in a file.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pairs {
    /// As published.
    Published,
    /// Moved, so that values that are rotated together are neighbours.
    Neighbours,
}

/// Which layers have a window, where the file has one.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Windows {
    None,
    All,
    /// Of so many layers all but the last.
    Period(u64),
    /// Of so many layers all but the first.
    PeriodAfter(u64),
}

/// An architecture of the format.
#[derive(Clone, Copy)]
pub(super) struct Architecture {
    pub(super) name: &'static str,
    /// The `model_type` that it is.
    pub(super) family: &'static str,
    pub(super) pairs: Pairs,
    pub(super) windows: Windows,
    /// What its files mean without saying it, in JSON, unless they say it.
    pub(super) usual: &'static [Pair],
    /// Whole numbers, beside those of all.
    pub(super) sizes: &'static [Pair],
    /// Numbers, beside those of all.
    pub(super) numbers: &'static [Pair],
    /// What is true where a file has a tensor.
    pub(super) flags: &'static [Pair],
    /// Parts of names, before those of all.
    pub(super) tensors: &'static [Pair],
    /// What the tables cannot say.
    pub(super) more: More,
    /// What is said of `usual`.
    pub(super) assumed: &'static [&'static str],
}

/// An architecture that differs from Llama in nothing but its family.
const fn plain(name: &'static str, family: &'static str) -> Architecture {
    Architecture {
        name,
        family,
        pairs: Pairs::Published,
        windows: Windows::None,
        usual: &[],
        sizes: &[],
        numbers: &[],
        flags: &[],
        tensors: &[],
        more: |_, _, _| Ok(()),
        assumed: &[],
    }
}

pub(super) const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        usual: &[("architectures", r#"["BertModel"]"#)],
        tensors: &[("post_self_attn_layernorm", "attn_output_norm"), ("post_mlp_layernorm", "layer_output_norm")],
        more: encoder,
        ..plain("bert", "bert")
    },
    Architecture {
        assumed: &["parts add to the rows before their norm, as in every published model, which the file does not say"],
        ..plain("bloom", "bloom")
    },
    Architecture { windows: Windows::Period(4), numbers: &[("logit_scale", "logit_scale")], ..plain("cohere2", "cohere2") },
    Architecture {
        usual: &[("logit_scale", "1.0")],
        numbers: &[("logit_scale", "logit_scale")],
        flags: &[("use_qk_norm", "blk.0.attn_q_norm.weight")],
        ..plain("command-r", "cohere")
    },
    Architecture { sizes: ROUTED, numbers: ROUTED_NUMBERS, more: latent::deepseek, ..plain("deepseek2", "deepseek_v3") },
    Architecture {
        sizes: ROUTED,
        numbers: ROUTED_NUMBERS,
        tensors: &[
            ("self_attn.index_q_proj", "indexer.attn_q_b"),
            ("self_attn.index_k_proj", "indexer.attn_k"),
            ("self_attn.index_k_norm", "indexer.k_norm"),
            ("self_attn.index_weights_proj", "indexer.proj"),
        ],
        more: latent::deepseek32,
        ..plain("deepseek32", "deepseek_v32")
    },
    Architecture { flags: &[("bias", "blk.0.attn_qkv.bias")], more: falcon, ..plain("falcon", "falcon") },
    plain("gemma", "gemma"),
    Architecture {
        windows: Windows::Period(2),
        usual: &[("sliding_window", "4096")],
        numbers: &[("attn_logit_softcapping", "attn_logit_softcapping"), ("final_logit_softcapping", "final_logit_softcapping")],
        tensors: AROUND,
        more: |_, config, _| query_scale(config, LARGEST_GEMMA2),
        ..plain("gemma2", "gemma2")
    },
    Architecture {
        windows: Windows::Period(6),
        numbers: &[("rope_local_base_freq", "rope.freq_base_swa"), ("final_logit_softcapping", "final_logit_softcapping")],
        tensors: AROUND,
        more: gemma3,
        ..plain("gemma3", "gemma3_text")
    },
    Architecture { tensors: AROUND, ..plain("glm4", "glm4") },
    Architecture {
        windows: Windows::Period(2),
        sizes: &[
            ("intermediate_size", "expert_feed_forward_length"),
            ("num_local_experts", "expert_count"),
            ("num_experts_per_tok", "expert_used_count"),
        ],
        tensors: &[("post_attention_layernorm", "post_attention_norm"), ("self_attn.sinks", "attn_sinks.weight")],
        more: gpt_oss,
        ..plain("gpt-oss", "gpt_oss")
    },
    plain("gpt2", "gpt2"),
    Architecture { more: parallel, ..plain("gptneox", "gpt_neox") },
    Architecture {
        pairs: Pairs::Neighbours,
        numbers: &[
            ("attention_multiplier", "attention.scale"),
            ("embedding_multiplier", "embedding_scale"),
            ("residual_multiplier", "residual_scale"),
            ("logits_scaling", "logit_scale"),
        ],
        ..plain("granite", "granite")
    },
    Architecture { pairs: Pairs::Neighbours, more: mixtral, ..plain("llama", "llama") },
    Architecture {
        usual: &[("attention_chunk_size", "8192"), ("floor_scale", "8192"), ("attn_scale", "0.1")],
        sizes: &[
            ("interleave_moe_layer_step", "interleave_moe_layer_step"),
            ("num_local_experts", "expert_count"),
            ("num_experts_per_tok", "expert_used_count"),
            ("intermediate_size_mlp", "feed_forward_length"),
            ("intermediate_size", "expert_feed_forward_length"),
        ],
        more: llama4,
        assumed: &["three of four layers see chunks of 8192, and scores of the others grow, which the file does not say"],
        ..plain("llama4", "llama4_text")
    },
    Architecture {
        usual: &[("scale_emb", "12"), ("scale_depth", "1.4"), ("dim_model_base", "256")],
        more: latent::minicpm3,
        assumed: &["the multipliers of embedding, depth and width are those of the published model, which the file does not say"],
        ..plain("minicpm3", "minicpm3")
    },
    Architecture { sizes: EXPERTS, more: minimax, ..plain("minimax-m2", "minimax_m2") },
    Architecture { pairs: Pairs::Neighbours, ..plain("mistral3", "mistral") },
    Architecture {
        sizes: ROUTED,
        numbers: ROUTED_NUMBERS,
        more: latent::mistral4,
        assumed: &["queries do not grow with their position, of which the file does not say anything"],
        ..plain("mistral4", "mistral4")
    },
    Architecture {
        windows: Windows::PeriodAfter(3),
        usual: &[("architectures", r#"["ModernBertModel"]"#)],
        sizes: &[("local_attention", "attention.sliding_window")],
        numbers: &[("global_rope_theta", "rope.freq_base"), ("local_rope_theta", "rope.freq_base_swa")],
        more: modern,
        ..plain("modern-bert", "modernbert")
    },
    Architecture { more: mpt, ..plain("mpt", "mpt") },
    Architecture { windows: Windows::Period(4), tensors: AROUND, more: olmo2, ..plain("olmo2", "olmo2") },
    plain("phi2", "phi"),
    Architecture { windows: Windows::All, ..plain("phi3", "phi3") },
    Architecture { flags: &[("qkv_bias", "blk.0.attn_q.bias")], ..plain("qwen2", "qwen2") },
    Architecture { sizes: EXPERTS, flags: &[("qkv_bias", "blk.0.attn_q.bias")], more: shared, ..plain("qwen2moe", "qwen2_moe") },
    plain("qwen3", "qwen3"),
    Architecture {
        usual: &[("norm_topk_prob", "true")],
        sizes: EXPERTS,
        assumed: &["weights of chosen experts are divided by their sum, which the file does not say"],
        ..plain("qwen3moe", "qwen3_moe")
    },
    Architecture {
        pairs: Pairs::Neighbours,
        usual: &[("no_rope_layer_interval", "4")],
        assumed: &["every fourth layer has no positions, which the file does not say"],
        ..plain("smollm3", "smollm3")
    },
    Architecture {
        flags: &[("use_qkv_bias", "blk.0.attn_q.bias"), ("qk_layernorm", "blk.0.attn_q_norm.weight")],
        more: parallel,
        ..plain("stablelm", "stablelm")
    },
    Architecture { more: starcoder, ..plain("starcoder", "gpt_bigcode") },
    plain("starcoder2", "starcoder2"),
    Architecture {
        sizes: &[
            ("num_decoder_layers", "decoder_block_count"),
            ("relative_attention_num_buckets", "attention.relative_buckets_count"),
            ("decoder_start_token_id", "decoder_start_token_id"),
        ],
        tensors: &[
            ("model.norm", "dec.output_norm"),
            ("encoder.norm", "enc.output_norm"),
            ("model.layers", "dec.blk"),
            ("encoder.layers", "enc.blk"),
            ("pre_cross_attn_layernorm", "cross_attn_norm"),
            ("cross_attn.q_proj", "cross_attn_q"),
            ("cross_attn.k_proj", "cross_attn_k"),
            ("cross_attn.v_proj", "cross_attn_v"),
            ("cross_attn.o_proj", "cross_attn_o"),
            ("self_attn.o_proj", "attn_o"),
            ("self_attn.relative_bias", "attn_rel_b.weight"),
        ],
        more: t5,
        ..plain("t5", "t5")
    },
];

/// Norms after a part as well as before it.
const AROUND: &[Pair] = &[("post_self_attn_layernorm", "post_attention_norm"), ("post_mlp_layernorm", "post_ffw_norm")];

const EXPERTS: &[Pair] = &[
    ("num_experts", "expert_count"),
    ("num_local_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("moe_intermediate_size", "expert_feed_forward_length"),
];

/// Experts of which a token chooses in groups.
const ROUTED: &[Pair] = &[
    ("n_routed_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("n_group", "expert_group_count"),
    ("topk_group", "expert_group_used_count"),
    ("n_shared_experts", "expert_shared_count"),
    ("first_k_dense_replace", "leading_dense_block_count"),
    ("moe_intermediate_size", "expert_feed_forward_length"),
];

const ROUTED_NUMBERS: &[Pair] = &[("routed_scaling_factor", "expert_weights_scale")];

/// Mixtral has Llama's name here.
fn mixtral(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    if let Some(count) = keys.size_if("expert_count")?.filter(|count| *count > 0) {
        config.insert("model_type".into(), "mixtral".into());
        config.insert("num_local_experts".into(), count.into());
        config.insert("num_experts_per_tok".into(), keys.size("expert_used_count")?.into());
    }
    Ok(())
}

/// The largest model of each family: the only one whose queries are scaled by another width than a head's.
const LARGEST_GEMMA2: u64 = 46;
const LARGEST_GEMMA3: u64 = 62;

fn gemma3(_: &Keys<'_>, config: &mut Map<String, Value>, assumed: &mut Vec<String>) -> Result<()> {
    if config.contains_key("sliding_window") && !config.contains_key("rope_local_base_freq") {
        config.insert("rope_local_base_freq".into(), json!(10_000.0));
        assumed.push("layers with a window rotate with base 10,000, which the file does not say".into());
    }
    query_scale(config, LARGEST_GEMMA3)
}

/// What queries are divided by the root of.
fn query_scale(config: &mut Map<String, Value>, largest: u64) -> Result<()> {
    let size = |name: &str| config.get(name).and_then(Value::as_u64).unwrap_or(1).max(1);
    let scalar = match size("num_hidden_layers") == largest {
        true => size("hidden_size") / size("num_attention_heads"),
        false => size("head_dim"),
    };
    config.insert("query_pre_attn_scalar".into(), scalar.into());
    Ok(())
}

/// Whatever its size, a Falcon is one of the newer decoder here: queries, then keys, then values.
fn falcon(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    let norms = if keys.tensors.has("blk.0.attn_norm_2.weight") { 2 } else { 1 };
    config.insert("new_decoder_architecture".into(), true.into());
    config.insert("num_ln_in_parallel_attn".into(), norms.into());
    Ok(())
}

fn gpt_oss(_: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    if let Some(scaling) = config.get_mut("rope_scaling") {
        scaling["truncate"] = false.into();
    }
    Ok(())
}

/// A layer without a norm before its feed-forward part has the parts side by side.
fn parallel(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    let said = keys.flag_if("use_parallel_residual")?;
    let parallel = said.unwrap_or_else(|| !keys.tensors.has("blk.0.ffn_norm.weight"));
    config.insert("use_parallel_residual".into(), parallel.into());
    Ok(())
}

/// The count of experts of the model whose queries and keys are not normalised.
const MAVERICK: u64 = 128;

fn llama4(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    config.insert("use_qk_norm".into(), (keys.size("expert_count")? != MAVERICK).into());
    Ok(())
}

fn minimax(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    config.insert("intermediate_size".into(), keys.size("expert_feed_forward_length")?.into());
    match keys.size_if("expert_gating_func")? {
        None | Some(latent::SIGMOID) => Ok(()),
        Some(other) => Err(keys.refuse("expert_gating_func", format_args!("wanted {}, got {other}", latent::SIGMOID))),
    }
}

fn mpt(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    let most = keys.number_if("attention.max_alibi_bias")?.unwrap_or(0.0);
    config.insert("attn_config".into(), json!({"alibi": most > 0.0, "alibi_bias_max": most}));
    Ok(())
}

/// OLMo 3 has OLMo 2's name here, and windows.
fn olmo2(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    if config.contains_key("sliding_window") {
        config.insert("model_type".into(), "olmo3".into());
    }
    match (keys.number_if("rope.freq_base_swa")?, keys.number_if("rope.freq_base")?) {
        (Some(near), all) if Some(near) != all => {
            Err(keys.refuse("rope.freq_base_swa", "wanted the base of all layers, got another"))
        }
        _ => Ok(()),
    }
}

fn shared(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    let width = keys.size_if("expert_shared_feed_forward_length")?;
    let width = width.map_or_else(|| keys.size("feed_forward_length"), Ok)?;
    config.insert("shared_expert_intermediate_size".into(), width.into());
    Ok(())
}

fn starcoder(_: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    let one = config.get("num_key_value_heads").is_some_and(|heads| *heads == json!(1));
    config.insert("multi_query".into(), one.into());
    Ok(())
}

/// Every token sees all. What makes logits of rows is not in these files.
fn encoder(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    if keys.flag_if("attention.causal")?.unwrap_or(true) {
        return Err(keys.refuse("attention.causal", "wanted false, got true"));
    }
    let types = keys.tensors.shape("token_types.weight").and_then(|shape| shape.first().copied());
    config.insert("type_vocab_size".into(), types.unwrap_or(0).into());
    Ok(())
}

fn modern(keys: &Keys<'_>, config: &mut Map<String, Value>, assumed: &mut Vec<String>) -> Result<()> {
    config.extend(keys.text("hidden_activation").map(|name| ("hidden_activation".to_owned(), name.into())));
    encoder(keys, config, assumed)
}

fn t5(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    let gated = keys.tensors.has("dec.blk.0.ffn_gate.weight");
    config.insert("feed_forward_proj".into(), if gated { "gated-gelu" } else { "relu" }.into());
    Ok(())
}
