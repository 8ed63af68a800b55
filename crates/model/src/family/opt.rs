//! OPT (Zhang et al. 2022, 2205.01068): learned positions in a table whose first two rows nobody reads; the smallest but one model
//! normalises after each sum and has narrow embeddings.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Dense, Embedding, Form, Layer, Norm, Placement, Positions, Step};
use crate::source::{Names, rows};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    keys.expect("_remove_final_layer_norm", !keys.flag("_remove_final_layer_norm", false)?, "false")?;
    keys.expect("layer_norm_elementwise_affine", keys.flag("layer_norm_elementwise_affine", true)?, "true")?;
    let sizes = Sizes::read(keys)?;
    let bias = keys.flag("enable_bias", true)?;
    let gqa = Gqa { bias, out_bias: bias, ..sizes.attention() };
    let form = Form::Plain(keys.activation("activation_function", "relu")?);
    let before = keys.flag("do_layer_norm_before", true)?;
    let place = if before { Placement::Before } else { Placement::Sum };
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias }).norm(place);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?).norm(place), feed_forward]);
    let mut plan = sizes.plan(Norm::layer(1e-5), vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    plan.head.norm = before;
    let width = keys.size_if("word_embed_proj_dim")?.filter(|width| *width != sizes.d_model);
    plan.embedding = Embedding { width, positions: Positions::Learned { context: sizes.context }, ..plan.embedding };
    let norm =
        if before { ["input_layernorm", "post_attention_layernorm"] } else { ["post_self_attn_layernorm", "post_mlp_layernorm"] };
    let names = Names::default()
        .rename("model.norm", "model.final_layer_norm")
        .rename("model", "model.decoder")
        .with("embed_positions", [rows(2, sizes.context)])
        .rename(norm[0], "self_attn_layer_norm")
        .rename(norm[1], "final_layer_norm")
        .rename("self_attn.o_proj", "self_attn.out_proj")
        .rename("mlp.up_proj", "fc1")
        .rename("mlp.down_proj", "fc2");
    Ok(Published { plan, names })
}
