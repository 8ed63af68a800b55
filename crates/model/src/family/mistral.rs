//! Mistral: Llama whose queries see a window (Jiang et al. 2023, 2310.06825); Mixtral: with experts (2401.04088).

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Experts, FeedForward, Layer, Routing};
use crate::source::Names;
use attendant_core::Result;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let window = keys.size_if("sliding_window")?;
    let layer = Layer::pre(mixer(&llama::attention(keys, &sizes)?, window)?, llama::feed_forward(keys, sizes.d_ff)?.into());
    let layers = vec![layer; sizes.layers];
    Ok(Published::plain(sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?)))
}

pub(super) fn read_mixtral(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let window = keys.size_if("sliding_window")?;
    let experts = Experts {
        count: keys.size("num_local_experts")?,
        identities: 0,
        expert: Dense::swiglu(sizes.d_ff),
        routing: Routing { renormalise: true, ..Routing::softmax(keys.size("num_experts_per_tok")?) },
        shared: None,
    };
    let layer = Layer::pre(mixer(&llama::attention(keys, &sizes)?, window)?, FeedForward::Experts(experts));
    let plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    Ok(Published { plan, names: names() })
}

/// Mixtral's names of experts.
pub(super) fn names() -> Names {
    Names::default()
        .rename("mlp", "block_sparse_moe")
        .rename("gate.e_score_correction_bias", "e_score_correction_bias")
        .rename("experts.#.gate_proj", "experts.#.w1")
        .rename("experts.#.down_proj", "experts.#.w2")
        .rename("experts.#.up_proj", "experts.#.w3")
}
