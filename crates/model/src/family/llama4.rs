//! Llama 4 (Meta 2025): chunks where positions are rotated, everything with a growing temperature where they are not, and experts
//! whose input the router scales.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, llama, mixer, smollm3};
use crate::plan::{Dense, Experts, FeedForward, Layer, Routing, Score, Shared};
use crate::source::{Names, Step, rows};
use attendant_core::Result;
use attendant_mech::Pattern;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::pattern::See;
use attendant_mech::qk_norm::{NormScope, QkNorm};
use attendant_mech::rotary::Pairs;
use attendant_mech::temperature::Temperature;
use serde_json::Value;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    let whole = Gqa { bias, out_bias: bias, temperature: temperature(keys)?, ..sizes.attention() };
    let eps = keys.number_or("rms_norm_eps", 1e-5)? as f32;
    let qk_norm = QkNorm { scope: NormScope::Weightless, after_rotation: true, ..QkNorm::rms(eps) };
    let chunk = keys.size_or("attention_chunk_size", 8192)?;
    let chunked = Gqa {
        rotary: Some(Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Adjacent)?),
        qk_norm: keys.flag("use_qk_norm", true)?.then_some(qk_norm),
        pattern: Pattern { see: See::Chunk(chunk), ..Pattern::default() },
        temperature: None,
        ..whole.clone()
    };
    let experts = experts(keys, &sizes)?;
    let dense = Dense::swiglu(keys.size("intermediate_size_mlp")?);
    let mut layers = Vec::new();
    for (rotates, sparse) in smollm3::rotates(keys, sizes.layers)?.into_iter().zip(sparse(keys, sizes.layers)?) {
        let feed_forward = if sparse { FeedForward::Experts(experts) } else { FeedForward::Dense(dense) };
        layers.push(Layer::pre(mixer(if rotates { &chunked } else { &whole }, None)?, feed_forward));
    }
    let plan = sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?);
    Ok(Published { plan, names: names(sizes.d_ff) })
}

fn temperature(keys: &Keys<'_>) -> Result<Option<Temperature>> {
    let strength = keys.number_or("attn_scale", 0.1)? as f32;
    let period = keys.size_or("floor_scale", 8192)?;
    Ok(keys.flag("attn_temperature_tuning", true)?.then_some(Temperature { strength, period, offset: 1 }))
}

fn experts(keys: &Keys<'_>, sizes: &Sizes) -> Result<Experts> {
    let expert = Dense::swiglu(sizes.d_ff);
    let routing = Routing::softmax(keys.size_or("num_experts_per_tok", 1)?);
    Ok(Experts {
        count: keys.size("num_local_experts")?,
        identities: 0,
        expert,
        routing: Routing { score: Score::Sigmoid, weigh_input: true, ..routing },
        shared: Some(Shared { expert, gate: false }),
    })
}

/// Which layers have experts.
fn sparse(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    let step = keys.size_or("interleave_moe_layer_step", 1)?.max(1);
    Ok(match keys.list("moe_layers", "numbers of layers", Value::as_u64)? {
        Some(sparse) => (0..layers as u64).map(|layer| sparse.contains(&layer)).collect(),
        None => (0..layers).map(|layer| (layer + 1).is_multiple_of(step)).collect(),
    })
}

/// All experts in one tensor, `[in, out]`, gates before ups.
fn names(d_ff: usize) -> Names {
    Names::default()
        .take("experts.#.gate_proj.weight", "experts.gate_up_proj", [Step::Expert, Step::Transposed, rows(0, d_ff)])
        .take("experts.#.up_proj.weight", "experts.gate_up_proj", [Step::Expert, Step::Transposed, rows(d_ff, d_ff)])
        .take("experts.#.down_proj.weight", "experts.down_proj", [Step::Expert, Step::Transposed])
        .rename("mlp.gate", "mlp.router")
        .rename("mlp.shared_experts", "mlp.shared_expert")
        .rename("mlp", "feed_forward")
}
