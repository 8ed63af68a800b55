//! Llama: grouped-query attention with whole heads rotated in halves (Touvron et al. 2023, 2302.13971; Dubey et al. 2024,
//! 2407.21783).

use super::{Shared, every_layer, tagged};
use crate::plan::Plan;
use attendant_core::{Result, error::require};
use attendant_mech::Rotary;
use attendant_mech::mechanisms::gqa::Gqa;
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
        let layer: Gqa = every_layer(plan, "gqa")?;
        let Gqa { d_model, heads, kv_heads, d_head, .. } = layer;
        let base = layer.rotary.as_ref()?.base;
        let rotary = Some(Rotary { base, ..Rotary::new(d_head) });
        let plain = layer == Gqa { rotary, ..Gqa::plain(d_model, heads, kv_heads, d_head) };
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
        let rotary = Some(Rotary { base: self.shared.base()?, ..Rotary::new(d_head) });
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        let layer = Gqa { rotary, ..Gqa::plain(d_model, heads, kv_heads, d_head) };
        self.shared.plan(tagged("gqa", &layer)?)
    }
}
