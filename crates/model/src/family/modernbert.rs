//! ModernBERT (Warner et al. 2024, 2412.13663): every third layer sees all, the others what is near, each kind with its own rotation.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Dense, Embedding, Form, Head, Layer, Norm, Placement, Step, Transform};
use crate::source::{Names, rows};
use attendant_core::Result;
use attendant_mech::Pattern;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::pattern::See;
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    let attention = |kind, base, see| -> Result<Gqa> {
        let rotation = Rotation::of_kind(keys, kind, base, true, sizes.context)?;
        let pattern = Pattern { see, ..Pattern::default() };
        let rotary = Some(rotation.rotary(sizes.d_head, Pairs::Halves)?);
        Ok(Gqa { rotary, bias, out_bias: bias, pattern, ..sizes.attention() })
    };
    let reach = keys.size_or("local_attention", 128)? / 2;
    let whole = attention("full_attention", "global_rope_theta", See::Everything)?;
    let near = attention("sliding_attention", "local_rope_theta", See::Near(reach))?;
    let form = Form::Gated(keys.activation("hidden_activation", "gelu")?);
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: keys.flag("mlp_bias", false)? });
    let period = keys.size_or("global_attn_every_n_layers", 3)?.max(1);
    let mut layers = Vec::new();
    for (i, local) in keys.layers_of("sliding_attention", sizes.layers, |layer| layer % period != 0)?.into_iter().enumerate() {
        // The embedding has just been normalised.
        let place = if i == 0 { Placement::None } else { Placement::Before };
        let mixer = Step::mixer(mixer(if local { &near } else { &whole }, None)?).norm(place);
        layers.push(Layer::new([mixer, feed_forward.clone()]));
    }
    let (eps, bias) = (keys.number_or("norm_eps", 1e-5)? as f32, keys.flag("norm_bias", false)?);
    let norm = Norm::Layer { eps, weight: true, bias };
    let mut plan = sizes.plan(norm, layers, keys.flag("tie_word_embeddings", true)?);
    plan.embedding = Embedding { norm: true, ..plan.embedding };
    let activation = keys.activation("classifier_activation", "gelu")?;
    let transform = Transform { activation, bias: keys.flag("classifier_bias", false)? };
    plan.head = Head { transform: Some(transform), bias: keys.flag("decoder_bias", true)?, ..plan.head };
    Ok(Published { plan, names: names(&sizes) })
}

fn names(sizes: &Sizes) -> Names {
    let (width, d_ff) = (sizes.d_model, sizes.d_ff);
    Names::default()
        .rename("model.embed_tokens", "model.embeddings.tok_embeddings")
        .rename("model.embed_norm", "model.embeddings.norm")
        .rename("model.norm", "model.final_norm")
        .rename("input_layernorm", "attn_norm")
        .rename("post_attention_layernorm", "mlp_norm")
        .take("self_attn.q_proj", "attn.Wqkv", [rows(0, width)])
        .take("self_attn.k_proj", "attn.Wqkv", [rows(width, width)])
        .take("self_attn.v_proj", "attn.Wqkv", [rows(2 * width, width)])
        .rename("self_attn.o_proj", "attn.Wo")
        .take("mlp.gate_proj", "mlp.Wi", [rows(0, d_ff)])
        .take("mlp.up_proj", "mlp.Wi", [rows(d_ff, d_ff)])
        .rename("mlp.down_proj", "mlp.Wo")
        .rename("lm_head.dense", "head.dense")
        .rename("lm_head.norm", "head.norm")
        .rename("lm_head.bias", "decoder.bias")
        .ignore("decoder.weight")
}
