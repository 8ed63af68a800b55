//! A model as data: what its layers do, step by step, and what stands around them.
//!
//! A layer is a list of [`Step`]s, each of which adds what one part makes of the rows to the rows. Which mechanism a step holds is
//! one tagged value, so that layers of different kinds are plain data.

pub(crate) mod check;
mod feed_forward;
mod step;

pub use feed_forward::{Activation, Dense, Experts, FeedForward, Form, Groups, Routing, Score, Shared};
pub use step::{Layer, Part, Placement, Reads, Step, Wiring};

use serde::{Deserialize, Serialize};

/// A model as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the rows.
    pub d_model: usize,
    /// Tokens it was trained on at once.
    pub context: usize,
    /// The norm that every step, the embedding and the head use where they use one.
    pub norm: Norm,
    /// How tokens become rows.
    #[serde(default)]
    pub embedding: Embedding,
    /// The layers.
    pub layers: Vec<Layer>,
    /// How rows become logits.
    #[serde(default)]
    pub head: Head,
    /// Layers that read a source, which the mechanisms of order `cross` see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Encoder>,
}

/// Normalisation of rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Norm {
    /// By the root of the mean square.
    Rms {
        /// Added to the mean square.
        eps: f32,
        /// Whether a learned weight scales the result.
        #[serde(default = "yes")]
        weight: bool,
    },
    /// By mean and deviation.
    Layer {
        /// Added to the variance.
        eps: f32,
        /// Whether a learned weight scales the result.
        #[serde(default = "yes")]
        weight: bool,
        /// Whether a learned bias is added.
        #[serde(default = "yes")]
        bias: bool,
    },
}

impl Norm {
    /// By the root of the mean square, with a weight.
    pub fn rms(eps: f32) -> Norm {
        Norm::Rms { eps, weight: true }
    }

    /// By mean and deviation, with weight and bias.
    pub fn layer(eps: f32) -> Norm {
        Norm::Layer { eps, weight: true, bias: true }
    }
}

/// How tokens become rows: `norm(scale * project(table[id]) + positions + types)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedding {
    /// Width of the table's rows where a product widens them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Multiplies what the table gives.
    pub scale: f32,
    /// Positions beside those of the mechanisms.
    pub positions: Positions,
    /// Kinds of tokens that have a learned row each; 0 for none.
    pub token_types: usize,
    /// Whether the sum is normalised.
    pub norm: bool,
}

impl Default for Embedding {
    fn default() -> Embedding {
        Embedding { width: None, scale: 1.0, positions: Positions::None, token_types: 0, norm: false }
    }
}

/// Positions beside those of the mechanisms, added to the embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// None.
    #[default]
    None,
    /// A learned row for each position.
    Learned {
        /// Positions there are.
        context: usize,
    },
    /// A learned row for each position, where a token of padding takes the row of its own id, and is not counted; the first
    /// counted token takes the row after that (RoBERTa).
    Counted {
        /// Rows there are.
        context: usize,
        /// The id of padding.
        padding: u32,
    },
    /// Sines of the first half of the wavelengths, then cosines (Marian).
    Sinusoidal,
}

impl Positions {
    /// How many there are, where they are learned: no token can stand beyond.
    pub fn learned(self) -> Option<usize> {
        match self {
            Positions::Learned { context } => Some(context),
            Positions::Counted { context, padding } => Some(context.saturating_sub(padding as usize + 1)),
            Positions::None | Positions::Sinusoidal => None,
        }
    }
}

/// How rows become logits: `cap(scale * (project(transform(norm(x))) table^T + bias))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Head {
    /// Whether there is none: an encoder that was published for its rows alone gives no logits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// Whether the rows are normalised first.
    pub norm: bool,
    /// A product, this activation and a norm before the table (masked language models).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// Whether the table is that of the embedding.
    pub tied: bool,
    /// Whether a learned bias is added.
    pub bias: bool,
    /// Multiplies the logits.
    pub scale: f32,
    /// Logits become `cap * tanh(logit / cap)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softcap: Option<f32>,
}

impl Default for Head {
    fn default() -> Head {
        Head { absent: false, norm: true, transform: None, tied: false, bias: false, scale: 1.0, softcap: None }
    }
}

/// What a masked language model does to a row before its logits: `norm(activation(W x + b))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// After the product.
    pub activation: Activation,
    /// Whether the product adds a bias.
    pub bias: bool,
}

/// Layers over the source: all of it at once, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// How tokens of the source become rows; its table is that of the model.
    #[serde(default)]
    pub embedding: Embedding,
    /// The layers.
    pub layers: Vec<Layer>,
    /// Whether the rows are normalised at the end.
    pub norm: bool,
    /// The token that every target begins with.
    pub start: u32,
}

fn yes() -> bool {
    true
}
