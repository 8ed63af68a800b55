//! Parts of a layer that look at each row alone.

use serde::{Deserialize, Serialize};

/// The part of a layer that looks at each row alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FeedForward {
    /// The same products for every row.
    Dense(Dense),
    /// A few of many, chosen by the row itself.
    Experts(Experts),
}

impl From<Dense> for FeedForward {
    fn from(dense: Dense) -> FeedForward {
        FeedForward::Dense(dense)
    }
}

impl From<Experts> for FeedForward {
    fn from(experts: Experts) -> FeedForward {
        FeedForward::Experts(experts)
    }
}

/// Two or three products with a function between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Width between the products.
    pub d_ff: usize,
    /// What happens there.
    pub form: Form,
    /// Whether the products add biases.
    #[serde(default)]
    pub bias: bool,
}

impl Dense {
    /// `down(silu(gate x) * up x)`.
    pub fn swiglu(d_ff: usize) -> Dense {
        Dense { d_ff, form: Form::Gated(Activation::Silu), bias: false }
    }

    /// `down(gelu(up x))`, in the tanh form.
    pub fn gelu(d_ff: usize) -> Dense {
        Dense { d_ff, form: Form::Plain(Activation::GeluTanh), bias: false }
    }

    /// The same with biases.
    pub fn biased(self, bias: bool) -> Dense {
        Dense { bias, ..self }
    }
}

/// What happens between the products.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `down(f(up x))`
    Plain(Activation),
    /// `down(f(gate x) * up x)`
    Gated(Activation),
    /// `down(g sigmoid(alpha g) * (u + 1))` with `g = min(gate x, limit)` and `u = up x` within `-limit ..= limit` (gpt-oss)
    Clamped {
        /// The largest gate, and the largest size of the rest.
        limit: f32,
        /// Steepness of the gate.
        alpha: f32,
    },
}

impl Form {
    /// Whether there is a third product.
    pub(crate) fn gated(self) -> bool {
        !matches!(self, Form::Plain(_))
    }
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x sigmoid(x)`
    Silu,
    /// `x Phi(x)`
    Gelu,
    /// Its approximation by tanh
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)^2`
    ReluSquared,
}

/// A few of many feed-forward parts, chosen by the row itself (Shazeer et al. 2017, 1701.06538).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// How many there are to choose from.
    pub count: usize,
    /// Further ones that give back what they are given (LongCat-Flash).
    #[serde(default)]
    pub identities: usize,
    /// Each of them.
    pub expert: Dense,
    /// How they are chosen and weighed.
    pub routing: Routing,
    /// One that every row goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

/// How experts are chosen and weighed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// How many a row goes through.
    pub chosen: usize,
    /// What becomes of the router's product.
    pub score: Score,
    /// Whether that product adds a bias.
    #[serde(default)]
    pub bias: bool,
    /// Whether a learned value for each expert is added to the scores for choosing, and not for weighing (DeepSeek V3).
    #[serde(default)]
    pub preference: bool,
    /// Choose only within the best groups of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
    /// Whether the weights of the chosen are divided by their sum.
    #[serde(default)]
    pub renormalise: bool,
    /// Multiplies the weights.
    #[serde(default = "one")]
    pub factor: f32,
    /// Whether the weight multiplies what goes into an expert, and not what comes out (Llama 4).
    #[serde(default)]
    pub weigh_input: bool,
}

fn one() -> f32 {
    1.0
}

impl Routing {
    /// The best `chosen` of a softmax.
    pub fn softmax(chosen: usize) -> Routing {
        Routing {
            chosen,
            score: Score::Softmax,
            bias: false,
            preference: false,
            groups: None,
            renormalise: false,
            factor: 1.0,
            weigh_input: false,
        }
    }
}

/// What becomes of the router's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// A probability over all experts.
    Softmax,
    /// A number between 0 and 1 for each alone.
    Sigmoid,
}

/// Groups of experts of which the best are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// How many groups.
    pub count: usize,
    /// How many are kept.
    pub kept: usize,
    /// A group counts the sum of its best so many scores.
    pub best: usize,
}

/// An expert that every row goes through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The expert.
    pub expert: Dense,
    /// Whether a learned sigmoid of the row scales it (Qwen 2 MoE).
    #[serde(default)]
    pub gate: bool,
}
