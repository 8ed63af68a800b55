//! GPT-NeoX (Black et al. 2022, 2204.06745): attention and feed-forward side by side, each behind its own norm.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Dense, Form, Layer, Norm, Reads, Step};
use crate::source::{Names, Step as Take};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let bias = keys.flag("attention_bias", true)?;
    let rotary = Some(Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Halves)?);
    let gqa = Gqa { rotary, bias, out_bias: bias, ..sizes.attention() };
    let form = Form::Plain(keys.activation("hidden_act", "gelu")?);
    let reads = if keys.flag("use_parallel_residual", true)? { Reads::Beside } else { Reads::Result };
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: true }).reads(reads);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?), feed_forward]);
    let norm = Norm::layer(keys.number_or("layer_norm_eps", 1e-5)? as f32);
    let plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    Ok(Published { plan, names: names(&sizes) })
}

fn names(sizes: &Sizes) -> Names {
    let names = Names::default()
        .rename("model.embed_tokens", "gpt_neox.embed_in")
        .rename("model.norm", "gpt_neox.final_layer_norm")
        .rename("lm_head", "embed_out")
        .rename("model.layers", "gpt_neox.layers");
    per_head(names, "attention", sizes)
        .rename("mlp.up_proj", "mlp.dense_h_to_4h")
        .rename("mlp.down_proj", "mlp.dense_4h_to_h")
        .ignore("attention.bias")
        .ignore("attention.masked_bias")
        .ignore("attention.rotary_emb.inv_freq")
}

/// Queries, keys and values in one matrix, head by head, and the product after them.
pub(super) fn per_head(names: Names, attention: &str, sizes: &Sizes) -> Names {
    let d = sizes.d_head;
    let part = |i: usize| [Take::Rows { groups: sizes.heads, stride: 3 * d, first: i * d, count: d }];
    let fused = format!("{attention}.query_key_value");
    names
        .take("self_attn.q_proj", &fused, part(0))
        .take("self_attn.k_proj", &fused, part(1))
        .take("self_attn.v_proj", &fused, part(2))
        .rename("self_attn.o_proj", &format!("{attention}.dense"))
}
