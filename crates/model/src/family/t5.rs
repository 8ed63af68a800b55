//! T5 (Raffel et al. 2020, 1910.10683) and its version 1.1: one table of relative positions for all layers of a stack, dot products
//! not scaled.

use super::keys::Keys;
use super::sizes::{MOST_LAYERS, Sizes};
use super::{Published, mixer, tagged};
use crate::plan::{Activation, Dense, Encoder, Form, Head, Layer, Norm, Plan, Step};
use crate::source::Names;
use attendant_core::{Error, Result};
use attendant_mech::mechanisms::cross::Cross;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::pattern::See;
use attendant_mech::{Bias, Pattern};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let buckets = keys.size_or("relative_attention_num_buckets", 32)?;
    let max_distance = keys.size_or("relative_attention_max_distance", 128)?;
    let bias = Some(Bias::T5 { buckets, max_distance, shared: true });
    let attention = |see| {
        let pattern = Pattern { see, bias, ..Pattern::default() };
        mixer(&Gqa { scale: Some(1.0), pattern, ..sizes.attention() }, None)
    };
    let cross = Cross { scale: Some(1.0), ..sizes.cross() };
    let form = form(keys)?;
    let feed_forward = || Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: false });
    let encoder = Layer::new([Step::mixer(attention(See::Everything)?), feed_forward()]);
    let decoder = Layer::new([Step::mixer(attention(See::Causal)?), Step::mixer(tagged("cross", &cross)?), feed_forward()]);
    let start = keys.size_or("decoder_start_token_id", 0)?;
    keys.expect("decoder_start_token_id", start < sizes.vocab_size, "a token of the vocabulary")?;
    let tied = keys.flag("tie_word_embeddings", true)?;
    let scaled = keys.flag("scale_decoder_outputs", tied)?;
    let depth = keys.size_or("num_decoder_layers", sizes.layers)?;
    let plan = Plan {
        head: Head { tied, scale: if scaled { (sizes.d_model as f32).powf(-0.5) } else { 1.0 }, ..Head::default() },
        encoder: Some(Encoder {
            embedding: Default::default(),
            layers: vec![encoder; sizes.layers],
            norm: true,
            start: start as u32,
        }),
        ..sizes.plan(Norm::rms(keys.number_or("layer_norm_epsilon", 1e-6)? as f32), vec![decoder; depth.min(MOST_LAYERS)], tied)
    };
    Ok(Published { plan, names: names(form) })
}

/// `relu`, or `gated-gelu`, whose GELU is the tanh form.
fn form(keys: &Keys<'_>) -> Result<Form> {
    match keys.text("feed_forward_proj", "relu")? {
        "relu" => Ok(Form::Plain(Activation::Relu)),
        "gated-gelu" => Ok(Form::Gated(Activation::GeluTanh)),
        "gated-silu" => Ok(Form::Gated(Activation::Silu)),
        other => Err(Error::config("feed_forward_proj", format!("got {other:?}, wanted relu, gated-gelu or gated-silu"))),
    }
}

fn names(form: Form) -> Names {
    let up = if form.gated() { "wi_1" } else { "wi" };
    let attention = |names: Names, ours: &str, theirs: &str| {
        ["q", "k", "v", "o"]
            .into_iter()
            .fold(names, |names, part| names.rename(&format!("{ours}.{part}_proj"), &format!("{theirs}.{part}")))
    };
    let names = Names::default()
        .rename("model.embed_tokens", "shared")
        .rename("model.norm", "decoder.final_layer_norm")
        .rename("encoder.norm", "encoder.final_layer_norm")
        .rename("self_attn.relative_bias", "layer.0.SelfAttention.relative_attention_bias.weight")
        .rename("input_layernorm", "layer.0.layer_norm")
        .rename("pre_cross_attn_layernorm", "layer.1.layer_norm");
    let names = attention(names, "self_attn", "layer.0.SelfAttention");
    attention(names, "cross_attn", "layer.1.EncDecAttention")
        .rename("encoder.layers.#.post_attention_layernorm", "encoder.block.#.layer.1.layer_norm")
        .rename("encoder.layers.#.mlp", "encoder.block.#.layer.1.DenseReluDense")
        .rename("model.layers.#.post_attention_layernorm", "decoder.block.#.layer.2.layer_norm")
        .rename("model.layers.#.mlp", "decoder.block.#.layer.2.DenseReluDense")
        .rename("encoder.layers", "encoder.block")
        .rename("model.layers", "decoder.block")
        .rename("DenseReluDense.gate_proj", "DenseReluDense.wi_0")
        .rename("DenseReluDense.up_proj", &format!("DenseReluDense.{up}"))
        .rename("DenseReluDense.down_proj", "DenseReluDense.wo")
        .ignore("encoder.embed_tokens")
        .ignore("decoder.embed_tokens")
        // An old mistake in published files: nobody reads it.
        .ignore("EncDecAttention.relative_attention_bias")
}
