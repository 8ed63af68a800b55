//! MiniCPM3 (Hu et al. 2024, 2404.06395): latent attention with multipliers for embedding, depth and width.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, deepseek, llama, tagged};
use crate::plan::{Layer, Step};
use attendant_core::Result;
use attendant_mech::mechanisms::mla::Mla;
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let mla = Mla { pairs: Pairs::Halves, ..deepseek::attention(keys, &sizes)? };
    let factor = (keys.number_or("scale_depth", 1.0)? / (sizes.layers as f64).sqrt()) as f32;
    let feed_forward = Step::feed_forward(llama::feed_forward(keys, sizes.d_ff)?);
    let layer = Layer::new([Step::mixer(tagged("mla", &mla)?).factor(factor), feed_forward.factor(factor)]);
    let mut plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    plan.embedding.scale = keys.number_or("scale_emb", 1.0)? as f32;
    plan.head.scale = (keys.number_or("dim_model_base", sizes.d_model as f64)? / sizes.d_model as f64) as f32;
    Ok(Published::plain(plan))
}
