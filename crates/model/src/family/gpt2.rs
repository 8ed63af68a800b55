//! GPT-2 (Radford et al. 2019) and StarCoder's first, GPT-BigCode (Allal et al. 2023, 2301.03988): learned positions.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Dense, Embedding, Form, Layer, Norm, Positions};
use crate::source::{Names, Step, rows};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    keys.expect("scale_attn_by_inverse_layer_idx", !keys.flag("scale_attn_by_inverse_layer_idx", false)?, "false")?;
    let sizes = Sizes::read(keys)?;
    let [q, k] = [sizes.heads * sizes.d_head, sizes.kv_heads * sizes.d_head];
    let names = names()
        .take("self_attn.q_proj", "attn.c_attn", [Step::Transposed, rows(0, q)])
        .take("self_attn.k_proj", "attn.c_attn", [Step::Transposed, rows(q, k)])
        .take("self_attn.v_proj", "attn.c_attn", [Step::Transposed, rows(q + k, k)])
        .take("self_attn.o_proj", "attn.c_proj", [Step::Transposed])
        .take("mlp.up_proj", "mlp.c_fc", [Step::Transposed])
        .take("mlp.down_proj", "mlp.c_proj", [Step::Transposed])
        // Causal masks that old files carry.
        .ignore("h.#.attn.bias")
        .ignore("h.#.attn.masked_bias");
    published(keys, &sizes, names)
}

pub(super) fn read_bigcode(keys: &Keys<'_>) -> Result<Published> {
    let mut sizes = Sizes::read(keys)?;
    let one = keys.flag("multi_query", true)?;
    sizes.kv_heads = if one { 1 } else { sizes.heads };
    let d = sizes.d_head;
    let part = |i| Step::Rows { groups: sizes.heads, stride: 3 * d, first: i * d, count: d };
    let [q, k, v] = match one {
        true => [rows(0, sizes.heads * d), rows(sizes.heads * d, d), rows((sizes.heads + 1) * d, d)],
        false => [part(0), part(1), part(2)],
    };
    let names = names()
        .take("self_attn.q_proj", "attn.c_attn", [q])
        .take("self_attn.k_proj", "attn.c_attn", [k])
        .take("self_attn.v_proj", "attn.c_attn", [v])
        .rename("self_attn.o_proj", "attn.c_proj")
        .rename("mlp.up_proj", "mlp.c_fc")
        .rename("mlp.down_proj", "mlp.c_proj");
    published(keys, &sizes, names)
}

/// What the GPTs of OpenAI and EleutherAI call their parts.
pub(super) fn names() -> Names {
    Names::default()
        .rename("model.embed_tokens", "transformer.wte")
        .rename("model.embed_positions", "transformer.wpe")
        .rename("model.norm", "transformer.ln_f")
        .rename("model.layers", "transformer.h")
        .rename("input_layernorm", "ln_1")
        .rename("post_attention_layernorm", "ln_2")
}

fn published(keys: &Keys<'_>, sizes: &Sizes, names: Names) -> Result<Published> {
    let scaled = keys.flag("scale_attn_weights", true)?;
    let gqa = Gqa { bias: true, out_bias: true, scale: (!scaled).then_some(1.0), ..sizes.attention() };
    let form = Form::Plain(keys.activation("activation_function", "gelu_new")?);
    let layer = Layer::pre(mixer(&gqa, None)?, Dense { d_ff: sizes.d_ff, form, bias: true }.into());
    let norm = Norm::layer(keys.number_or("layer_norm_epsilon", 1e-5)? as f32);
    let mut plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    plan.embedding = Embedding { positions: Positions::Learned { context: sizes.context }, ..plan.embedding };
    Ok(Published { plan, names })
}
