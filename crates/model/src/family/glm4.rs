//! GLM-4 (GLM team 2024, 2406.12793): half of each head rotated, adjacent values; norms around each part.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, fused_gate, llama, mixer};
use crate::plan::{Layer, Placement, Step};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::rotary::Pairs;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let rotary = Some(Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Adjacent)?);
    let gqa = Gqa { rotary, bias: keys.flag("attention_bias", false)?, ..sizes.attention() };
    let feed_forward = Step::feed_forward(llama::feed_forward(keys, sizes.d_ff)?).norm(Placement::Around);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?).norm(Placement::Around), feed_forward]);
    let plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    Ok(Published { plan, names: fused_gate(Names::default(), sizes.d_ff) })
}
