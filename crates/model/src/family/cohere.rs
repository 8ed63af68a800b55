//! Command R and its successors (Cohere 2024): adjacent values rotated, attention and feed-forward side by side behind one norm
//! without bias, scaled logits.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Dense, Form, Layer, Norm, Plan, Reads, Step};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::{NormKind, NormScope, QkNorm};
use attendant_mech::rotary::Pairs;
use serde_json::Value;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let each_head = QkNorm { kind: NormKind::Layer, scope: NormScope::EachHead, ..QkNorm::rms(eps(keys)?) };
    let qk_norm = keys.flag("use_qk_norm", false)?.then_some(each_head);
    let gqa = Gqa { qk_norm, ..rotated(keys, &sizes)? };
    let layer = beside(keys, &sizes, mixer(&gqa, None)?)?;
    Ok(Published { plan: plan(keys, &sizes, vec![layer; sizes.layers])?, names: Names::default() })
}

/// Three sliding layers, then a full one without positions.
pub(super) fn read_cohere2(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let near = rotated(keys, &sizes)?;
    let full = Gqa { rotary: None, ..near.clone() };
    let window = keys.size_or("sliding_window", 4096)?;
    let period = keys.size_or("sliding_window_pattern", 4)?.max(1);
    let mut layers = Vec::new();
    for sliding in keys.layers_of("sliding_attention", sizes.layers, |layer| !(layer + 1).is_multiple_of(period))? {
        let mixer = if sliding { mixer(&near, Some(window))? } else { mixer(&full, None)? };
        layers.push(beside(keys, &sizes, mixer)?);
    }
    Ok(Published { plan: plan(keys, &sizes, layers)?, names: Names::default() })
}

fn eps(keys: &Keys<'_>) -> Result<f32> {
    Ok(keys.number_or("layer_norm_eps", 1e-5)? as f32)
}

fn rotated(keys: &Keys<'_>, sizes: &Sizes) -> Result<Gqa> {
    let bias = keys.flag("attention_bias", false)?;
    let rotary = Some(Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Adjacent)?);
    Ok(Gqa { rotary, bias, out_bias: bias, ..sizes.attention() })
}

fn beside(keys: &Keys<'_>, sizes: &Sizes, mixer: Value) -> Result<Layer> {
    let form = Form::Gated(keys.activation("hidden_act", "silu")?);
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: false });
    Ok(Layer::new([Step::mixer(mixer), feed_forward.reads(Reads::Same)]))
}

fn plan(keys: &Keys<'_>, sizes: &Sizes, layers: Vec<Layer>) -> Result<Plan> {
    let norm = Norm::Layer { eps: eps(keys)?, weight: true, bias: false };
    let mut plan = sizes.plan(norm, layers, keys.flag("tie_word_embeddings", true)?);
    plan.head.scale = keys.number_or("logit_scale", 0.0625)? as f32;
    Ok(plan)
}
