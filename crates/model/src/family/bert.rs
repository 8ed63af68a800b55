//! BERT (Devlin et al. 2018, 1810.04805) and RoBERTa (Liu et al. 2019, 1907.11692): every token sees all, norms after each sum.

use super::keys::Keys;
use super::sizes::Sizes;
use super::{Published, mixer};
use crate::plan::{Dense, Embedding, Form, Head, Layer, Norm, Placement, Plan, Positions, Step, Transform};
use crate::source::Names;
use attendant_core::Result;
use attendant_mech::Pattern;
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::pattern::See;

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let positions = Positions::Learned { context: keys.size_or("max_position_embeddings", 512)? };
    let names = names("bert")
        .rename("lm_head.dense", "cls.predictions.transform.dense")
        .rename("lm_head.norm", "cls.predictions.transform.LayerNorm")
        .rename("lm_head.bias", "cls.predictions.bias")
        .ignore("cls.predictions.decoder")
        .ignore("cls.seq_relationship");
    Ok(Published { plan: plan(keys, positions)?, names })
}

/// RoBERTa counts positions from the row after that of padding.
pub(super) fn read_roberta(keys: &Keys<'_>) -> Result<Published> {
    let padding = keys.size_or("pad_token_id", 1)?;
    keys.expect("pad_token_id", u32::try_from(padding).is_ok(), "a token")?;
    let context = keys.size_or("max_position_embeddings", 514)?;
    let names = names("roberta").rename("lm_head.norm", "lm_head.layer_norm").ignore("lm_head.decoder");
    Ok(Published { plan: plan(keys, Positions::Counted { context, padding: padding as u32 })?, names })
}

fn plan(keys: &Keys<'_>, positions: Positions) -> Result<Plan> {
    let sizes = Sizes::read(keys)?;
    let pattern = Pattern { see: See::Everything, ..Pattern::default() };
    let gqa = Gqa { bias: true, out_bias: true, pattern, ..sizes.attention() };
    let activation = keys.activation("hidden_act", "gelu")?;
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form: Form::Plain(activation), bias: true });
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?).norm(Placement::Sum), feed_forward.norm(Placement::Sum)]);
    let norm = Norm::layer(keys.number_or("layer_norm_eps", 1e-12)? as f32);
    let mut plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    let token_types = keys.size_or("type_vocab_size", 2)?;
    plan.embedding = Embedding { positions, token_types, norm: true, ..plan.embedding };
    plan.head = Head { norm: false, transform: Some(Transform { activation, bias: true }), bias: true, ..plan.head };
    Ok(plan)
}

fn names(model: &str) -> Names {
    let under = |rest: &str| format!("{model}.{rest}");
    Names::default()
        .rename("model.embed_tokens", &under("embeddings.word_embeddings"))
        .rename("model.embed_positions", &under("embeddings.position_embeddings"))
        .rename("model.embed_token_types", &under("embeddings.token_type_embeddings"))
        .rename("model.embed_norm", &under("embeddings.LayerNorm"))
        .rename("model.layers", &under("encoder.layer"))
        .rename("self_attn.q_proj", "attention.self.query")
        .rename("self_attn.k_proj", "attention.self.key")
        .rename("self_attn.v_proj", "attention.self.value")
        .rename("self_attn.o_proj", "attention.output.dense")
        .rename("post_self_attn_layernorm", "attention.output.LayerNorm")
        .rename("mlp.up_proj", "intermediate.dense")
        .rename("mlp.down_proj", "output.dense")
        .rename("post_mlp_layernorm", "output.LayerNorm")
        .ignore("pooler")
        .ignore("embeddings.position_ids")
}
