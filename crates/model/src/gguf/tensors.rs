//! The names of a file's tensors.

use super::Tensors;
use super::architectures::Architecture;
use crate::plan::{FeedForward, Part, Plan};
use crate::source::{Names, Step, rows};
use serde_json::Value;

/// Where the parameters of a plan come from. Norms are stored as they are used, with the one that Gemma's weights lack.
pub(super) fn names(architecture: &Architecture, plan: &Plan, tensors: &dyn Tensors) -> Names {
    let own = architecture.tensors.iter().fold(Names::default(), |names, (part, with)| names.rename(part, with));
    fused(own, plan, tensors)
        .rename("model.embed_tokens", "token_embd")
        .rename("model.embed_positions", "position_embd")
        .rename("model.embed_token_types", "token_types")
        .rename("model.embed_norm", "token_embd_norm")
        .rename("model.norm", "output_norm")
        .rename("lm_head", "output")
        .rename("model.layers", "blk")
        .rename("input_layernorm", "attn_norm")
        .rename("post_attention_layernorm", "ffn_norm")
        .rename("self_attn.q_proj", "attn_q")
        .rename("self_attn.k_proj", "attn_k")
        .rename("self_attn.v_proj", "attn_v")
        .rename("self_attn.o_proj", "attn_output")
        .rename("self_attn.q_norm", "attn_q_norm")
        .rename("self_attn.k_norm", "attn_k_norm")
        .rename("self_attn.q_a_proj", "attn_q_a")
        .rename("self_attn.q_a_layernorm", "attn_q_a_norm")
        .rename("self_attn.q_b_proj", "attn_q_b")
        .rename("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa")
        .rename("self_attn.kv_a_layernorm", "attn_kv_a_norm")
        .rename("self_attn.kv_b_proj", "attn_kv_b")
        .take("mlp.experts.#.gate_proj", "ffn_gate_exps", [Step::Expert])
        .take("mlp.experts.#.up_proj", "ffn_up_exps", [Step::Expert])
        .take("mlp.experts.#.down_proj", "ffn_down_exps", [Step::Expert])
        .rename("mlp.shared_experts.gate_proj", "ffn_gate_shexp")
        .rename("mlp.shared_experts.up_proj", "ffn_up_shexp")
        .rename("mlp.shared_experts.down_proj", "ffn_down_shexp")
        .take("mlp.shared_expert_gate", "ffn_gate_inp_shexp", [Step::Reshaped])
        .rename("mlp.gate.e_score_correction_bias", "exp_probs_b.bias")
        .rename("mlp.gate", "ffn_gate_inp")
        .rename("mlp.gate_proj", "ffn_gate")
        .rename("mlp.up_proj", "ffn_up")
        .rename("mlp.down_proj", "ffn_down")
        .ignore("rope_freqs")
        .ignore("rope_factors_short")
        .ignore("rope_factors_long")
}

/// Parts that a file has in one tensor, or in more than one.
fn fused(mut names: Names, plan: &Plan, tensors: &dyn Tensors) -> Names {
    let mixer = plan.layers.first().and_then(|layer| layer.mixers().next());
    let size = |name: &str| mixer.and_then(|mixer| mixer.get(name)).and_then(Value::as_u64).unwrap_or(0) as usize;
    if tensors.has("blk.0.attn_qkv.weight") {
        let [q, k] = ["heads", "kv_heads"].map(|heads| size(heads).saturating_mul(size("d_head")));
        names = names.take("self_attn.q_proj", "attn_qkv", [rows(0, q)]).take("self_attn.k_proj", "attn_qkv", [rows(q, k)]).take(
            "self_attn.v_proj",
            "attn_qkv",
            [rows(q.saturating_add(k), k)],
        );
    }
    if tensors.has("blk.0.attn_k_b.weight") && !tensors.has("blk.0.attn_kv_b.weight") {
        let [heads, keys, values] = ["heads", "d_nope", "d_v"].map(size);
        names = names.take("self_attn.kv_b_proj", "attn_{}_b", [Step::KeysAndValues { heads, keys, values }]);
    }
    // Where each part has a norm of its own, attention's is the second.
    if tensors.has("blk.0.attn_norm_2.weight") {
        names = names.rename("input_layernorm", "attn_norm_2").rename("post_attention_layernorm", "attn_norm");
    }
    if let Some(d_ff) = fused_gates(plan, tensors) {
        names = names.take("mlp.gate_proj", "ffn_up", [rows(0, d_ff)]).take("mlp.up_proj", "ffn_up", [rows(d_ff, d_ff)]);
    }
    if let Some(d_ff) = fused_experts(plan, tensors) {
        names = names.take("mlp.experts.#.gate_proj", "ffn_gate_up_exps", [Step::Expert, rows(0, d_ff)]).take(
            "mlp.experts.#.up_proj",
            "ffn_gate_up_exps",
            [Step::Expert, rows(d_ff, d_ff)],
        );
    }
    names
}

/// The width of feed-forward parts whose gates and ups are in one matrix, gates first.
fn fused_gates(plan: &Plan, tensors: &dyn Tensors) -> Option<usize> {
    feed_forwards(plan).find_map(|(layer, part)| match part {
        FeedForward::Dense(dense) => {
            let rows = *tensors.shape(&format!("blk.{layer}.ffn_up.weight"))?.first()?;
            (dense.form.gated() && rows == dense.d_ff.saturating_mul(2)).then_some(dense.d_ff)
        }
        FeedForward::Experts(_) => None,
    })
}

/// The same of experts.
fn fused_experts(plan: &Plan, tensors: &dyn Tensors) -> Option<usize> {
    feed_forwards(plan).find_map(|(layer, part)| match part {
        FeedForward::Experts(experts) => {
            tensors.has(&format!("blk.{layer}.ffn_gate_up_exps.weight")).then_some(experts.expert.d_ff)
        }
        FeedForward::Dense(_) => None,
    })
}

fn feed_forwards(plan: &Plan) -> impl Iterator<Item = (usize, &FeedForward)> {
    let steps = plan.layers.iter().enumerate().flat_map(|(i, layer)| layer.steps.iter().map(move |step| (i, &step.part)));
    steps.filter_map(|(i, part)| match part {
        Part::FeedForward(part) => Some((i, part)),
        Part::Mixer(_) => None,
    })
}
