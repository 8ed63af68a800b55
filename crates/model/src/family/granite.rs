//! Granite (IBM 2024): Llama with four multipliers, and the same with experts (2408.13359).

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Experts, FeedForward, Form, Layer, Plan, Routing, Step};
use crate::source::{Names, Step as Part, rows};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    Ok(Published::plain(plan(keys, &sizes, llama::feed_forward(keys, sizes.d_ff)?.into())?))
}

/// Gates and ups of all experts in one tensor, gates first.
pub(super) fn read_moe(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let d_ff = sizes.d_ff;
    let experts = Experts {
        count: keys.size("num_local_experts")?,
        identities: 0,
        expert: Dense { d_ff, form: Form::Gated(keys.activation("hidden_act", "silu")?), bias: false },
        routing: Routing { renormalise: true, ..Routing::softmax(keys.size("num_experts_per_tok")?) },
        shared: None,
    };
    let names = Names::default()
        .rename("mlp", "block_sparse_moe")
        .take("experts.#.gate_proj", "input_linear", [Part::Expert, rows(0, d_ff)])
        .take("experts.#.up_proj", "input_linear", [Part::Expert, rows(d_ff, d_ff)])
        .take("experts.#.down_proj", "output_linear", [Part::Expert])
        .rename("block_sparse_moe.gate", "block_sparse_moe.router.layer");
    Ok(Published { plan: plan(keys, &sizes, FeedForward::Experts(experts))?, names })
}

fn plan(keys: &Keys<'_>, sizes: &Sizes, feed_forward: FeedForward) -> Result<Plan> {
    let scale = keys.number_if("attention_multiplier")?.map(|scale| scale as f32);
    let gqa = Gqa { scale, ..llama::attention(keys, sizes)? };
    let factor = keys.number_or("residual_multiplier", 1.0)? as f32;
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?).factor(factor), Step::feed_forward(feed_forward).factor(factor)]);
    let mut plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    plan.embedding.scale = keys.number_or("embedding_multiplier", 1.0)? as f32;
    plan.head.scale = keys.number_or("logits_scaling", 1.0)?.recip() as f32;
    Ok(plan)
}
