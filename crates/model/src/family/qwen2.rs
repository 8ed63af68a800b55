//! Qwen 2 and 3, dense and with experts (Yang et al. 2024, 2407.10671; 2025, 2505.09388).

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mixer};
use crate::plan::{Dense, Experts, FeedForward, Layer, Plan, Routing, Shared};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::QkNorm;

/// Qwen 2: biases of queries, keys and values.
pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let gqa = Gqa { bias: keys.flag("qkv_bias", true)?, out_bias: false, ..llama::attention(keys, &sizes)? };
    Ok(Published::plain(plan(keys, &sizes, &gqa)?))
}

/// Qwen 3: normalised queries and keys.
pub(super) fn read_qwen3(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let qk_norm = Some(QkNorm::rms(keys.number_or("rms_norm_eps", 1e-6)? as f32));
    let gqa = Gqa { qk_norm, ..llama::attention(keys, &sizes)? };
    let plan = plan(keys, &sizes, &gqa)?;
    Ok(Published { plan, names: Names::default() })
}

fn plan(keys: &Keys<'_>, sizes: &Sizes, gqa: &Gqa) -> Result<Plan> {
    let windowed = keys.flag("use_sliding_window", false)?;
    let first = keys.size_or("max_window_layers", 28)?;
    let sliding = keys.layers_of("sliding_attention", sizes.layers, |layer| windowed && layer >= first)?;
    let window = keys.size_if("sliding_window")?.filter(|_| windowed);
    let mut layers = Vec::new();
    for (i, sliding) in sliding.into_iter().enumerate() {
        layers.push(Layer::pre(mixer(gqa, window.filter(|_| sliding))?, feed_forward(keys, sizes, i)?));
    }
    Ok(sizes.plan(llama::norm(keys)?, layers, keys.flag("tie_word_embeddings", false)?))
}

/// Experts in the layers that have them, if any have.
fn feed_forward(keys: &Keys<'_>, sizes: &Sizes, layer: usize) -> Result<FeedForward> {
    let dense = FeedForward::Dense(Dense::swiglu(sizes.d_ff));
    let Some(count) = keys.size_if("num_experts|num_local_experts")? else { return Ok(dense) };
    let only = keys.list("mlp_only_layers", "numbers of layers", serde_json::Value::as_u64)?.unwrap_or_default();
    let step = keys.size_or("decoder_sparse_step", 1)?;
    keys.expect("decoder_sparse_step", step > 0, "at least 1")?;
    if count == 0 || only.contains(&(layer as u64)) || !(layer + 1).is_multiple_of(step) {
        return Ok(dense);
    }
    let shared = keys.size_if("shared_expert_intermediate_size")?;
    let routing = Routing::softmax(keys.size("num_experts_per_tok")?);
    Ok(FeedForward::Experts(Experts {
        count,
        identities: 0,
        expert: Dense::swiglu(keys.size("moe_intermediate_size")?),
        routing: Routing { renormalise: keys.flag("norm_topk_prob", false)?, ..routing },
        shared: shared.map(|d_ff| Shared { expert: Dense::swiglu(d_ff), gate: true }),
    }))
}

/// Experts' names are Llama's but for the shared one.
pub(super) fn read_moe(keys: &Keys<'_>) -> Result<Published> {
    let names = Names::default().rename("mlp.shared_experts", "mlp.shared_expert");
    Ok(Published { names, ..read(keys)? })
}
