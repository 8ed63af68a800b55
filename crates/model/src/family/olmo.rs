//! OLMo (2402.00838): Llama whose norms have no weights; OLMo 2 (2501.00656) and OLMo 3 (2025): norms after each part, and of whole
//! queries and keys.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Layer, Norm, Placement, Step};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::{NormScope, QkNorm};
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    keys.expect("clip_qkv", !keys.has("clip_qkv"), "none: queries, keys and values are not clipped here")?;
    let sizes = Sizes::read(keys)?;
    let feed_forward = llama::feed_forward(keys, sizes.d_ff)?;
    let layer = Layer::pre(mixer(&llama::attention(keys, &sizes)?, None)?, feed_forward.into());
    let norm = Norm::Layer { eps: 1e-5, weight: false, bias: false };
    Ok(Published::plain(sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?)))
}

pub(super) fn read_olmo2(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let rotation = Rotation::read(keys, sizes.context)?;
    let layer = layer(keys, &sizes, &attention(keys, &sizes, &rotation)?, None)?;
    published(keys, &sizes, vec![layer; sizes.layers])
}

/// Three sliding layers, then a full one whose rotation alone is scaled.
pub(super) fn read_olmo3(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let kind = |kind, scaled| Rotation::of_kind(keys, kind, "rope_theta", scaled, sizes.context);
    let full = attention(keys, &sizes, &kind("full_attention", true)?)?;
    let near = attention(keys, &sizes, &kind("sliding_attention", false)?)?;
    let window = keys.size_or("sliding_window", 4096)?;
    let mut layers = Vec::new();
    for sliding in keys.layers_of("sliding_attention", sizes.layers, |layer| !(layer + 1).is_multiple_of(4))? {
        layers.push(if sliding { layer(keys, &sizes, &near, Some(window))? } else { layer(keys, &sizes, &full, None)? });
    }
    published(keys, &sizes, layers)
}

fn attention(keys: &Keys<'_>, sizes: &Sizes, rotation: &Rotation<'_>) -> Result<Gqa> {
    let bias = keys.flag("attention_bias", false)?;
    let eps = keys.number_or("rms_norm_eps", 1e-5)? as f32;
    Ok(Gqa {
        rotary: Some(rotation.rotary(sizes.d_head, Pairs::Halves)?),
        qk_norm: Some(QkNorm { scope: NormScope::Row, ..QkNorm::rms(eps) }),
        bias,
        out_bias: bias,
        ..sizes.attention()
    })
}

/// A layer with norms after its parts.
pub(super) fn layer(keys: &Keys<'_>, sizes: &Sizes, gqa: &Gqa, window: Option<usize>) -> Result<Layer> {
    let feed_forward = Step::feed_forward(llama::feed_forward(keys, sizes.d_ff)?).norm(Placement::After);
    Ok(Layer::new([Step::mixer(mixer(gqa, window)?).norm(Placement::After), feed_forward]))
}

/// The model of such layers.
pub(super) fn published(keys: &Keys<'_>, sizes: &Sizes, layers: Vec<Layer>) -> Result<Published> {
    let plan = sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?);
    let names = Names::default()
        .rename("post_self_attn_layernorm", "post_attention_layernorm")
        .rename("post_mlp_layernorm", "post_feedforward_layernorm");
    Ok(Published { plan, names })
}
