//! Llama: grouped-query attention with whole heads rotated in halves (Touvron et al. 2023, 2302.13971; Dubey et al. 2024,
//! 2407.21783).

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Described, Published, every_layer, mixer, standard};
use crate::plan::{Dense, Form, Layer, Norm, Plan};
use attendant_core::Result;
use attendant_mech::Rotary;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::rotary::Pairs;
use serde_json::{Value, json};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let gqa = attention(keys, &sizes)?;
    let layers = vec![Layer::pre(mixer(&gqa, None)?, feed_forward(keys, sizes.d_ff)?.into()); sizes.layers];
    Ok(Published::plain(sizes.plan(norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?)))
}

/// Llama's norm.
pub(super) fn norm(keys: &Keys<'_>) -> Result<Norm> {
    Ok(Norm::rms(keys.number_or("rms_norm_eps", 1e-6)? as f32))
}

/// Llama's feed-forward part.
pub(super) fn feed_forward(keys: &Keys<'_>, d_ff: usize) -> Result<Dense> {
    let form = Form::Gated(keys.activation("hidden_act", "silu")?);
    Ok(Dense { d_ff, form, bias: keys.flag("mlp_bias", false)? })
}

/// Llama's attention: rotated, with biases in all four projections or in none.
pub(super) fn attention(keys: &Keys<'_>, sizes: &Sizes) -> Result<Gqa> {
    let bias = keys.flag("attention_bias", false)?;
    let rotary = Some(Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Halves)?);
    Ok(Gqa { rotary, bias, out_bias: bias, ..sizes.attention() })
}

/// The configuration of a plan, if it is a Llama without biases.
pub(super) fn describe(plan: &Plan) -> Option<Value> {
    let (gqa, d_ff) = every_layer::<Gqa>(plan, "gqa")?;
    let rotary = gqa.rotary.clone()?;
    let llama = Gqa { rotary: Some(Rotary { base: rotary.base, ..Rotary::new(gqa.d_head) }), ..plain(&gqa) };
    // transformers refuses other widths, though with head_dim nothing depends on it.
    let described = gqa == llama && gqa.d_model.is_multiple_of(gqa.heads);
    let mut config =
        standard(plan, &Described { family: "llama", class: "LlamaForCausalLM", heads: gqa.heads, d_ff, base: rotary.base })?;
    config["num_key_value_heads"] = json!(gqa.kv_heads);
    config["head_dim"] = json!(gqa.d_head);
    config["mlp_bias"] = json!(false);
    described.then_some(config)
}

fn plain(gqa: &Gqa) -> Gqa {
    Gqa::plain(gqa.d_model, gqa.heads, gqa.kv_heads, gqa.d_head)
}
