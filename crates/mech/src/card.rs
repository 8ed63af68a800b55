//! What a mechanism says of itself.

use serde::Serialize;

/// The facts about a mechanism that do not depend on its configuration.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Card {
    /// One sentence.
    pub sentence: &'static str,
    /// Authors, year, arXiv number.
    pub paper: &'static str,
    /// Values that one more token adds to one layer's cache, as a formula.
    pub cache: &'static str,
    /// Published models that use it.
    pub models: &'static [&'static str],
    /// How far it is worked out.
    pub tier: Tier,
}

/// How far a mechanism is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Tier {
    /// Fast kernels forward and backward, every store, published checkpoints.
    One,
    /// Fast forward, plain backward.
    Two,
    /// Plain code, exact oracle.
    Three,
}

/// Which rows may change an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Order {
    /// Its own and earlier ones.
    Causal,
    /// All of the sequence, which must therefore be given whole.
    Bidirectional,
    /// The source's, and its own.
    Cross,
}
