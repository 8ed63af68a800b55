//! GPT-Neo (Black et al. 2021): global and local layers in turn, dot products not scaled.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, gpt2, mixer};
use crate::plan::{Dense, Embedding, Form, Layer, Norm, Positions};
use attendant_core::{Error, Result};
use attendant_mech::mechanisms::gqa::Gqa;
use serde_json::Value;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let gqa = Gqa { out_bias: true, scale: Some(1.0), ..sizes.attention() };
    let form = Form::Plain(keys.activation("activation_function", "gelu_new")?);
    let window = keys.size_or("window_size", 256)?;
    let mut layers = Vec::new();
    for local in locals(keys, sizes.layers)? {
        let feed_forward = Dense { d_ff: sizes.d_ff, form, bias: true };
        layers.push(Layer::pre(mixer(&gqa, local.then_some(window))?, feed_forward.into()));
    }
    let norm = Norm::layer(keys.number_or("layer_norm_epsilon", 1e-5)? as f32);
    let mut plan = sizes.plan(norm, layers, keys.flag("tie_word_embeddings", true)?);
    plan.embedding = Embedding { positions: Positions::Learned { context: sizes.context }, ..plan.embedding };
    let names = gpt2::names()
        .rename("self_attn.o_proj", "attn.attention.out_proj")
        .rename("self_attn", "attn.attention")
        .rename("mlp.up_proj", "mlp.c_fc")
        .rename("mlp.down_proj", "mlp.c_proj")
        .ignore("h.#.attn.attention.bias")
        .ignore("h.#.attn.attention.masked_bias");
    Ok(Published { plan, names })
}

/// Which layers are local: `[[["global", "local"], 12]]` means these two, twelve times.
fn locals(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    let wanted = "kinds and how often they repeat, for every layer";
    let runs = keys.list("attention_types", wanted, |run| {
        let [kinds, times] = run.as_array()?.as_slice() else { return None };
        let kinds: Option<Vec<&str>> = kinds.as_array()?.iter().map(Value::as_str).collect();
        Some((kinds?, times.as_u64()?))
    })?;
    let mut locals = Vec::new();
    for (kinds, times) in runs.ok_or_else(|| Error::config("attention_types", format!("got none, wanted {wanted}")))? {
        let left = layers.saturating_sub(locals.len());
        let times = usize::try_from(times).unwrap_or(left).min(left);
        locals.extend((0..times).flat_map(|_| kinds.iter().map(|kind| *kind == "local")));
    }
    keys.expect("attention_types", locals.len() == layers, wanted)?;
    Ok(locals)
}
