//! Plans as published configurations, and back.
//!
//! A family knows one `model_type`: which plans are its models, and which plan a configuration of it describes. What no
//! family describes is written as `model_type` "attendant". The plan itself goes along under the key `attendant`, so that
//! what was written here is read back exactly.

mod deepseek_v3;
mod llama;

use crate::plan::{FeedForward, Norm, Plan, Positions};
use attendant_core::{Error, Result, error::require};
use deepseek_v3::DeepseekV3;
use llama::Llama;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// config.json of a plan.
pub(crate) fn configuration(plan: &Plan) -> serde_json::Result<Value> {
    let mut config = match (Llama::describe(plan), DeepseekV3::describe(plan)) {
        (Some(llama), _) => serde_json::to_value(llama)?,
        (_, Some(deepseek)) => serde_json::to_value(deepseek)?,
        (None, None) => json!({"model_type": "attendant"}),
    };
    // Through text, in which f32 has its own shortest form: 1e-5 and not 9.999999747378752e-6.
    config["attendant"] = serde_json::from_str(&serde_json::to_string(plan)?)?;
    Ok(config)
}

/// The plan that a configuration describes.
///
/// # Errors
/// If the model type is not known, a key is missing, or it asks for something that is not there.
pub(crate) fn plan(config: &Value) -> Result<Plan> {
    if let Some(plan) = config.get("attendant") {
        return read(plan).map_err(|why| Error::config("attendant", why.to_string()));
    }
    match config.get("model_type").and_then(Value::as_str) {
        Some("llama") => read::<Llama>(config)?.plan(),
        Some("deepseek_v3") => read::<DeepseekV3>(config)?.plan(),
        other => {
            let got = other.map_or("none".into(), |name| format!("{name:?}"));
            Err(Error::config("model_type", format!("got {got}, wanted llama or deepseek_v3, or the key attendant with a plan")))
        }
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|why| Error::config("configuration", why.to_string()))
}

/// The keys that these families have in common.
#[derive(Debug, Serialize, Deserialize)]
struct Shared {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default = "silu")]
    hidden_act: String,
    /// Where transformers 5 keeps the rotation.
    rope_parameters: Option<RopeParameters>,
    /// Where most published files keep its base.
    rope_theta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<Value>,
    dtype: Option<String>,
    /// A plan names no tokens; without these keys transformers would take 1 and 2 for begin and end.
    #[serde(default)]
    bos_token_id: Value,
    #[serde(default)]
    eos_token_id: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct RopeParameters {
    rope_theta: f64,
    rope_type: String,
}

fn silu() -> String {
    "silu".into()
}

/// The f64 that is written like this f32.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| x.into())
}

impl Shared {
    /// What stands around the mechanisms of a plan, if these families stand so.
    fn describe(plan: &Plan, heads: usize, base: f64) -> Option<Shared> {
        let standard = plan.norm == Norm::Rms && plan.feed_forward == FeedForward::SwiGlu && plan.positions == Positions::None;
        standard.then(|| Shared {
            vocab_size: plan.vocab_size,
            hidden_size: plan.d_model,
            intermediate_size: plan.d_ff,
            num_hidden_layers: plan.layers.len(),
            num_attention_heads: heads,
            max_position_embeddings: plan.context,
            rms_norm_eps: shortest(plan.eps),
            tie_word_embeddings: plan.tie_embeddings,
            attention_bias: false,
            hidden_act: silu(),
            rope_parameters: Some(RopeParameters { rope_theta: base, rope_type: "default".into() }),
            rope_theta: Some(base),
            rope_scaling: None,
            dtype: Some("float32".into()),
            bos_token_id: Value::Null,
            eos_token_id: Value::Null,
        })
    }

    /// The base of the rotation.
    fn base(&self) -> Result<f64> {
        let scaling = self.rope_scaling.as_ref().filter(|scaling| !scaling.is_null());
        require(scaling.is_none(), "rope_scaling", || format!("got {scaling:?}, wanted none: scaled rotations are not read"))?;
        let kind = self.rope_parameters.as_ref().map_or("default", |rope| &rope.rope_type);
        let plain = kind == "default";
        require(plain, "rope_parameters.rope_type", || {
            format!("got {kind:?}, wanted \"default\": scaled rotations are not read")
        })?;
        let base = self.rope_parameters.as_ref().map(|rope| rope.rope_theta).or(self.rope_theta);
        // The value that transformers takes without the key.
        Ok(base.unwrap_or(10_000.0))
    }

    /// A plan with this mechanism in every layer.
    fn plan(&self, layer: Value) -> Result<Plan> {
        require(!self.attention_bias, "attention_bias", || "got true, wanted false: a bias of o_proj is not read".into())?;
        let act = &self.hidden_act;
        require(act == "silu", "hidden_act", || format!("got {act:?}, wanted \"silu\""))?;
        let layers = self.num_hidden_layers;
        require(layers <= MOST_LAYERS, "num_hidden_layers", || format!("got {layers}, wanted up to {MOST_LAYERS}"))?;
        Ok(Plan {
            vocab_size: self.vocab_size,
            d_model: self.hidden_size,
            d_ff: self.intermediate_size,
            layers: vec![layer; layers],
            norm: Norm::Rms,
            eps: self.rms_norm_eps as f32,
            feed_forward: FeedForward::SwiGlu,
            positions: Positions::None,
            tie_embeddings: self.tie_word_embeddings,
            context: self.max_position_embeddings,
        })
    }
}

/// A number in a file alone must not exhaust memory.
const MOST_LAYERS: usize = 10_000;

/// The layer that all layers are, if they are alike and of this kind.
fn every_layer<M: DeserializeOwned + PartialEq>(plan: &Plan, kind: &str) -> Option<M> {
    let mut layers = plan.layers.iter().map(|layer| {
        let mut fields = layer.as_object()?.clone();
        (fields.remove("kind")? == kind).then(|| serde_json::from_value::<M>(Value::Object(fields)).ok())?
    });
    let first = layers.next()??;
    layers.all(|layer| layer.as_ref() == Some(&first)).then_some(first)
}

/// The tagged value of a layer.
fn tagged(kind: &str, mechanism: &impl Serialize) -> Result<Value> {
    let mut layer = json!({"kind": kind});
    let fields = serde_json::to_value(mechanism).map_err(|why| Error::config(kind, why.to_string()))?;
    if let (Value::Object(layer), Value::Object(fields)) = (&mut layer, fields) {
        layer.extend(fields);
    }
    Ok(layer)
}
