//! BLOOM (Scao et al. 2022, 2211.05100): ALiBi, and a norm after the embedding.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, gpt_neox, mixer};
use crate::plan::{Dense, Layer, Norm, Placement, Step};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::{Bias, Pattern};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let pattern = Pattern { bias: Some(Bias::Alibi), ..Pattern::default() };
    let gqa = Gqa { bias: true, out_bias: true, pattern, ..sizes.attention() };
    let place = match keys.flag("apply_residual_connection_post_layernorm", false)? {
        true => Placement::Base,
        false => Placement::Before,
    };
    let feed_forward = Step::feed_forward(Dense::gelu(sizes.d_ff).biased(true)).norm(place);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?).norm(place), feed_forward]);
    let norm = Norm::layer(keys.number_or("layer_norm_epsilon", 1e-5)? as f32);
    let mut plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    plan.embedding.norm = true;
    Ok(Published { plan, names: names(&sizes) })
}

/// Falcon has these names too.
pub(super) fn names(sizes: &Sizes) -> Names {
    gpt_neox::per_head(words(), "self_attention", sizes)
}

/// The names of all but queries, keys and values.
pub(super) fn words() -> Names {
    Names::default()
        .rename("model.embed_tokens", "transformer.word_embeddings")
        .rename("model.embed_norm", "transformer.word_embeddings_layernorm")
        .rename("model.norm", "transformer.ln_f")
        .rename("model.layers", "transformer.h")
        .rename("mlp.up_proj", "mlp.dense_h_to_4h")
        .rename("mlp.down_proj", "mlp.dense_4h_to_h")
}
