//! LongCat-Flash (Meituan 2025, 2509.01322): two latent attentions a layer, experts in a shortcut around the second, some of which
//! give back what they are given.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, deepseek, llama, tagged};
use crate::plan::{Dense, Experts, Layer, Reads, Routing, Step};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::mechanisms::mla::Mla;
use attendant_mech::rotary::Pairs;

/// A number in a file alone must not exhaust memory.
const MOST_UNREAD: usize = 4096;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let sizes = Sizes::read(keys)?;
    let mixer = || tagged("mla", &attention(keys, &sizes)?).map(Step::mixer);
    let dense = || Step::feed_forward(Dense::swiglu(sizes.d_ff));
    let routing = Routing {
        preference: true,
        bias: keys.flag("router_bias", false)?,
        factor: keys.number_or("routed_scaling_factor", 1.0)? as f32,
        ..Routing::softmax(keys.size("moe_topk|num_experts_per_tok")?)
    };
    let experts = Experts {
        count: keys.size("n_routed_experts")?,
        identities: keys.size_or("zero_expert_num", 0)?,
        expert: Dense::swiglu(keys.size("expert_ffn_hidden_size|moe_intermediate_size")?),
        routing,
        shared: None,
    };
    let shortcut = Step::feed_forward(experts).reads(Reads::Same).later(2);
    let layer = Layer::new([mixer()?, dense(), shortcut, mixer()?, dense()]);
    let plan = sizes.plan(llama::norm(keys)?, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", false)?);
    // Files hold weights of the experts that give back what they are given.
    let unread = experts.count..experts.count.saturating_add(experts.identities.min(MOST_UNREAD));
    let names = unread.fold(names(), |names, expert| names.ignore(&format!("mlp.experts.{expert}")));
    Ok(Published { plan, names })
}

/// Both latents are scaled by the root of how much narrower than the rows they are.
fn attention(keys: &Keys<'_>, sizes: &Sizes) -> Result<Mla> {
    let mla = deepseek::attention(keys, sizes)?;
    let growth = |rank: usize| (sizes.d_model as f64 / rank as f64).sqrt();
    let usual = ((mla.d_nope + mla.d_rope) as f64).powf(-0.5);
    let scale = mla.r_q.map(|rank| (f64::from(mla.scale.map_or(usual as f32, |scale| scale)) * growth(rank)) as f32);
    Ok(Mla { pairs: Pairs::Adjacent, latent_scale: Some(growth(mla.r_kv) as f32), scale, ..mla })
}

fn names() -> Names {
    Names::default()
        .rename("input_layernorm", "input_layernorm.0")
        .rename("input_layernorm_2", "input_layernorm.1")
        .rename("post_attention_layernorm", "post_attention_layernorm.0")
        .rename("post_attention_layernorm_3", "post_attention_layernorm.1")
        .rename("self_attn", "self_attn.0")
        .rename("self_attn_2", "self_attn.1")
        .rename("mlp", "mlps.0")
        .rename("mlp_2.gate.e_score_correction_bias", "mlp.router.e_score_correction_bias")
        .rename("mlp_2.gate", "mlp.router.classifier")
        .rename("mlp_2", "mlp")
        .rename("mlp_3", "mlps.1")
}
