//! nanochat (Karpathy 2025): norms without weights, of queries and keys too, after a rotation that turns the other way.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Form, Layer, Norm};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::Rotary;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::{NormScope, QkNorm};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let eps = keys.number_or("rms_norm_eps", 1e-6)? as f32;
    let llama = llama::attention(keys, &sizes)?;
    let rotary = llama.rotary.clone().map(|rotary| Rotary { reverse: true, ..rotary });
    let qk_norm = Some(QkNorm { scope: NormScope::Weightless, after_rotation: true, ..QkNorm::rms(eps) });
    let form = Form::Plain(keys.activation("hidden_act", "relu2")?);
    let feed_forward = Dense { d_ff: sizes.d_ff, form, bias: false };
    let layer = Layer::pre(mixer(&Gqa { rotary, qk_norm, ..llama }, None)?, feed_forward.into());
    let norm = Norm::Rms { eps, weight: false };
    let mut plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    plan.embedding.norm = true;
    plan.head.softcap = keys.number_if("final_logit_softcapping")?.map(|cap| cap as f32);
    let names = Names::default().rename("mlp.up_proj", "mlp.fc1").rename("mlp.down_proj", "mlp.fc2");
    Ok(Published { plan, names })
}
