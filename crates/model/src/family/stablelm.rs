//! StableLM (Bellagente et al. 2024, 2402.17834): a part of each head rotated, queries and keys normalised by weights of every head.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Form, Layer, Norm, Reads, Step};
use crate::source::{Names, Step as Take};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::{NormKind, NormScope, QkNorm};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let eps = keys.number_or("layer_norm_eps", 1e-5)? as f32;
    let each_head = QkNorm { kind: NormKind::Layer, scope: NormScope::EachHead, ..QkNorm::rms(eps) };
    let gqa = Gqa {
        qk_norm: keys.flag("qk_layernorm", false)?.then_some(each_head),
        bias: keys.flag("use_qkv_bias", false)?,
        out_bias: false,
        ..llama::attention(keys, &sizes)?
    };
    let form = Form::Gated(keys.activation("hidden_act", "silu")?);
    let reads = if keys.flag("use_parallel_residual", false)? { Reads::Same } else { Reads::Result };
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: false }).reads(reads);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?), feed_forward]);
    let plan = sizes.plan(Norm::layer(eps), vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    let names = Names::default()
        .take("q_norm.weight", "q_layernorm.norms.{}.weight", [Take::Joined(sizes.heads), Take::Reshaped])
        .take("k_norm.weight", "k_layernorm.norms.{}.weight", [Take::Joined(sizes.kv_heads), Take::Reshaped]);
    Ok(Published { plan, names })
}
