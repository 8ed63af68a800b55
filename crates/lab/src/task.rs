//! What a run learns: a text or recall, as batches that are functions of the seed and the step alone.

use crate::batches::{text_batch, validation_windows};
use crate::checkpoint;
use crate::config::{Config, TaskKind, VocabularyKind};
use crate::corpus::Corpus;
use crate::error::{LabError, Result};
use crate::recall::{Recall, Split};
use crate::vocabulary::Vocabulary;
use attendant_core::Error;
use attendant_model::Language;
use sha2::{Digest, Sha256};
use std::path::Path;

/// A batch: token ids, and what should follow each.
pub type Pair = (Vec<u32>, Vec<u32>);

/// What a run learns.
pub enum Task {
    /// The next token of a text.
    Text {
        /// How text becomes tokens, where that was made here and not brought by a model.
        vocabulary: Option<Box<Vocabulary>>,
        /// Tokens there are.
        size: usize,
        /// Name of the text.
        name: String,
        /// Tokens to learn from.
        train: Vec<u32>,
        /// Tokens to judge by.
        validation: Vec<u32>,
    },
    /// Values by their keys.
    Recall(Recall),
}

/// What a configuration calls the novels in the binary.
const AUSTEN: &str = "austen";

/// The text that a configuration names.
fn corpus(config: &Config) -> Result<Corpus> {
    match config.data.text.as_str() {
        AUSTEN => Ok(Corpus::austen()),
        "" => Err(Error::config("data.text", format!("got nothing, wanted {AUSTEN} or the path of a UTF-8 file")).into()),
        path => Corpus::from_file(Path::new(path)).map_err(named),
    }
}

/// A text that cannot be used, as a fault of the field that names it.
fn named(why: LabError) -> LabError {
    match why {
        LabError::Content { path, why } => {
            let why = why.strip_prefix("got ").unwrap_or(&why);
            Error::config("data.text", format!("got {}: {why}", path.display())).into()
        }
        other => other,
    }
}

/// Test batches of recall: enough that one answer is worth less than a tenth of a percent.
const RECALL_TEST_BATCHES: u64 = 16;

impl Task {
    /// The task that a configuration names.
    ///
    /// # Errors
    /// If the text cannot be read, or is shorter than one context.
    pub fn new(config: &Config) -> Result<Task> {
        if config.data.task == TaskKind::Recall {
            return Ok(Task::Recall(Recall::new(config.data.pairs, config.data.context)));
        }
        let corpus = corpus(config)?;
        let austen = config.data.text == AUSTEN;
        let vocabulary = match config.data.vocabulary {
            VocabularyKind::Bytes => Vocabulary::bytes(),
            VocabularyKind::Bpe if austen && config.data.vocabulary_size == Vocabulary::AUSTEN_SIZE => Vocabulary::austen(),
            VocabularyKind::Bpe => Vocabulary::train_bpe(&corpus.train, config.data.vocabulary_size)?,
        };
        let (train, validation) = (vocabulary.encode(&corpus.train)?, vocabulary.encode(&corpus.validation)?);
        Task::text(config, vocabulary.size(), Some(vocabulary), corpus.name, train, validation)
    }

    /// The text that a configuration names, in the tokens of a model with this many.
    ///
    /// # Errors
    /// If the text cannot be read, is shorter than one context, or becomes a token that the model has not.
    pub fn of_model(config: &Config, language: &Language, size: usize) -> Result<Task> {
        let corpus = corpus(config)?;
        let encode = |text: &str| -> Result<Vec<u32>> {
            let ids = language.tokenizer.encode(text, false).map_err(|why| Error::config("data.text", why.to_string()))?;
            match ids.iter().find(|id| **id as usize >= size) {
                Some(id) => {
                    Err(Error::config("tokenizer", format!("got token {id}, wanted less than the model's {size}")).into())
                }
                None => Ok(ids),
            }
        };
        let (train, validation) = (encode(&corpus.train)?, encode(&corpus.validation)?);
        Task::text(config, size, None, corpus.name, train, validation)
    }

    fn text(
        config: &Config,
        size: usize,
        vocabulary: Option<Vocabulary>,
        name: String,
        train: Vec<u32>,
        validation: Vec<u32>,
    ) -> Result<Task> {
        for (part, tokens) in [("training", &train), ("validation", &validation)] {
            if tokens.len() <= config.data.context {
                let why = format!(
                    "got {}, wanted less than the {} tokens of the {part} part of the text {name}",
                    config.data.context,
                    tokens.len()
                );
                return Err(Error::config("data.context", why).into());
            }
        }
        Ok(Task::Text { vocabulary: vocabulary.map(Box::new), size, name, train, validation })
    }

    /// The hash of the tokens to learn from and to judge by, where there is text.
    pub fn sha256(&self) -> Option<String> {
        let Task::Text { train, validation, .. } = self else { return None };
        let hash = [train, validation].iter().fold(Sha256::new(), |hash, tokens| {
            hash.chain_update((tokens.len() as u64).to_le_bytes()).chain_update(bytemuck::cast_slice::<u32, u8>(tokens))
        });
        Some(checkpoint::hexadecimal(hash))
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        match self {
            Task::Text { size, .. } => *size,
            Task::Recall(recall) => recall.vocab_size(),
        }
    }

    /// The vocabulary that was made for the text.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            Task::Text { vocabulary, .. } => vocabulary.as_deref(),
            Task::Recall(_) => None,
        }
    }

    /// The training batch of a step.
    pub fn batch(&self, config: &Config, step: u64) -> Pair {
        let data = &config.data;
        match self {
            Task::Text { train, .. } => text_batch(train, config.seed, step, data.batch, data.context),
            Task::Recall(recall) => recall.batch(config.seed, step, data.batch, Split::Train),
        }
    }

    /// The batches to judge by: the same for every seed.
    pub fn validation(&self, config: &Config) -> Vec<Pair> {
        let data = &config.data;
        match self {
            Task::Text { validation, .. } => {
                let windows = validation_windows(validation, data.context, config.training.validation_tokens / data.context);
                windows
                    .chunks(data.batch)
                    .map(|group| {
                        (group.iter().flat_map(|w| w.0.clone()).collect(), group.iter().flat_map(|w| w.1.clone()).collect())
                    })
                    .collect()
            }
            Task::Recall(recall) => {
                (0..RECALL_TEST_BATCHES).map(|index| recall.batch(0, index, data.batch, Split::Test)).collect()
            }
        }
    }
}
