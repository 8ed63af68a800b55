//! SmolLM3 (Hugging Face 2025): Llama without positions in some layers.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::Layer;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let rotated = llama::attention(keys, &sizes)?;
    let bare = Gqa { rotary: None, ..rotated.clone() };
    let window = keys.size_if("sliding_window")?.filter(|_| keys.flag("use_sliding_window", false).unwrap_or(false));
    let sliding = keys.layers_of("sliding_attention", sizes.layers, |_| false)?;
    let feed_forward = llama::feed_forward(keys, sizes.d_ff)?;
    let mut layers = Vec::new();
    for (rotates, sliding) in rotates(keys, sizes.layers)?.into_iter().zip(sliding) {
        let gqa = if rotates { &rotated } else { &bare };
        layers.push(Layer::pre(mixer(gqa, window.filter(|_| sliding))?, feed_forward.into()));
    }
    Ok(Published::plain(sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", true)?)))
}

/// Which layers rotate: `no_rope_layers` holds 1 for those that do.
pub(super) fn rotates(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    let wanted = format!("0 or 1 for each of {layers} layers");
    let said = keys.list("no_rope_layers", &wanted, |value| value.as_u64())?.filter(|said| !said.is_empty());
    let period = keys.size_or("no_rope_layer_interval", 4)?.max(1);
    match said {
        Some(said) => {
            keys.expect("no_rope_layers", said.len() == layers, &wanted)?;
            Ok(said.into_iter().map(|rotates| rotates == 1).collect())
        }
        None => Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(period)).collect()),
    }
}
