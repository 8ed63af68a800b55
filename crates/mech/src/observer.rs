//! What a layer did in a call, for those who ask.

/// What a layer did in a call. A mechanism fills it through its [`Context`](crate::Context) and does not know whether anybody asked.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    /// Probabilities, in the order in which attentions were computed: a mechanism of several attentions gives several for each
    /// sequence.
    pub maps: Vec<AttentionMap>,
    /// Rows of the call that have a name of their own, like a latent.
    pub rows: Vec<NamedRows>,
}

/// The probabilities that one attention gave to one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMap {
    /// Which sequence of the batch.
    pub sequence: usize,
    /// Query heads, H.
    pub heads: usize,
    /// New rows of the sequence, T.
    pub rows: usize,
    /// Positions of keys, L, from 0.
    pub keys: usize,
    /// `[H, T, L]`; 0 for keys that a query does not see. A learned sink has no column, so that rows may add to less than 1.
    pub probs: Vec<f32>,
}

/// Rows of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedRows {
    /// What they are.
    pub name: &'static str,
    /// Values in a row.
    pub width: usize,
    /// One row after the other, as in the batch.
    pub values: Vec<f32>,
}
