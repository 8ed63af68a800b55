//! Gemma (2403.08295), Gemma 2 (2408.00118) and Gemma 3 (2503.19786): weights of norms are stored less one, embeddings are scaled
//! by the root of their width.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Activation, Dense, Form, Layer, Placement, Plan, Step};
use crate::source::{Names, Step as Take};
use attendant_core::Result;
use attendant_mech::Pattern;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::QkNorm;
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let layer = Layer::pre(mixer(&llama::attention(keys, &sizes)?, None)?, feed_forward(keys, &sizes)?.into());
    Ok(Published { plan: plan(keys, &sizes, vec![layer; sizes.layers])?, names: names() })
}

/// Sliding and full layers in turn, capped scores, norms around each part.
pub(super) fn read_gemma2(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let softcap = keys.number_if("attn_logit_softcapping")?.map(|cap| cap as f32);
    let gqa =
        Gqa { scale: Some(scale(keys)?), pattern: Pattern { softcap, ..Pattern::default() }, ..llama::attention(keys, &sizes)? };
    let window = keys.size_or("sliding_window", 4096)?;
    let mut layers = Vec::new();
    for sliding in keys.layers_of("sliding_attention", sizes.layers, |layer| layer % 2 == 0)? {
        layers.push(around(keys, &sizes, &gqa, sliding.then_some(window))?);
    }
    Ok(Published { plan: plan(keys, &sizes, layers)?, names: names_around() })
}

/// Five sliding layers, then a full one with another rotation; normalised queries and keys.
pub(super) fn read_gemma3(keys: &Keys<'_>) -> Result<Published> {
    keys.expect("use_bidirectional_attention", !keys.flag("use_bidirectional_attention", false)?, "false")?;
    let sizes = Sizes::read(keys)?;
    let softcap = keys.number_if("attn_logit_softcapping")?.map(|cap| cap as f32);
    let bias = keys.flag("attention_bias", false)?;
    let full = Rotation::of_kind(keys, "full_attention", "rope_theta", true, sizes.context)?;
    let near = Rotation::of_kind(keys, "sliding_attention", "rope_local_base_freq", false, sizes.context)?;
    let attention = |rotation: &Rotation<'_>| -> Result<Gqa> {
        Ok(Gqa {
            rotary: Some(rotation.rotary(sizes.d_head, Pairs::Halves)?),
            qk_norm: Some(QkNorm::rms(keys.number_or("rms_norm_eps", 1e-6)? as f32)),
            scale: Some(scale(keys)?),
            pattern: Pattern { softcap, ..Pattern::default() },
            bias,
            out_bias: bias,
            ..sizes.attention()
        })
    };
    let (full, near) = (attention(&full)?, attention(&near)?);
    let window = keys.size_or("sliding_window", 4096)?;
    let period = keys.size_or("sliding_window_pattern|_sliding_window_pattern", 6)?.max(1);
    let mut layers = Vec::new();
    for sliding in keys.layers_of("sliding_attention", sizes.layers, |layer| !(layer + 1).is_multiple_of(period))? {
        let (gqa, window) = if sliding { (&near, Some(window)) } else { (&full, None) };
        layers.push(around(keys, &sizes, gqa, window)?);
    }
    Ok(Published { plan: plan(keys, &sizes, layers)?, names: names_around() })
}

fn scale(keys: &Keys<'_>) -> Result<f32> {
    Ok(keys.number_or("query_pre_attn_scalar", 256.0)?.powf(-0.5) as f32)
}

fn feed_forward(keys: &Keys<'_>, sizes: &Sizes) -> Result<Dense> {
    // The oldest files say gelu and mean its tanh form.
    let named = keys.activation("hidden_activation|hidden_act", "gelu_pytorch_tanh")?;
    let activation = if named == Activation::Gelu { Activation::GeluTanh } else { named };
    Ok(Dense { d_ff: sizes.d_ff, form: Form::Gated(activation), bias: false })
}

fn around(keys: &Keys<'_>, sizes: &Sizes, gqa: &Gqa, window: Option<usize>) -> Result<Layer> {
    let feed_forward = Step::feed_forward(feed_forward(keys, sizes)?);
    Ok(Layer::new([Step::mixer(mixer(gqa, window)?).norm(Placement::Around), feed_forward.norm(Placement::Around)]))
}

fn plan(keys: &Keys<'_>, sizes: &Sizes, layers: Vec<Layer>) -> Result<Plan> {
    let mut plan = sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", true)?);
    plan.embedding.scale = (sizes.d_model as f32).sqrt();
    plan.head.softcap = keys.number_if("final_logit_softcapping")?.map(|cap| cap as f32);
    Ok(plan)
}

fn names() -> Names {
    let layer = ["input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm"];
    let norms = layer.into_iter().chain(["model.norm", "q_norm", "k_norm"]);
    norms.fold(Names::default(), |names, norm| names.with(norm, [Take::PlusOne]))
}

/// Names of the two that have norms around each part.
fn names_around() -> Names {
    names()
        .rename("post_attention_layernorm", "pre_feedforward_layernorm")
        .rename("post_self_attn_layernorm", "post_attention_layernorm")
        .rename("post_mlp_layernorm", "post_feedforward_layernorm")
}
