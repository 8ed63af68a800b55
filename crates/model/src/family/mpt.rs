//! MPT (MosaicML 2023): ALiBi and no biases at all.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Activation, Dense, Form, Layer, Norm};
use crate::source::{Names, rows};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::{Bias, Pattern};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let mut gqa = Gqa { pattern: Pattern { bias: Some(Bias::Alibi), ..Pattern::default() }, ..sizes.attention() };
    if let Some(attention) = keys.object("attn_config")? {
        attention.expect("alibi", attention.flag("alibi", true)?, "true")?;
        attention.expect("alibi_bias_max", attention.number_or("alibi_bias_max", 8.0)? == 8.0, "8")?;
        attention.expect("clip_qkv", !attention.has("clip_qkv"), "none")?;
        gqa.scale = attention.number_if("softmax_scale")?.map(|scale| scale as f32);
    }
    let form = Form::Plain(Activation::Gelu);
    let layer = Layer::pre(mixer(&gqa, None)?, Dense { d_ff: sizes.d_ff, form, bias: false }.into());
    let norm = Norm::Layer { eps: keys.number_or("layer_norm_epsilon", 1e-5)? as f32, weight: true, bias: false };
    let plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    let width = sizes.d_model;
    let names = Names::default()
        .rename("model.embed_tokens", "transformer.wte")
        .rename("model.norm", "transformer.norm_f")
        .rename("model.layers", "transformer.blocks")
        .rename("input_layernorm", "norm_1")
        .rename("post_attention_layernorm", "norm_2")
        .take("self_attn.q_proj", "attn.Wqkv", [rows(0, width)])
        .take("self_attn.k_proj", "attn.Wqkv", [rows(width, width)])
        .take("self_attn.v_proj", "attn.Wqkv", [rows(2 * width, width)])
        .rename("self_attn.o_proj", "attn.out_proj")
        .rename("mlp", "ffn");
    Ok(Published { plan, names })
}
