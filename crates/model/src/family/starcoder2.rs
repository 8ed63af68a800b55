//! StarCoder 2 (Lozhkov et al. 2024, 2402.19173): windows, layer norms, biases everywhere.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Form, Layer, Norm};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let bias = keys.flag("use_bias", true)?;
    let gqa = Gqa { bias, out_bias: bias, ..llama::attention(keys, &sizes)? };
    let form = Form::Plain(keys.activation("hidden_act", "gelu_pytorch_tanh")?);
    let feed_forward = Dense { d_ff: sizes.d_ff, form, bias };
    let layer = Layer::pre(mixer(&gqa, keys.size_if("sliding_window")?)?, feed_forward.into());
    let norm = Norm::layer(keys.number_or("norm_epsilon", 1e-5)? as f32);
    let plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    let names = Names::default().rename("mlp.up_proj", "mlp.c_fc").rename("mlp.down_proj", "mlp.c_proj");
    Ok(Published { plan, names })
}
