//! BART (Lewis et al. 2019, 1910.13461) and Marian (Junczys-Dowmunt et al. 2018, 1804.00344): encoder and decoder with norms after
//! each sum.

use super::keys::Keys;
use super::sizes::{MOST_LAYERS, Sizes};
use super::{Published, mixer, tagged};
use crate::plan::{Dense, Embedding, Encoder, Form, Head, Layer, Norm, Placement, Plan, Positions, Step};
use crate::source::{Names, Step as Take, rows};
use attendant_core::{Result, error::require};
use attendant_mech::Pattern;
use attendant_mech::mechanisms::cross::Cross;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::pattern::See;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let context = keys.size_or("max_position_embeddings", 1024)?;
    let embedding = Embedding { positions: Positions::Learned { context }, norm: true, ..Embedding::default() };
    // The first two rows of the table are nobody's.
    let names = names().with("embed_positions", [rows(2, context)]);
    Ok(Published { plan: plan(keys, "gelu", embedding)?, names })
}

/// Marian's positions are computed; some files have the table too.
pub(super) fn read_marian(keys: &Keys<'_>) -> Result<Published> {
    keys.expect("share_encoder_decoder_embeddings", keys.flag("share_encoder_decoder_embeddings", true)?, "true")?;
    let embedding = Embedding { positions: Positions::Sinusoidal, ..Embedding::default() };
    let names = names().ignore("embed_positions.weight");
    Ok(Published { plan: plan(keys, "swish", embedding)?, names })
}

fn plan(keys: &Keys<'_>, activation: &str, embedding: Embedding) -> Result<Plan> {
    let sizes = Sizes::read(keys)?;
    let scaled = keys.flag("scale_embedding", false)?;
    let embedding = Embedding { scale: if scaled { (sizes.d_model as f32).sqrt() } else { 1.0 }, ..embedding };
    let form = Form::Plain(keys.activation("activation_function", activation)?);
    let side = |side: &str| -> Result<(Sizes, usize, Step)> {
        let heads = keys.size_or(&format!("{side}_attention_heads"), sizes.heads)?;
        let divides = heads > 0 && sizes.d_model.is_multiple_of(heads);
        let why = || format!("got {heads}, wanted a divisor of the width {}", sizes.d_model);
        require(divides, &format!("{side}_attention_heads"), why)?;
        let d_ff = keys.size_or(&format!("{side}_ffn_dim"), sizes.d_ff)?;
        let layers = keys.size_or(&format!("{side}_layers"), sizes.layers)?.min(MOST_LAYERS);
        let feed_forward = Step::feed_forward(Dense { d_ff, form, bias: true }).norm(Placement::Sum);
        Ok((Sizes { heads, kv_heads: heads, d_head: sizes.d_model / heads, ..sizes }, layers, feed_forward))
    };
    let attention = |sizes: &Sizes, see| -> Result<Step> {
        let pattern = Pattern { see, ..Pattern::default() };
        let gqa = Gqa { bias: true, out_bias: true, pattern, ..sizes.attention() };
        Ok(Step::mixer(mixer(&gqa, None)?).norm(Placement::Sum))
    };
    let (reader, read_layers, read_feed) = side("encoder")?;
    let (writer, write_layers, write_feed) = side("decoder")?;
    let cross = Cross { bias: true, out_bias: true, ..writer.cross() };
    let encoder = Layer::new([attention(&reader, See::Everything)?, read_feed]);
    let cross = Step::mixer(tagged("cross", &cross)?).norm(Placement::Sum);
    let decoder = Layer::new([attention(&writer, See::Causal)?, cross, write_feed]);
    let start = keys.size("decoder_start_token_id")?;
    keys.expect("decoder_start_token_id", start < sizes.vocab_size, "a token of the vocabulary")?;
    let tied = keys.flag("tie_word_embeddings", true)?;
    Ok(Plan {
        embedding,
        head: Head { norm: false, tied, bias: true, ..Head::default() },
        encoder: Some(Encoder { embedding, layers: vec![encoder; read_layers], norm: false, start: start as u32 }),
        ..sizes.plan(Norm::layer(1e-5), vec![decoder; write_layers], tied)
    })
}

fn names() -> Names {
    Names::default()
        .rename("model.embed_tokens", "model.shared")
        .take("lm_head.bias", "final_logits_bias", [Take::Reshaped])
        .rename("encoder.layers", "model.encoder.layers")
        .rename("encoder.embed_positions", "model.encoder.embed_positions")
        .rename("encoder.embed_norm", "model.encoder.layernorm_embedding")
        .rename("model.layers", "model.decoder.layers")
        .rename("model.embed_positions", "model.decoder.embed_positions")
        .rename("model.embed_norm", "model.decoder.layernorm_embedding")
        .rename("self_attn.o_proj", "self_attn.out_proj")
        .rename("cross_attn.o_proj", "encoder_attn.out_proj")
        .rename("cross_attn", "encoder_attn")
        .rename("post_self_attn_layernorm", "self_attn_layer_norm")
        .rename("post_cross_attn_layernorm", "encoder_attn_layer_norm")
        .rename("post_mlp_layernorm", "final_layer_norm")
        .rename("mlp.up_proj", "fc1")
        .rename("mlp.down_proj", "fc2")
        .ignore("encoder.embed_tokens")
        .ignore("decoder.embed_tokens")
}
