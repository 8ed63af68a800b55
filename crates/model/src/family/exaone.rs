//! EXAONE 3 (LG AI Research 2024, 2408.03541): Llama under other names; EXAONE 4 (2507.11407): norms after each part and of each head of
//! queries and keys, and where most layers have a window, no positions in the others.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer, olmo};
use crate::plan::{Dense, Form, Layer, Norm};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::QkNorm;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let form = Form::Gated(keys.activation("hidden_act|activation_function", "silu")?);
    let feed_forward = Dense { d_ff: sizes.d_ff, form, bias: false };
    let layer = Layer::pre(mixer(&llama::attention(keys, &sizes)?, None)?, feed_forward.into());
    let norm = Norm::rms(keys.number_or("rms_norm_eps|layer_norm_epsilon", 1e-5)? as f32);
    let plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    let names = Names::default()
        .rename("model.embed_tokens", "transformer.wte")
        .rename("model.layers", "transformer.h")
        .rename("model.norm", "transformer.ln_f")
        .rename("input_layernorm", "ln_1")
        .rename("post_attention_layernorm", "ln_2")
        .rename("self_attn.o_proj", "self_attn.out_proj")
        .rename("self_attn", "attn.attention")
        .rename("mlp.gate_proj", "mlp.c_fc_0")
        .rename("mlp.up_proj", "mlp.c_fc_1")
        .rename("mlp.down_proj", "mlp.c_proj");
    Ok(Published { plan, names })
}

pub(super) fn read_exaone4(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let qk_norm = Some(QkNorm::rms(keys.number_or("rms_norm_eps", 1e-5)? as f32));
    let rotated = Gqa { qk_norm, ..llama::attention(keys, &sizes)? };
    let Some(window) = keys.size_if("sliding_window")? else {
        let layer = olmo::layer(keys, &sizes, &rotated, None)?;
        return olmo::published(keys, &sizes, vec![layer; sizes.layers]);
    };
    let bare = Gqa { rotary: None, ..rotated.clone() };
    let layers = slides(keys, sizes.layers)?.into_iter().map(|slides| match slides {
        true => olmo::layer(keys, &sizes, &rotated, Some(window)),
        false => olmo::layer(keys, &sizes, &bare, None),
    });
    olmo::published(keys, &sizes, layers.collect::<Result<_>>()?)
}

/// Which layers have a window: where the list of kinds is missing, all but the last of a period, whose length is a number or that of a
/// word of L and G.
fn slides(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    let word = keys.text("sliding_window_pattern", "LLLG").unwrap_or("");
    if !word.is_empty() {
        let local = |layer: usize| layer + 1 < layers && word.as_bytes()[layer % word.len()] == b'L';
        return keys.layers_of("sliding_attention", layers, local);
    }
    let period = keys.size("sliding_window_pattern")?.max(1);
    keys.layers_of("sliding_attention", layers, |layer| !(layer + 1).is_multiple_of(period))
}
