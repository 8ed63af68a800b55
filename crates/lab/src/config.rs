//! The configuration of a training run: what `run.toml` holds and `--set` changes.

use crate::error::{LabError, Result};
use crate::recall::Recall;
use attendant_mech::{Size, preset};
use attendant_model::plan::{FeedForward, Norm, Plan, Positions};
use serde::{Deserialize, Serialize};

/// Everything that decides a run. Equal configurations give equal bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Preset of the mechanism in every layer: `mha`, `gqa`, `mla`, ...
    pub mechanism: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Size of the model.
    pub model: ModelConfig,
    /// What is learned.
    pub data: DataConfig,
    /// How it is learned.
    pub training: TrainingConfig,
}

/// Size of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Layers.
    pub layers: usize,
    /// Width of the rows.
    pub d_model: usize,
    /// Query heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Whether the head shares the embedding's table.
    pub tie_embeddings: bool,
}

/// What is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `text` or `recall`.
    pub task: TaskKind,
    /// `austen`, or the path of a UTF-8 file.
    pub text: String,
    /// `bpe`, byte pairs trained on the text, or `bytes`.
    pub vocabulary: VocabularyKind,
    /// Size of a trained vocabulary.
    pub vocabulary_size: usize,
    /// Tokens of one training sequence.
    pub context: usize,
    /// Sequences of one batch.
    pub batch: usize,
    /// Key and value pairs of one recall sequence.
    pub pairs: usize,
}

/// What a run learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// The next token of a text.
    Text,
    /// Values by their keys (multi-query associative recall, 2312.04927).
    Recall,
}

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VocabularyKind {
    /// Byte pairs.
    Bpe,
    /// Single bytes.
    Bytes,
}

/// How it is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Tokens to train on in all.
    pub tokens: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of the steps over which the rate rises; afterwards it falls along a cosine to a tenth.
    pub warmup: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Norm to which gradients are clipped.
    pub clip: f64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Validation tokens, at most.
    pub validation_tokens: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mechanism: "gqa".into(),
            seed: 1,
            model: ModelConfig::default(),
            data: DataConfig::default(),
            training: TrainingConfig::default(),
        }
    }
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig { layers: 4, d_model: 128, heads: 8, d_head: 16, d_ff: 352, tie_embeddings: true }
    }
}

impl Default for DataConfig {
    fn default() -> DataConfig {
        DataConfig {
            task: TaskKind::Text,
            text: "austen".into(),
            vocabulary: VocabularyKind::Bpe,
            vocabulary_size: 1024,
            context: 128,
            batch: 8,
            pairs: 8,
        }
    }
}

impl Default for TrainingConfig {
    fn default() -> TrainingConfig {
        TrainingConfig {
            tokens: 400_000,
            learning_rate: 3e-3,
            warmup: 0.05,
            weight_decay: 0.1,
            clip: 1.0,
            validate_every: 50,
            validation_tokens: 16_384,
            checkpoint_every: 100,
        }
    }
}

impl Config {
    /// Reads a configuration, with `key.path=value` changes made to it.
    ///
    /// # Errors
    /// One line with the field, what it holds and what would do.
    pub fn parse(text: &str, changes: &[String]) -> Result<Config> {
        let mut table: toml::Table = text.parse().map_err(|why: toml::de::Error| invalid("configuration", one_line(&why)))?;
        for change in changes {
            set(&mut table, change)?;
        }
        let config: Config = table.try_into().map_err(|why: toml::de::Error| invalid("configuration", one_line(&why)))?;
        config.check()?;
        Ok(config)
    }

    /// Whether the values can be used.
    ///
    /// # Errors
    /// One line with the field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("model.layers", self.model.layers),
            ("model.d_model", self.model.d_model),
            ("model.heads", self.model.heads),
            ("model.d_head", self.model.d_head),
            ("model.d_ff", self.model.d_ff),
            ("data.context", self.data.context),
            ("data.batch", self.data.batch),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(invalid(field, "got 0, wanted at least 1"));
        }
        if self.data.vocabulary == VocabularyKind::Bpe && self.data.vocabulary_size < 258 {
            let why =
                format!("got {}, wanted at least 258: every byte, one merge and the end of text", self.data.vocabulary_size);
            return Err(invalid("data.vocabulary_size", why));
        }
        let most = Recall::MOST_PAIRS.min(self.data.context / 4);
        if self.data.task == TaskKind::Recall && !(1..=most).contains(&self.data.pairs) {
            let why = format!("got {}, wanted 1 to {most}, at most a quarter of data.context", self.data.pairs);
            return Err(invalid("data.pairs", why));
        }
        let training = &self.training;
        let positive = |field: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(invalid(field, format!("got {value}, wanted a number above 0")))
            }
        };
        positive("training.learning_rate", training.learning_rate)?;
        positive("training.clip", training.clip)?;
        positive("training.tokens", training.tokens as f64)?;
        positive("training.validate_every", training.validate_every as f64)?;
        positive("training.checkpoint_every", training.checkpoint_every as f64)?;
        if !(0.0..=1.0).contains(&training.warmup) {
            return Err(invalid("training.warmup", format!("got {}, wanted 0 to 1", training.warmup)));
        }
        preset(&self.mechanism, self.size()).map(|_| ()).map_err(LabError::from)
    }

    /// The size that presets are made at.
    pub fn size(&self) -> Size {
        Size { d_model: self.model.d_model, heads: self.model.heads, d_head: self.model.d_head }
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.training.tokens.div_ceil(self.tokens_per_step()).max(1)
    }

    /// Tokens of one batch.
    pub fn tokens_per_step(&self) -> u64 {
        (self.data.batch * self.data.context) as u64
    }

    /// The model, for a vocabulary of this many tokens.
    ///
    /// # Errors
    /// If the mechanism does not suit the size.
    pub fn plan(&self, vocab_size: usize) -> Result<Plan> {
        let layer = preset(&self.mechanism, self.size())?.configuration;
        let plan = Plan {
            vocab_size,
            d_model: self.model.d_model,
            d_ff: self.model.d_ff,
            layers: vec![layer; self.model.layers],
            norm: Norm::Rms,
            eps: 1e-5,
            feed_forward: FeedForward::SwiGlu,
            positions: Positions::None,
            tie_embeddings: self.model.tie_embeddings,
            context: self.data.context,
        };
        plan.check()?;
        Ok(plan)
    }
}

/// The learning rate of a step: a linear rise, then a cosine down to a tenth of the peak.
pub fn learning_rate(training: &TrainingConfig, step: u64, steps: u64) -> f64 {
    let rise = (training.warmup * steps as f64).max(1.0);
    let at = step as f64 + 1.0;
    if at <= rise {
        return training.learning_rate * at / rise;
    }
    let progress = (at - rise) / (steps as f64 - rise).max(1.0);
    training.learning_rate * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()))
}

fn set(table: &mut toml::Table, change: &str) -> Result<()> {
    let (path, value) =
        change.split_once('=').ok_or_else(|| invalid("--set", format!("got {change:?}, wanted key.path=value")))?;
    let value = value.parse::<toml::Value>().unwrap_or_else(|_| toml::Value::String(value.into()));
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = keys.pop().unwrap_or_default();
    let mut place = table;
    for key in keys {
        let entry = place.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| invalid(path, format!("{key} is not a table")))?;
    }
    place.insert(last.into(), value);
    Ok(())
}

fn invalid(field: &str, why: impl Into<String>) -> LabError {
    LabError::from(attendant_core::Error::config(field, why))
}

fn one_line(why: &toml::de::Error) -> String {
    why.message().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_the_field_it_names() {
        let config =
            Config::parse("mechanism = \"mla\"", &["training.learning_rate=0.01".into(), "data.text=x.txt".into()]).unwrap();
        assert_eq!((config.training.learning_rate, config.data.text.as_str()), (0.01, "x.txt"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, word) in [
            ("mechanism = \"mhq\"", "mhq"),
            ("[model]\nheads = 0", "model.heads"),
            ("[model]\nhead = 3", "head"),
            ("[training]\ntokens = -1", "-1"),
            ("[data]\nvocabulary = \"words\"", "words"),
            ("seed =", "configuration"),
        ] {
            let error = Config::parse(text, &[]).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let training = TrainingConfig { learning_rate: 1.0, warmup: 0.1, ..TrainingConfig::default() };
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(&training, step, 100)).collect();
        assert!((rates[9] - 1.0).abs() < 1e-12 && rates[0] < rates[5] && rates[50] > rates[90]);
        assert!((rates[99] - 0.1).abs() < 1e-9, "{}", rates[99]);
    }
}
