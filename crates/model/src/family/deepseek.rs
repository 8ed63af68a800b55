//! DeepSeek V2 (2405.04434), V3 (2412.19437) and V3.2 (2512.02556), GLM-4.7-Flash and Mistral Small 4: latent attention, and experts
//! from some layer on.

use super::keys::Keys;
use super::llama::norm;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Described, Published, every_layer, standard, tagged};
use crate::plan::{Dense, Experts, FeedForward, Groups, Layer, Plan, Routing, Score, Shared};
use crate::source::{Names, Step, rows};
use attendant_core::{Result, error::require};
use attendant_mech::mechanisms::dsa::Dsa;
use attendant_mech::mechanisms::mla::Mla;
use attendant_mech::rotary::{Pairs, Scaling};
use attendant_mech::temperature::Temperature;
use serde_json::{Value, json};

/// Epsilon of the norms on the latents: transformers keeps it whatever `rms_norm_eps` says.
const LATENT_EPS: f32 = 1e-6;

/// A number in a file alone must not exhaust memory.
const MOST_FURTHER: usize = 16;

/// DeepSeek V2 weighs experts by a softmax, and ranks groups by their best one.
pub(super) fn read_v2(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let grouped = keys.text("topk_method", "greedy")? == "group_limited_greedy";
    let groups = if grouped { groups(keys, 1)? } else { None };
    let routing = Routing { groups, factor: factor(keys)?, ..Routing::softmax(keys.size_or("num_experts_per_tok", 8)?) };
    let mla = Mla { pairs: Pairs::Adjacent, ..attention(keys, &sizes)? };
    plan(keys, &sizes, tagged("mla", &mla)?, routing)
}

/// DeepSeek V3, and GLM-4.7-Flash with other numbers.
pub(super) fn read_v3(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    plan(keys, &sizes, tagged("mla", &attention(keys, &sizes)?)?, sigmoid(keys)?)
}

/// DeepSeek V3.2: an indexer chooses which keys a query reads.
pub(super) fn read_v32(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let dsa = Dsa {
        top: keys.size_or("index_topk", 2048)?,
        index_heads: keys.size_or("index_n_heads", 64)?,
        d_index: keys.size_or("index_head_dim", 128)?,
        index_eps: LATENT_EPS,
        latent: attention(keys, &sizes)?,
    };
    let published = plan(keys, &sizes, tagged("dsa", &dsa)?, sigmoid(keys)?)?;
    let names = published
        .names
        .rename("self_attn.index_q_proj", "self_attn.indexer.wq_b")
        .rename("self_attn.index_k_proj", "self_attn.indexer.wk")
        .rename("self_attn.index_k_norm", "self_attn.indexer.k_norm")
        .rename("self_attn.index_weights_proj", "self_attn.indexer.weights_proj");
    Ok(Published { names, ..published })
}

/// Mistral Small 4: queries grow with their position; all experts in one tensor, gates before ups.
pub(super) fn read_mistral4(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let rotation = Rotation::read(keys, sizes.context)?;
    let strength = rotation.keys.number_if("llama_4_scaling_beta")?;
    let period = rotation.keys.size_or("original_max_position_embeddings", 8192)?;
    let temperature = strength.map(|strength| Temperature { strength: strength as f32, period, offset: 0 });
    let mla = Mla { temperature, ..attention(keys, &sizes)? };
    let routing = Routing {
        groups: groups(keys, 2)?,
        renormalise: keys.flag("norm_topk_prob", true)?,
        factor: factor(keys)?,
        ..Routing::softmax(keys.size_or("num_experts_per_tok", 4)?)
    };
    let published = plan(keys, &sizes, tagged("mla", &mla)?, routing)?;
    let d_ff = keys.size("moe_intermediate_size")?;
    let names = published
        .names
        .take("experts.#.gate_proj.weight", "experts.gate_up_proj", [Step::Expert, rows(0, d_ff)])
        .take("experts.#.up_proj.weight", "experts.gate_up_proj", [Step::Expert, rows(d_ff, d_ff)])
        .take("experts.#.down_proj.weight", "experts.down_proj", [Step::Expert]);
    Ok(Published { names, ..published })
}

/// Latent attention as these configurations say it.
pub(super) fn attention(keys: &Keys<'_>, sizes: &Sizes) -> Result<Mla> {
    let (heads, kv_heads) = (sizes.heads, sizes.kv_heads);
    require(kv_heads == heads, "num_key_value_heads", || format!("got {kv_heads}, wanted the {heads} query heads"))?;
    let rotation = Rotation::read(keys, sizes.context)?;
    let (d_nope, d_rope) = (keys.size("qk_nope_head_dim")?, keys.size("qk_rope_head_dim")?);
    // DeepSeek's own files lack the key; they rotate adjacent values.
    let pairs = if keys.flag("rope_interleave", true)? { Pairs::Adjacent } else { Pairs::Halves };
    let factor = rotation.latent_factor()?;
    let scale = (factor != 1.0).then(|| (factor / ((d_nope + d_rope) as f64).sqrt()) as f32);
    Ok(Mla {
        d_model: sizes.d_model,
        heads,
        r_kv: keys.size("kv_lora_rank")?,
        r_q: keys.size_if("q_lora_rank")?,
        d_nope,
        d_rope,
        d_v: keys.size("v_head_dim")?,
        base: rotation.base,
        pairs,
        scaling: rotation.of_width(d_rope, pairs)?.scaling,
        eps: LATENT_EPS,
        scale,
        latent_scale: None,
        temperature: None,
        bias: keys.flag("attention_bias", false)?,
    })
}

fn factor(keys: &Keys<'_>) -> Result<f32> {
    Ok(keys.number_or("routed_scaling_factor", 1.0)? as f32)
}

fn groups(keys: &Keys<'_>, best: usize) -> Result<Option<Groups>> {
    let (count, kept) = (keys.size_or("n_group", 1)?, keys.size_or("topk_group", 1)?);
    Ok((count > 1).then_some(Groups { count, kept, best }))
}

/// DeepSeek V3's routing: a group counts its best two.
fn sigmoid(keys: &Keys<'_>) -> Result<Routing> {
    Ok(Routing {
        score: Score::Sigmoid,
        preference: true,
        groups: groups(keys, 2)?,
        renormalise: keys.flag("norm_topk_prob", true)?,
        factor: factor(keys)?,
        ..Routing::softmax(keys.size_or("num_experts_per_tok", 8)?)
    })
}

fn plan(keys: &Keys<'_>, sizes: &Sizes, mixer: Value, routing: Routing) -> Result<Published> {
    let mut layers = Vec::new();
    for sparse in sparse(keys, sizes.layers)? {
        let feed_forward = match sparse {
            false => FeedForward::Dense(Dense::swiglu(sizes.d_ff)),
            true => FeedForward::Experts(experts(keys, routing)?),
        };
        layers.push(Layer::pre(mixer.clone(), feed_forward));
    }
    let plan = sizes.plan(norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?);
    // Layers that predict further tokens while training follow the others.
    let further = sizes.layers..sizes.layers + keys.size_or("num_nextn_predict_layers", 0)?.min(MOST_FURTHER);
    let names = further.fold(Names::default(), |names, layer| names.ignore(&format!("model.layers.{layer}")));
    Ok(Published { plan, names })
}

/// Which layers have experts.
fn sparse(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    if let Some(kinds) = keys.list("mlp_layer_types", "dense or sparse for every layer", Value::as_str)? {
        keys.expect("mlp_layer_types", kinds.len() == layers, "dense or sparse for every layer")?;
        return Ok(kinds.iter().map(|kind| *kind == "sparse").collect());
    }
    let first = keys.size_or("first_k_dense_replace", 1)?;
    let period = keys.size_or("moe_layer_freq", 1)?.max(1);
    Ok((0..layers).map(|layer| layer >= first && layer.is_multiple_of(period)).collect())
}

fn experts(keys: &Keys<'_>, routing: Routing) -> Result<Experts> {
    let d_ff = keys.size("moe_intermediate_size")?;
    let shared = keys.size_or("n_shared_experts", 0)?;
    let wide = Dense::swiglu(d_ff.saturating_mul(shared));
    Ok(Experts {
        count: keys.size("n_routed_experts|num_local_experts")?,
        identities: 0,
        expert: Dense::swiglu(d_ff),
        routing,
        shared: (shared > 0).then_some(Shared { expert: wide, gate: false }),
    })
}

/// The configuration of a plan, if it is a DeepSeek V3 without experts.
pub(super) fn describe(plan: &Plan) -> Option<Value> {
    let (mla, d_ff) = every_layer::<Mla>(plan, "mla")?;
    let plain = mla.eps == LATENT_EPS
        && mla.scaling == Scaling::None
        && !mla.bias
        && mla.scale.is_none()
        && mla.latent_scale.is_none()
        && mla.temperature.is_none();
    let described = Described { family: "deepseek_v3", class: "DeepseekV3ForCausalLM", heads: mla.heads, d_ff, base: mla.base };
    let mut config = standard(plan, &described)?;
    let own = json!({
        "num_key_value_heads": mla.heads,
        "kv_lora_rank": mla.r_kv,
        "q_lora_rank": mla.r_q,
        "qk_nope_head_dim": mla.d_nope,
        "qk_rope_head_dim": mla.d_rope,
        "v_head_dim": mla.d_v,
        "rope_interleave": mla.pairs == Pairs::Adjacent,
        "first_k_dense_replace": plan.layers.len(),
        "num_nextn_predict_layers": 0,
    });
    if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
        config.extend(own);
    }
    plain.then_some(config)
}
