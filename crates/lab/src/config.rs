//! The configuration of a training run: what `run.toml` holds and `--set` changes.

use crate::error::{LabError, Result};
use crate::field::{self, invalid};
use crate::recall::Recall;
use attendant_core::Precision;
use attendant_core::kernels::Isa;
use attendant_mech::{Order, Size, preset, presets};
use attendant_model::plan::{Dense, Embedding, Head, Layer, Norm, Plan};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Layers of a model, at most: beyond, no run ends.
const MOST_LAYERS: usize = 1000;
/// Weights of a model, at most: with gradients and moments these are 64 GB.
const MOST_WEIGHTS: f64 = 4e9;
/// Tokens of a trained vocabulary, at most: four times what the largest published ones have.
const MOST_VOCABULARY: usize = 1 << 20;
/// What a model that is trained further brings with it.
const OWN: [&str; 5] = ["mechanism", "model", "data.task", "data.vocabulary", "data.vocabulary_size"];
/// The learning rate of such a model where none is given: more would undo what it knows.
const FURTHER: f64 = 1e-4;
/// Tokens of a batch, at most: beyond, the activations of one layer fill any memory.
const MOST_TOKENS: usize = 1 << 24;

/// Everything that decides a run. Equal configurations give equal bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Preset of the mechanism in every layer: `mha`, `gqa`, `mla`, ...
    pub mechanism: String,
    /// Folder or file of a published model to train further, with its own mechanism, sizes and vocabulary; empty for a new model.
    pub from: String,
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

impl TaskKind {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Text => "text",
            TaskKind::Recall => "recall",
        }
    }
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
    /// What products with weights, and those of attention, multiply: `f32`, `bf16`, or `auto`, bf16 where the processor is faster in it.
    pub precision: PrecisionKind,
    /// Steps between validations.
    pub validate_every: u64,
    /// Validation tokens, at most.
    pub validation_tokens: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

/// What products with weights, and those of attention, multiply while training. Weights, gradients and moments are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionKind {
    /// Rows and weights as they are.
    F32,
    /// Both rounded to bf16.
    Bf16,
    /// bf16 where the processor is faster in it, else f32. A run begins with what that is, and keeps it.
    #[default]
    Auto,
}

impl PrecisionKind {
    /// What it is on an instruction set.
    pub fn on(self, isa: Isa) -> PrecisionKind {
        match self {
            PrecisionKind::Auto if isa.gains_by_bf16() => PrecisionKind::Bf16,
            PrecisionKind::Auto => PrecisionKind::F32,
            chosen => chosen,
        }
    }

    /// What a tape on an instruction set does.
    pub fn of_tape(self, isa: Isa) -> Precision {
        match self.on(isa) {
            PrecisionKind::Bf16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            PrecisionKind::F32 => "f32",
            PrecisionKind::Bf16 => "bf16",
            PrecisionKind::Auto => "auto",
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mechanism: "gqa".into(),
            from: String::new(),
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
            precision: PrecisionKind::default(),
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
        Config::changed(text.parse().map_err(|why| syntax(text, &why))?, changes)
    }

    /// Reads the configuration in a file, with `key.path=value` changes made to it.
    ///
    /// # Errors
    /// As [`Config::parse`], with the file where the fault is its own, or if the file cannot be read.
    pub fn from_file(path: &Path, changes: &[String]) -> Result<Config> {
        let text = fs::read_to_string(path).map_err(|why| LabError::io(path, why))?;
        let table: toml::Table = text.parse().map_err(|why| LabError::content(path, syntax(&text, &why)))?;
        Config::changed(table.clone(), changes).map_err(|why| match Config::changed(table, &[]) {
            Err(own) if own.to_string() == why.to_string() => LabError::content(path, why),
            _ => why,
        })
    }

    fn changed(mut table: toml::Table, changes: &[String]) -> Result<Config> {
        for change in changes {
            field::set(&mut table, change)?;
        }
        let mut config = field::read(table.clone())?;
        if config.continues() {
            if let Some(own) = OWN.into_iter().find(|path| field::is_set(&table, path)) {
                return Err(invalid(own, "got a value beside from, wanted none: the model has its own"));
            }
            if !field::is_set(&table, "training.learning_rate") {
                config.training.learning_rate = FURTHER;
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Reads the configuration that a run was created with. One that says nothing of precision is older than the choice: f32.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn from_json(value: &serde_json::Value) -> Result<Config> {
        let mut table =
            toml::Table::try_from(value).map_err(|_| invalid("configuration", format!("got {value}, wanted a table")))?;
        if let Some(training) = table.get_mut("training").and_then(toml::Value::as_table_mut) {
            training.entry("precision").or_insert_with(|| PrecisionKind::F32.name().into());
        }
        field::read(table)
    }

    /// Whether the values can be used.
    ///
    /// # Errors
    /// One line with the field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        self.check_sizes()?;
        self.check_data()?;
        self.check_weights()?;
        self.check_training()?;
        if self.continues() {
            return Ok(());
        }
        let elsewhere = |name: &str| preset(name, self.size()).is_ok_and(|preset| preset.mechanism.order() != Order::Causal);
        if !presets().any(|name| name == self.mechanism) {
            let names: Vec<&str> = presets().filter(|name| !elsewhere(name)).collect();
            return Err(invalid("mechanism", format!("got {:?}, wanted one of {}", self.mechanism, names.join(", "))));
        }
        preset(&self.mechanism, self.size())?;
        if elsewhere(&self.mechanism) {
            let why = format!("got {:?}, which attends to another sequence, wanted one that continues its own", self.mechanism);
            return Err(invalid("mechanism", why));
        }
        Ok(())
    }

    /// Whether it trains a published model further.
    pub fn continues(&self) -> bool {
        !self.from.is_empty()
    }

    fn check_sizes(&self) -> Result<()> {
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
        if self.model.layers > MOST_LAYERS {
            return Err(invalid("model.layers", format!("got {}, wanted at most {MOST_LAYERS}", self.model.layers)));
        }
        Ok(())
    }

    fn check_weights(&self) -> Result<()> {
        let weights = self.weights() + self.vocabulary_weights();
        if weights > MOST_WEIGHTS {
            return Err(invalid("model", format!("got sizes that make {weights:.1e} weights, wanted at most {MOST_WEIGHTS:e}")));
        }
        Ok(())
    }

    fn check_data(&self) -> Result<()> {
        if self.data.batch.checked_mul(self.data.context).is_none_or(|tokens| tokens > MOST_TOKENS) {
            let why = format!(
                "got {} sequences of {} tokens, wanted at most {MOST_TOKENS} tokens in a batch",
                self.data.batch, self.data.context
            );
            return Err(invalid("data.batch", why));
        }
        if self.data.vocabulary == VocabularyKind::Bpe && self.data.vocabulary_size < 258 {
            let why =
                format!("got {}, wanted at least 258: every byte, one merge and the end of text", self.data.vocabulary_size);
            return Err(invalid("data.vocabulary_size", why));
        }
        if self.data.vocabulary == VocabularyKind::Bpe && self.data.vocabulary_size > MOST_VOCABULARY {
            let why = format!("got {}, wanted at most {MOST_VOCABULARY}", self.data.vocabulary_size);
            return Err(invalid("data.vocabulary_size", why));
        }
        let most = Recall::MOST_PAIRS.min(self.data.context / 4);
        if self.data.task == TaskKind::Recall && !(1..=most).contains(&self.data.pairs) {
            let why = format!("got {}, wanted 1 to {most}, at most a quarter of data.context", self.data.pairs);
            return Err(invalid("data.pairs", why));
        }
        Ok(())
    }

    fn check_training(&self) -> Result<()> {
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
        positive("training.validation_tokens", training.validation_tokens as f64)?;
        if !(training.weight_decay.is_finite() && training.weight_decay >= 0.0) {
            return Err(invalid("training.weight_decay", format!("got {}, wanted 0 or more", training.weight_decay)));
        }
        if !(0.0..=1.0).contains(&training.warmup) {
            return Err(invalid("training.warmup", format!("got {}, wanted 0 to 1", training.warmup)));
        }
        Ok(())
    }

    /// Weights of all layers, about, if heads share nothing: an order of magnitude for sizes that have not been checked yet.
    pub(crate) fn weights(&self) -> f64 {
        let of = |sizes: &[usize]| sizes.iter().map(|&size| size as f64).product::<f64>();
        let model = &self.model;
        let layer = 4.0 * of(&[model.d_model, model.heads, model.d_head]) + 3.0 * of(&[model.d_model, model.d_ff]);
        layer * model.layers as f64
    }

    /// Weights of the embedding, and of a head with a table of its own, once the vocabulary is as large as it may become.
    fn vocabulary_weights(&self) -> f64 {
        let tokens = match self.data.vocabulary {
            VocabularyKind::Bpe => self.data.vocabulary_size,
            VocabularyKind::Bytes => 257,
        };
        let tables = if self.model.tie_embeddings { 1.0 } else { 2.0 };
        tables * tokens as f64 * self.model.d_model as f64
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
        let mixer = preset(&self.mechanism, self.size())?.configuration;
        let layer = Layer::pre(mixer, Dense::swiglu(self.model.d_ff).into());
        let plan = Plan {
            vocab_size,
            d_model: self.model.d_model,
            context: self.data.context,
            norm: Norm::rms(1e-5),
            embedding: Embedding::default(),
            layers: vec![layer; self.model.layers],
            head: Head { tied: self.model.tie_embeddings, ..Head::default() },
            encoder: None,
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

/// A fault of the syntax, with its line.
fn syntax(text: &str, why: &toml::de::Error) -> LabError {
    let line = why.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    invalid(&format!("line {line}"), why.message().replace('\n', ", "))
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
    fn a_model_that_is_trained_further_learns_slowly_unless_told_otherwise() {
        let rate = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
            Config::parse("from = \"m\"", &changes).unwrap().training.learning_rate
        };
        assert_eq!((rate(&[]), rate(&["training.learning_rate=0.01"])), (1e-4, 0.01));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, start) in [
            ("mechanism = \"mhq\"", "mechanism: got \"mhq\", wanted one of gqa, mha"),
            ("mechanism = \"cross\"", "mechanism: got \"cross\", which attends to another sequence"),
            ("mechanism = 3", "mechanism: got 3, wanted text in quotes"),
            ("[model]\nheads = 0", "model.heads: got 0, wanted at least 1"),
            ("[model]\nhead = 3", "model.head: no such field, wanted one of d_ff, d_head, d_model"),
            ("[modle]\nheads = 3", "modle: no such field, wanted one of data, from, mechanism, model"),
            ("from = \"m\"\n[model]\nheads = 3", "model: got a value beside from, wanted none"),
            ("from = \"m\"\nmechanism = \"mla\"", "mechanism: got a value beside from, wanted none"),
            ("from = \"m\"\n[data]\nvocabulary_size = 300", "data.vocabulary_size: got a value beside from"),
            ("model = 3", "model: got 3, wanted a table"),
            ("[model]\nlayers = 1000000", "model.layers: got 1000000, wanted at most 1000"),
            ("[model]\nd_ff = 1000000000000", "model: got sizes that make 1.5e15 weights, wanted at most 4e9"),
            ("[data]\nvocabulary_size = 257", "data.vocabulary_size: got 257, wanted at least 258"),
            ("[data]\nvocabulary_size = 99999999999", "data.vocabulary_size: got 99999999999, wanted at most 1048576"),
            (
                "[model]\nlayers = 1\nd_model = 4096\n[data]\nvocabulary_size = 1000000",
                "model: got sizes that make 4.1e9 weights, wanted at most 4e9",
            ),
            ("[model]\ntie_embeddings = 1", "model.tie_embeddings: got 1, wanted true or false"),
            ("[training]\ntokens = -1", "training.tokens: got -1, wanted a whole number, 0 or more"),
            ("[training]\ntokens = 0", "training.tokens: got 0, wanted a number above 0"),
            ("[training]\nclip = \"x\"", "training.clip: got \"x\", wanted a number"),
            ("[training]\nweight_decay = -1", "training.weight_decay: got -1, wanted 0 or more"),
            ("[training]\nvalidation_tokens = 0", "training.validation_tokens: got 0, wanted a number above 0"),
            ("[training]\nprecision = \"f16\"", "training.precision: got \"f16\", wanted one of \"f32\", \"bf16\", \"auto\""),
            ("[data]\nvocabulary = \"words\"", "data.vocabulary: got \"words\", wanted \"bpe\" or \"bytes\""),
            ("[data]\nbatch = 99999999999", "data.batch: got 99999999999 sequences of 128 tokens, wanted at most 16777216"),
            ("[data]\ncontext = 99999999999", "data.batch: got 8 sequences of 99999999999 tokens"),
            ("\nseed =", "line 2: "),
        ] {
            let error = Config::parse(text, &[]).unwrap_err().to_string();
            assert!(error.starts_with(start) && !error.contains('\n'), "{text}: {error}");
            assert!(!error.contains(", cross"), "{text}: {error}");
        }
    }

    #[test]
    fn a_change_that_cannot_be_made_is_named() {
        for (change, start) in [
            ("seed", "--set: got \"seed\", wanted key.path=value"),
            ("=3", "--set: got \"=3\", wanted key.path=value"),
            ("seed.x=3", "seed.x: got a field of seed, which is no table"),
            ("seed=", "seed: got \"\", wanted a whole number"),
            ("seed=18446744073709551615", "seed: got \"18446744073709551615\", wanted a whole number, 0 to 9223372036854775807"),
            ("model.d_head=many", "model.d_head: got \"many\", wanted a whole number, 0 or more"),
        ] {
            let error = Config::parse("seed = 1", &[change.into()]).unwrap_err().to_string();
            assert!(error.starts_with(start) && !error.contains('\n'), "{change}: {error}");
        }
    }

    #[test]
    fn a_configuration_survives_json_and_a_damaged_one_is_named() {
        let config = Config { seed: 7, ..Config::default() };
        let mut value = serde_json::to_value(&config).unwrap();
        assert_eq!(Config::from_json(&value).unwrap(), config);
        value["training"].as_object_mut().unwrap().remove("precision");
        assert_eq!(Config::from_json(&value).unwrap().training.precision, PrecisionKind::F32);
        value["model"]["heads"] = "four".into();
        let error = Config::from_json(&value).unwrap_err().to_string();
        assert_eq!(error, "model.heads: got \"four\", wanted a whole number, 0 or more");
        let error = Config::from_json(&serde_json::Value::Null).unwrap_err().to_string();
        assert_eq!(error, "configuration: got null, wanted a table");
    }

    #[test]
    fn automatic_precision_is_what_the_processor_is_fast_at() {
        for isa in Isa::available() {
            match isa.name() {
                "amx" => assert_eq!(PrecisionKind::Auto.on(isa), PrecisionKind::Bf16),
                // It depends on who made it.
                "avx512bf16" => {}
                _ => assert_eq!(PrecisionKind::Auto.on(isa), PrecisionKind::F32),
            }
            assert_eq!(PrecisionKind::Bf16.of_tape(isa), Precision::Bf16);
            assert_eq!(PrecisionKind::F32.of_tape(isa), Precision::F32);
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
