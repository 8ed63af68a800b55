//! gpt-oss (OpenAI 2025, 2508.10925): a learned sink for every head, sliding and full layers in turn, experts with clamped SwiGLU.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Experts, FeedForward, Form, Layer, Routing};
use crate::source::{Names, Step};
use attendant_core::Result;
use attendant_mech::Pattern;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let bias = keys.flag("attention_bias", true)?;
    let pattern = Pattern { sink: true, ..Pattern::default() };
    let gqa = Gqa { bias, out_bias: bias, pattern, ..llama::attention(keys, &sizes)? };
    let limit = keys.number_or("swiglu_limit", 7.0)? as f32;
    let alpha = keys.number_or("swiglu_alpha", 1.702)? as f32;
    let chosen = keys.size_or("num_experts_per_tok|experts_per_token", 4)?;
    let experts = Experts {
        count: keys.size("num_local_experts")?,
        identities: 0,
        expert: Dense { d_ff: sizes.d_ff, form: Form::Clamped { limit, alpha }, bias: true },
        // A softmax over the chosen alone is the one over all, divided by its sum.
        routing: Routing { bias: true, renormalise: true, ..Routing::softmax(chosen) },
        shared: None,
    };
    let window = keys.size_or("sliding_window", 128)?;
    let mut layers = Vec::new();
    for sliding in keys.layers_of("sliding_attention", sizes.layers, |layer| layer % 2 == 0)? {
        layers.push(Layer::pre(mixer(&gqa, sliding.then_some(window))?, FeedForward::Experts(experts)));
    }
    let plan = sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?);
    Ok(Published { plan, names: names(sizes.d_ff) })
}

/// All experts in one tensor, `[in, out]`, gates and ups in turn.
fn names(d_ff: usize) -> Names {
    let every_other = |first| [Step::Expert, Step::Transposed, Step::Rows { groups: d_ff, stride: 2, first, count: 1 }];
    Names::default()
        .take("experts.#.gate_proj.weight", "experts.gate_up_proj", every_other(0))
        .take("experts.#.up_proj.weight", "experts.gate_up_proj", every_other(1))
        .take("experts.#.gate_proj.bias", "experts.gate_up_proj_bias", every_other(0))
        .take("experts.#.up_proj.bias", "experts.gate_up_proj_bias", every_other(1))
        .take("experts.#.down_proj.weight", "experts.down_proj", [Step::Expert, Step::Transposed])
        .take("experts.#.down_proj.bias", "experts.down_proj_bias", [Step::Expert])
        .rename("mlp.gate", "mlp.router")
}
