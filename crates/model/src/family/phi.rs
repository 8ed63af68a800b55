//! Phi 1 and 2 (Li et al. 2023, 2309.05463): partly rotated heads, attention and feed-forward side by side behind one norm; Phi 3
//! (Abdin et al. 2024, 2404.14219): Llama with LongRoPE and fused products.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, fused_gate, llama, mixer};
use crate::plan::{Dense, Form, Layer, Norm, Reads, Step};
use crate::source::{Names, rows};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::{NormKind, QkNorm};
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let eps = keys.number_or("layer_norm_eps", 1e-5)? as f32;
    let qk_norm = keys.flag("qk_layernorm", false)?;
    let qk_norm = qk_norm.then(|| QkNorm { kind: NormKind::Layer, bias: true, ..QkNorm::rms(eps) });
    let rotary = Some(Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Halves)?);
    let gqa = Gqa { rotary, qk_norm, bias: true, out_bias: true, ..sizes.attention() };
    let form = Form::Plain(keys.activation("hidden_act", "gelu_new")?);
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias: true });
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?), feed_forward.reads(Reads::Same)]);
    let mut plan = sizes.plan(Norm::layer(eps), vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    plan.head.bias = true;
    let names = Names::default()
        .rename("model.norm", "model.final_layernorm")
        .rename("self_attn.o_proj", "self_attn.dense")
        .rename("q_norm", "q_layernorm")
        .rename("k_norm", "k_layernorm")
        .rename("mlp.up_proj", "mlp.fc1")
        .rename("mlp.down_proj", "mlp.fc2");
    Ok(Published { plan, names })
}

pub(super) fn read_phi3(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let gqa = llama::attention(keys, &sizes)?;
    let layer = Layer::pre(mixer(&gqa, keys.size_if("sliding_window")?)?, llama::feed_forward(keys, sizes.d_ff)?.into());
    let plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    let [q, k] = [sizes.heads * sizes.d_head, sizes.kv_heads * sizes.d_head];
    let names = fused_gate(Names::default(), sizes.d_ff)
        .take("self_attn.q_proj", "self_attn.qkv_proj", [rows(0, q)])
        .take("self_attn.k_proj", "self_attn.qkv_proj", [rows(q, k)])
        .take("self_attn.v_proj", "self_attn.qkv_proj", [rows(q + k, k)]);
    Ok(Published { plan, names })
}
