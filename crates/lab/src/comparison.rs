//! What a comparison found, as data. `comparison.json` is this; tables and pictures are made from it and never the other way.

use crate::config::PrecisionKind;
use crate::interval::Interval;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Several mechanisms trained and timed under the same conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of attendant that measured.
    pub version: String,
    /// When the measuring ended, in UTC, as text for people.
    pub created: String,
    /// Where it was measured.
    pub machine: Machine,
    /// The whole configuration that repeats the comparison.
    pub configuration: Value,
    /// Name of the training text.
    pub text: String,
    /// What was made equal between the mechanisms.
    pub held: Hold,
    /// What products with weights, and those of attention, multiplied in training.
    #[serde(default = "before_there_was_a_choice")]
    pub precision: PrecisionKind,
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// One entry for each mechanism, in the order they are to be shown.
    pub mechanisms: Vec<Outcome>,
}

fn before_there_was_a_choice() -> PrecisionKind {
    PrecisionKind::F32
}

/// The machine that measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Worker threads used.
    pub threads: usize,
    /// Instruction set that the kernels chose.
    pub isa: String,
}

/// What a comparison makes equal between its mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Parameters: widths are adjusted until the models are equally large.
    Params,
    /// State: widths are adjusted until a sequence costs equally many bytes.
    State,
    /// Neither: every model keeps the configured widths.
    None,
}

/// What one mechanism did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Name within the comparison, such as `mla`.
    pub name: String,
    /// The registered kind it is a setting of, such as `gqa` for `mqa`.
    pub kind: String,
    /// The card's one sentence.
    pub card: String,
    /// Authors, year and number of the paper.
    pub paper: String,
    /// Parameters of the whole model.
    pub parameters: u64,
    /// Validation loss at the end of training, nats per token.
    pub loss: Measured,
    /// Share of recalled pairs, 0 to 1, where recall was tested.
    pub recall: Option<Measured>,
    /// The share that choosing among a sequence's values at random would recall.
    #[serde(default)]
    pub recall_chance: Option<f64>,
    /// Bytes that one more token adds to the cache of all layers together, counted from what was allocated.
    #[serde(deserialize_with = "null_is_nan")]
    pub cache_bytes_per_token: f64,
    /// How those bytes come about, such as `2hd = 2·4·32 values x 4 layers x 4 B`.
    pub cache_formula: String,
    /// Bytes of state that a sequence holds whatever its length.
    pub constant_bytes: u64,
    /// Speed of decoding, by context length.
    pub decode: Vec<DecodePoint>,
    /// Training tokens per second.
    #[serde(deserialize_with = "null_is_nan")]
    pub training_tokens_per_second: f64,
    /// Processor seconds that the training of all seeds took.
    #[serde(deserialize_with = "null_is_nan")]
    pub cpu_seconds: f64,
    /// Peak learning rate.
    #[serde(deserialize_with = "null_is_nan")]
    pub learning_rate: f64,
    /// Loss while training, one curve for each seed.
    pub curves: Vec<Curve>,
    /// Why it has no result, if it has none.
    pub failure: Option<String>,
}

/// A quantity over seeds: its mean, the 95 % interval of the mean, and each seed's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean over seeds.
    #[serde(deserialize_with = "null_is_nan")]
    pub mean: f64,
    /// Lower end of the interval; none with a single seed.
    pub low: Option<f64>,
    /// Upper end of the interval; none with a single seed.
    pub high: Option<f64>,
    /// One value for each seed.
    #[serde(deserialize_with = "nulls_are_nan")]
    pub values: Vec<f64>,
}

/// Decode speed at one context length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodePoint {
    /// Tokens in the cache.
    pub context: usize,
    /// Median of the repetitions.
    #[serde(deserialize_with = "null_is_nan")]
    pub tokens_per_second: f64,
    /// Slowest repetition, tokens per second.
    #[serde(deserialize_with = "null_is_nan")]
    pub min: f64,
    /// Fastest repetition, tokens per second.
    #[serde(deserialize_with = "null_is_nan")]
    pub max: f64,
}

/// The loss of one seed while it trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The seed.
    pub seed: u64,
    /// Points in the order they were taken.
    pub points: Vec<CurvePoint>,
}

/// Losses after a number of training tokens, nats per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Loss on the training batch, if taken here.
    pub train: Option<f64>,
    /// Loss on the validation text, if taken here.
    pub validation: Option<f64>,
}

impl Comparison {
    /// The comparison as indented json. Numbers that are not finite become `null`.
    ///
    /// # Errors
    /// When the configuration holds something that json cannot say.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// Reads what [`Comparison::to_json`] wrote.
    ///
    /// # Errors
    /// When the text is not json, or not a comparison.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The outcome that the others are judged against: the first, or one that failed only when all did.
    #[must_use]
    pub fn reference(&self) -> Option<&Outcome> {
        self.mechanisms.iter().find(|outcome| outcome.failure.is_none()).or(self.mechanisms.first())
    }

    /// Every context length at which some mechanism was timed, ascending.
    #[must_use]
    pub fn contexts(&self) -> Vec<usize> {
        let mut contexts: Vec<usize> =
            self.mechanisms.iter().flat_map(|outcome| outcome.decode.iter().map(|point| point.context)).collect();
        contexts.sort_unstable();
        contexts.dedup();
        contexts
    }

    /// The largest number of seeds that a mechanism was trained with.
    #[must_use]
    pub fn seeds(&self) -> usize {
        self.mechanisms.iter().map(|outcome| outcome.loss.values.len()).max().unwrap_or(0)
    }
}

impl Outcome {
    /// The decode speed at one context length, if it was timed there and is a number.
    #[must_use]
    pub fn decode_at(&self, context: usize) -> Option<&DecodePoint> {
        self.decode.iter().find(|point| point.context == context && point.tokens_per_second.is_finite())
    }
}

impl Measured {
    /// Mean and 95 % interval of Student's t over independent seeds.
    ///
    /// A single seed, or a value that is not finite, gives no interval.
    #[must_use]
    pub fn over_seeds(values: Vec<f64>) -> Self {
        let Interval { mean, low, high } = Interval::of(&values);
        Self { mean, low, high, values }
    }

    /// Both ends of the interval, when there are both.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.low.zip(self.high).filter(|(low, high)| low.is_finite() && high.is_finite())
    }

    /// Half the width of the interval.
    #[must_use]
    pub fn half_width(&self) -> Option<f64> {
        self.interval().map(|(low, high)| (high - low) / 2.0)
    }

    /// This mean minus another, with its 95 % interval. It may exclude zero although the two intervals overlap.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Interval {
        Interval::difference(&self.values, &other.values)
    }

    /// Whether the two differ by more than chance: the interval of the difference excludes zero. `None` when there is none.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> Option<bool> {
        self.difference(other).ends().map(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// Json has no NaN: it is written as `null`, and a comparison with a diverged run must still be readable.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn nulls_are_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values: Vec<Option<f64>> = Vec::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_or_a_diverged_one_has_no_interval() {
        assert_eq!(Measured::over_seeds(vec![1.5]).interval(), None);
        assert_eq!(Measured::over_seeds(vec![1.5, f64::NAN]).interval(), None);
        assert_eq!(Measured::over_seeds(vec![1.5, f64::INFINITY]).interval(), None);
        assert_eq!(Measured::over_seeds(Vec::new()).interval(), None);
    }

    #[test]
    fn means_differ_where_the_interval_of_their_difference_excludes_zero() {
        let around = |mean: f64| Measured::over_seeds(vec![mean - 0.1, mean, mean + 0.1]);
        // The difference is off by 2.7764 * sqrt(2/3) * 0.1 = 0.2267 either way, each mean by 0.2484.
        assert_eq!(around(1.0).differs_from(&around(1.22)), Some(false));
        assert_eq!(around(1.0).differs_from(&around(1.23)), Some(true));
        assert_eq!(around(1.23).differs_from(&around(1.0)), Some(true));
        assert!(around(1.0).high > around(1.23).low, "the intervals themselves overlap");
        assert_eq!(around(1.0).differs_from(&Measured::over_seeds(vec![9.0])), None);
        assert_eq!(around(1.0).differs_from(&Measured::over_seeds(vec![9.0, f64::NAN])), None);
        let still = |value: f64| Measured::over_seeds(vec![value; 3]);
        assert_eq!((still(1.0).differs_from(&still(1.0)), still(1.0).differs_from(&still(2.0))), (Some(false), Some(true)));
    }
}
