//! Granite (IBM 2024): Llama with four multipliers.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Layer, Step};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let scale = keys.number_if("attention_multiplier")?.map(|scale| scale as f32);
    let gqa = Gqa { scale, ..llama::attention(keys, &sizes)? };
    let factor = keys.number_or("residual_multiplier", 1.0)? as f32;
    let feed_forward = Step::feed_forward(llama::feed_forward(keys, sizes.d_ff)?);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?).factor(factor), feed_forward.factor(factor)]);
    let mut plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    plan.embedding.scale = keys.number_or("embedding_multiplier", 1.0)? as f32;
    plan.head.scale = keys.number_or("logits_scaling", 1.0)?.recip() as f32;
    Ok(Published::plain(plan))
}
