//! DeepSeek V3 without experts: multi-head latent attention (DeepSeek-AI 2024, 2412.19437).

use super::{Shared, every_layer, tagged};
use crate::plan::Plan;
use attendant_core::{Result, error::require};
use attendant_mech::mechanisms::mla::Mla;
use attendant_mech::rotary::Pairs;
use serde::{Deserialize, Serialize};

/// Epsilon of the norms on the latents: transformers keeps it whatever `rms_norm_eps` says.
const LATENT_EPS: f32 = 1e-6;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeepseekV3 {
    #[serde(default)]
    architectures: Vec<String>,
    model_type: String,
    num_key_value_heads: Option<usize>,
    kv_lora_rank: usize,
    q_lora_rank: Option<usize>,
    qk_nope_head_dim: usize,
    qk_rope_head_dim: usize,
    v_head_dim: usize,
    /// DeepSeek's own files lack the key; they rotate adjacent values.
    #[serde(default = "interleaved")]
    rope_interleave: bool,
    /// Layers from this one on have experts.
    first_k_dense_replace: usize,
    #[serde(default)]
    num_nextn_predict_layers: usize,
    #[serde(flatten)]
    shared: Shared,
}

fn interleaved() -> bool {
    true
}

impl DeepseekV3 {
    /// The configuration of a plan, if it is a dense DeepSeek V3.
    pub(super) fn describe(plan: &Plan) -> Option<DeepseekV3> {
        let layer: Mla = every_layer(plan, "mla")?;
        let Mla { d_model, heads, r_kv, r_q, d_nope, d_rope, d_v, base, pairs, .. } = layer;
        let shared = Shared::describe(plan, heads, base)?;
        let widths = [d_nope, d_rope, d_v];
        let plain = layer == Mla { r_q, base, pairs, eps: LATENT_EPS, ..Mla::plain(d_model, heads, r_kv, widths) };
        plain.then(|| DeepseekV3 {
            architectures: vec!["DeepseekV3ForCausalLM".into()],
            model_type: "deepseek_v3".into(),
            num_key_value_heads: Some(heads),
            kv_lora_rank: r_kv,
            q_lora_rank: r_q,
            qk_nope_head_dim: d_nope,
            qk_rope_head_dim: d_rope,
            v_head_dim: d_v,
            rope_interleave: pairs == Pairs::Adjacent,
            first_k_dense_replace: plan.layers.len(),
            num_nextn_predict_layers: 0,
            shared,
        })
    }

    /// The plan of a configuration.
    pub(super) fn plan(&self) -> Result<Plan> {
        let (dense, layers) = (self.first_k_dense_replace, self.shared.num_hidden_layers);
        require(dense >= layers, "first_k_dense_replace", || {
            format!("got {dense} of {layers} layers, wanted all: no experts yet")
        })?;
        let heads = self.shared.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        require(kv_heads == heads, "num_key_value_heads", || format!("got {kv_heads}, wanted the {heads} query heads"))?;
        let layer = Mla {
            r_q: self.q_lora_rank,
            base: self.shared.base()?,
            pairs: if self.rope_interleave { Pairs::Adjacent } else { Pairs::Halves },
            eps: LATENT_EPS,
            ..Mla::plain(
                self.shared.hidden_size,
                heads,
                self.kv_lora_rank,
                [self.qk_nope_head_dim, self.qk_rope_head_dim, self.v_head_dim],
            )
        };
        self.shared.plan(tagged("mla", &layer)?)
    }
}
