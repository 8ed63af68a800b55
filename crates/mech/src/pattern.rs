//! What differs between softmax attentions: which keys a query sees, and what happens to its scores.

use crate::context::{Context, Memory};
use crate::mechanism::{Bound, Parameter};
use attendant_core::ops::{Softmax, Visible};
use attendant_core::{Real, Result, Rows, Var, error::require};
use serde::{Deserialize, Serialize};

/// What differs between softmax attentions. The default is causal and plain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pattern {
    /// Which keys a query sees.
    pub see: See,
    /// Scores become `cap * tanh(score / cap)` (Gemma 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softcap: Option<f32>,
    /// Added to the scores by distance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<Bias>,
    /// One learned score per head that takes part in the softmax and has no value (gpt-oss).
    pub sink: bool,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum See {
    /// Its own and earlier ones.
    #[default]
    Causal,
    /// All.
    Everything,
    /// Causal within chunks of this many tokens, aligned to the start (Llama 4).
    Chunk(usize),
    /// The first so many, and causal after (prefix language models).
    Prefix(usize),
    /// Those at most this far away, before and after (ModernBERT's local layers).
    Near(usize),
}

/// A bias by distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bias {
    /// `-slope * distance`, a slope per head (Press et al. 2022, 2108.12409).
    Alibi,
    /// The same multiplied by what the dot products are multiplied by (Falcon).
    #[serde(rename = "scaled_alibi")]
    ScaledAlibi,
    /// A learned value per head and bucket of distances (Raffel et al. 2020, 1910.10683, section 2.1).
    T5 {
        /// Buckets, a multiple of 4: their half is halved again where both directions are seen.
        buckets: usize,
        /// Distance from which on all share the last bucket.
        max_distance: usize,
        /// Whether all layers of a stack have one table (T5), or each its own.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shared: bool,
    },
}

impl Pattern {
    /// Whether it can be used.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        if let See::Chunk(size) = self.see {
            require(size > 0, "see.chunk", || "got 0, wanted at least 1 token".into())?;
        }
        if let Some(cap) = self.softcap {
            require(cap.is_finite() && cap > 0.0, "softcap", || format!("got {cap}, wanted a number above 0"))?;
        }
        if let Some(Bias::T5 { buckets, max_distance, .. }) = self.bias {
            let fits = buckets >= 4 && buckets % 4 == 0 && max_distance > buckets;
            let got =
                || format!("got {buckets} buckets up to distance {max_distance}, wanted a multiple of 4 below the distance");
            require(fits, "bias.t5", got)?;
        }
        Ok(())
    }

    /// Its parameters for `heads` heads.
    pub fn params(&self, heads: usize) -> Vec<Parameter> {
        let mut params = Vec::new();
        if let Some(Bias::T5 { buckets, shared, .. }) = self.bias {
            params.push(Parameter { shared, ..Parameter::product("relative_bias", buckets, heads) }.bare());
        }
        if self.sink {
            params.push(Parameter::vector("sinks", heads, 0.0).bare());
        }
        params
    }

    /// The kernel's view of `see`.
    pub fn visible(&self) -> Visible {
        match self.see {
            See::Causal => Visible::Causal,
            See::Everything => Visible::All,
            See::Chunk(size) => Visible::Chunk(size),
            See::Prefix(n) => Visible::Prefix(n),
            See::Near(n) => Visible::Near(n),
        }
    }

    fn bidirectional(&self) -> bool {
        matches!(self.see, See::Everything | See::Near(_))
    }

    /// Fills in cap, bias and sink of an attention over `keys`.
    pub fn apply(&self, cx: &mut Context<'_>, p: &Bound, keys: &Memory, spec: Softmax) -> Softmax {
        let heads = spec.heads;
        let bias = self.bias.map(|bias| {
            let (first, width) = cx.distances(keys);
            let table = self.bias_table(cx, p, bias, heads, first, width);
            let table = if bias == Bias::ScaledAlibi { cx.scale(table, spec.scale) } else { table };
            (table, first)
        });
        Softmax { softcap: self.softcap, bias, sink: self.sink.then(|| p["sinks"]), ..spec }
    }

    fn bias_table(&self, cx: &mut Context<'_>, p: &Bound, bias: Bias, heads: usize, first: isize, width: usize) -> Var {
        match bias {
            Bias::Alibi | Bias::ScaledAlibi => {
                let slopes = alibi_slopes(heads);
                let row = |slope: f64| (0..width as isize).map(move |i| (-slope * (first + i).unsigned_abs() as f64) as f32);
                let table: Vec<f32> = slopes.into_iter().flat_map(row).collect();
                cx.constant(heads, width, &table)
            }
            Bias::T5 { buckets, max_distance, .. } => {
                let bucket = |i| t5_bucket(first + i, self.bidirectional(), buckets, max_distance) as u32;
                let ids: Vec<u32> = (0..width as isize).map(bucket).collect();
                let rows = cx.embedding(p["relative_bias"], &ids);
                cx.transpose(rows)
            }
        }
    }

    /// The oracle's word on whether a query sees a key.
    pub fn sees(&self, q_pos: usize, k_pos: usize) -> bool {
        match self.see {
            See::Everything => true,
            See::Causal => k_pos <= q_pos,
            See::Chunk(size) => k_pos <= q_pos && k_pos / size == q_pos / size,
            See::Prefix(n) => k_pos <= q_pos || k_pos < n,
            See::Near(n) => k_pos.abs_diff(q_pos) <= n,
        }
    }

    /// The oracle's score from a dot product and what it is multiplied by.
    pub fn score<S: Real>(
        &self,
        (dot, scale): (S, f64),
        head: usize,
        heads: usize,
        distance: isize,
        relative_bias: Option<&Rows<S>>,
    ) -> S {
        let score = match self.softcap {
            Some(cap) => (dot * S::from(scale / f64::from(cap))).tanh() * S::from(cap.into()),
            None => dot * S::from(scale),
        };
        let alibi = || alibi_slopes(heads)[head] * distance.unsigned_abs() as f64;
        match (self.bias, relative_bias) {
            (Some(Bias::Alibi), _) => score - S::from(alibi()),
            (Some(Bias::ScaledAlibi), _) => score - S::from(alibi() * scale),
            (Some(Bias::T5 { buckets, max_distance, .. }), Some(table)) => {
                score + table[t5_bucket(distance, self.bidirectional(), buckets, max_distance)][head]
            }
            _ => score,
        }
    }
}

/// Slopes of ALiBi: powers of two where the heads are, and for other counts those of the next lower power of two followed
/// by every second one of the next higher.
fn alibi_slopes(heads: usize) -> Vec<f64> {
    let powers = |n: usize| (1..=n).map(move |i| 2f64.powf(-8.0 * i as f64 / n as f64));
    let lower = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    powers(lower).chain(powers(2 * lower).step_by(2)).take(heads).collect()
}

/// The bucket of a distance `k_pos - q_pos`: half of the buckets hold one distance each, the rest widen logarithmically.
fn t5_bucket(distance: isize, bidirectional: bool, buckets: usize, max_distance: usize) -> usize {
    let (offset, buckets) = match (bidirectional, distance > 0) {
        (true, true) => (buckets / 2, buckets / 2),
        (true, false) => (0, buckets / 2),
        (false, _) => (0, buckets),
    };
    let back = if bidirectional { distance.unsigned_abs() } else { (-distance).max(0) as usize };
    let exact = buckets / 2;
    if back < exact {
        return offset + back;
    }
    let ratio = (back as f64 / exact as f64).ln() / (max_distance as f64 / exact as f64).ln();
    offset + (exact + (ratio * (buckets - exact) as f64) as usize).min(buckets - 1)
}
