//! A model as data: one tagged value for each layer, and what stands around them.

use attendant_core::Result;
use attendant_core::error::require;
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
        let sizes =
            [("vocab_size", self.vocab_size), ("d_model", self.d_model), ("d_ff", self.d_ff), ("layers", self.layers.len())];
        for (field, size) in sizes {
            require(size > 0, field, || "got 0, wanted at least 1".into())?;
        }
        require(self.eps >= 0.0, "eps", || format!("got {}, wanted 0 or more", self.eps))?;
        let mut mechanisms = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let mechanism = build(layer)?;
            let width = mechanism.d_model();
            require(width == self.d_model, &format!("layers[{i}].d_model"), || {
                format!("got {width}, wanted the model's {}", self.d_model)
            })?;
            let causal = mechanism.order() == Order::Causal;
            require(causal, &format!("layers[{i}]"), || {
                format!("got {:?} attention, wanted causal in a decoder", mechanism.order())
            })?;
            mechanisms.push(mechanism);
        }
        Ok(mechanisms)
    }

    /// Whether it can be built.
    ///
    /// # Errors
    /// As [`Plan::mechanisms`].
    pub fn check(&self) -> Result<()> {
        self.mechanisms().map(|_| ())
    }
}
