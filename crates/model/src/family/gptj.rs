//! GPT-J (Wang and Komatsuzaki 2021): adjacent values rotated, attention and feed-forward side by side behind one norm.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, gpt2, mixer};
use crate::plan::{Dense, Form, Layer, Norm, Reads, Step};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let width = keys.size_or("rotary_dim", 64)?;
    let rotary = Some(Rotation::read(keys, sizes.context)?.of_width(width, Pairs::Adjacent)?);
    let gqa = Gqa { rotary, ..sizes.attention() };
    let form = Form::Plain(keys.activation("activation_function", "gelu_new")?);
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: true });
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?), feed_forward.reads(Reads::Same)]);
    let norm = Norm::layer(keys.number_or("layer_norm_epsilon", 1e-5)? as f32);
    let mut plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    plan.head.bias = true;
    let names = gpt2::names()
        .rename("self_attn.o_proj", "attn.out_proj")
        .rename("self_attn", "attn")
        .rename("mlp.up_proj", "mlp.fc_in")
        .rename("mlp.down_proj", "mlp.fc_out")
        .ignore("h.#.attn.bias")
        .ignore("h.#.attn.masked_bias");
    Ok(Published { plan, names })
}
