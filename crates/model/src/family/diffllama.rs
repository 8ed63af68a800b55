//! DiffLlama: Llama with differential attention (Ye et al. 2024, 2410.05258).

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, tagged};
use crate::plan::Layer;
use attendant_core::Result;
use attendant_mech::mechanisms::diff::{Diff, lambda_init};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let heads = llama::attention(keys, &sizes)?;
    let eps = keys.number_or("rms_norm_eps", 1e-5)? as f32;
    let mut layers = Vec::new();
    for layer in 0..sizes.layers {
        let diff = Diff { lambda_init: lambda_init(layer), eps, heads: heads.clone() };
        layers.push(Layer::pre(tagged("diff", &diff)?, llama::feed_forward(keys, sizes.d_ff)?.into()));
    }
    Ok(Published::plain(sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?)))
}
