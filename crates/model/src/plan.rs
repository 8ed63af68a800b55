//! A model as data: one tagged value for each layer, and what stands around them.

use attendant_core::error::require;
use attendant_core::{Error, Result};
use attendant_mech::{Mechanism, Order, build};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A decoder as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the rows.
    pub d_model: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// The mechanism of each layer: `{"kind": "gqa", "heads": 9, ...}`.
    pub layers: Vec<Value>,
    /// Normalisation before each part and at the end.
    pub norm: Norm,
    /// Epsilon of the norms.
    pub eps: f32,
    /// The feed-forward part.
    pub feed_forward: FeedForward,
    /// Positions beside those of the mechanisms.
    pub positions: Positions,
    /// Whether the head shares the embedding's table.
    pub tie_embeddings: bool,
    /// Tokens it was trained on at once.
    pub context: usize,
}

/// Normalisation of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// By the root of the mean square, with a weight.
    Rms,
    /// By mean and deviation, with weight and bias.
    Layer,
}

/// The part of a layer that looks at each row alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedForward {
    /// `down(silu(gate x) * up x)`.
    SwiGlu,
    /// `down(gelu(up x))`, in the tanh form.
    Gelu,
}

/// Positions beside those of the mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// None.
    None,
    /// A learned row for each position, added to the embedding.
    Learned {
        /// Positions there are.
        context: usize,
    },
}

impl Plan {
    /// The mechanisms of its layers.
    ///
    /// # Errors
    /// The field that cannot be used, what it holds and what would do.
    pub fn mechanisms(&self) -> Result<Vec<Box<dyn Mechanism>>> {
        let learned = match self.positions {
            Positions::None => None,
            Positions::Learned { context } => Some(("positions.learned.context", context)),
        };
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_ff", self.d_ff),
            ("context", self.context),
            ("layers", self.layers.len()),
        ];
        for (field, size) in sizes.into_iter().chain(learned) {
            require((1..=LARGEST).contains(&size), field, || format!("got {size}, wanted 1 to {LARGEST}"))?;
        }
        let eps = self.eps;
        require(eps.is_finite() && eps >= 0.0, "eps", || format!("got {eps}, wanted 0 or more"))?;
        self.layers.iter().enumerate().map(|(i, layer)| self.mechanism(&format!("layers[{i}]"), layer)).collect()
    }

    fn mechanism(&self, place: &str, layer: &Value) -> Result<Box<dyn Mechanism>> {
        if let Some(size) = oversized(layer) {
            return Err(Error::config(place, format!("got {size}, wanted sizes up to {LARGEST}")));
        }
        let mechanism = build(layer).map_err(|why| Error::config(place, why.to_string()))?;
        let width = mechanism.d_model();
        require(width == self.d_model, &format!("{place}.d_model"), || {
            format!("got {width}, wanted the model's {}", self.d_model)
        })?;
        let order = mechanism.order();
        require(order == Order::Causal, place, || format!("got {order:?} attention, wanted causal in a decoder"))?;
        Ok(mechanism)
    }

    /// Whether it can be built.
    ///
    /// # Errors
    /// As [`Plan::mechanisms`].
    pub fn check(&self) -> Result<()> {
        self.mechanisms().map(|_| ())
    }
}

/// The largest size a plan may name. Products of two sizes then fit, whoever wrote the configuration.
const LARGEST: usize = i32::MAX as usize;

/// A whole number in a configuration that is larger than any size may be.
fn oversized(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().filter(|&size| size > LARGEST as u64),
        Value::Array(values) => values.iter().find_map(oversized),
        Value::Object(fields) => fields.values().find_map(oversized),
        _ => None,
    }
}
