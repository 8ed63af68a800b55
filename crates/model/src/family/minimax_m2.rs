//! MiniMax M2: partly rotated heads, queries and keys normalised as whole rows, experts by sigmoid.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, llama, mistral, mixer};
use crate::plan::{Dense, Experts, FeedForward, Layer, Routing, Score};
use attendant_core::Result;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::qk_norm::{NormScope, QkNorm};

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let norm = llama::norm(keys)?;
    let qk_norm = Some(QkNorm { scope: NormScope::Row, ..QkNorm::rms(keys.number_or("rms_norm_eps", 1e-6)? as f32) });
    let gqa = Gqa { qk_norm, ..llama::attention(keys, &sizes)? };
    let chosen = keys.size("num_experts_per_tok")?;
    let experts = Experts {
        count: keys.size("num_local_experts")?,
        identities: 0,
        expert: Dense::swiglu(sizes.d_ff),
        routing: Routing { score: Score::Sigmoid, preference: true, renormalise: true, ..Routing::softmax(chosen) },
        shared: None,
    };
    let layers = vec![Layer::pre(mixer(&gqa, None)?, FeedForward::Experts(experts)); sizes.layers];
    let plan = sizes.plan(norm, layers, keys.flag("tie_word_embeddings", false)?);
    Ok(Published { plan, names: mistral::names() })
}
