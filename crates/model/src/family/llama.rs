//! Llama: grouped-query attention with whole heads rotated in halves (Touvron et al. 2023, 2302.13971; Dubey et al. 2024,
//! 2407.21783).

use super::{Shared, every_layer, tagged};
use crate::plan::Plan;
use attendant_core::{Result, error::require};
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::rotary::Pairs;
use attendant_mech::{Pattern, Rotary};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Llama {
    #[serde(default)]
    architectures: Vec<String>,
    model_type: String,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(flatten)]
    shared: Shared,
}

impl Llama {
    /// The configuration of a plan, if it is a Llama.
    pub(super) fn describe(plan: &Plan) -> Option<Llama> {
        let Gqa { d_model, heads, kv_heads, d_head, rotary, qk_norm, bias, pattern } = every_layer(plan, "gqa")?;
        let Rotary { width, base, pairs } = rotary?;
        let plain = qk_norm.is_none() && !bias && pattern == Pattern::default() && width == d_head && pairs == Pairs::Halves;
        // transformers refuses other widths, though with head_dim nothing depends on it.
        let divides = d_model.is_multiple_of(heads);
        let shared = Shared::describe(plan, heads, base)?;
        (plain && divides).then(|| Llama {
            architectures: vec!["LlamaForCausalLM".into()],
            model_type: "llama".into(),
            num_key_value_heads: Some(kv_heads),
            head_dim: Some(d_head),
            mlp_bias: false,
            shared,
        })
    }

    /// The plan of a configuration.
    pub(super) fn plan(&self) -> Result<Plan> {
        require(!self.mlp_bias, "mlp_bias", || "got true, wanted false".into())?;
        let (d_model, heads) = (self.shared.hidden_size, self.shared.num_attention_heads);
        require(heads > 0, "num_attention_heads", || "got 0, wanted at least 1".into())?;
        let d_head = self.head_dim.unwrap_or(d_model / heads);
        let rotary = Some(Rotary { width: d_head, base: self.shared.base()?, pairs: Pairs::Halves });
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        let pattern = Pattern::default();
        let layer = Gqa { d_model, heads, kv_heads, d_head, rotary, qk_norm: None, bias: false, pattern };
        self.shared.plan(tagged("gqa", &layer)?)
    }
}
