//! From a definition that was checked to the tokenizers crate's own types.

use super::definition::{Bpe, Definition, Model};
use super::scored::Scored;
use crate::error::{Refusal, Result, quoted};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use tokenizers::Model as _;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Token, TokenizerImpl,
};

/// A tokenizer of the crate, with one more model.
pub(super) type Built = TokenizerImpl<Vocabulary, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Builds the tokenizer.
pub(super) fn build(definition: Definition) -> Result<Built> {
    let mut tokenizer = TokenizerImpl::new(model(definition.model)?);
    let normalizer: Option<NormalizerWrapper> = part("normalizer", definition.normalizer)?;
    tokenizer.with_normalizer(normalizer).map_err(refused("normalizer"))?;
    tokenizer.with_pre_tokenizer(part::<PreTokenizerWrapper>("pre_tokenizer", definition.pre_tokenizer)?);
    tokenizer.with_post_processor(part::<PostProcessorWrapper>("post_processor", definition.post_processor)?);
    tokenizer.with_decoder(part::<DecoderWrapper>("decoder", definition.decoder)?);
    let added = definition.added.iter().map(|token| AddedToken {
        content: token.content.clone(),
        single_word: token.single_word,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
    });
    tokenizer.add_tokens(added).map_err(refused("added_tokens"))?;
    for token in &definition.added {
        // The crate numbers tokens that the model does not have by itself, whatever the file says.
        let got = tokenizer.token_to_id(&token.content);
        if got != Some(token.id) {
            let why =
                format_args!("{} has the id {}, but would get {}", quoted(&token.content), token.id, got.unwrap_or(u32::MAX));
            return Err(Refusal::new("added_tokens", why));
        }
        if let Some(other) = tokenizer.get_model().id_to_token(token.id).filter(|other| *other != token.content) {
            let why = format_args!("{} has the id {} of {}", quoted(&token.content), token.id, quoted(&other));
            return Err(Refusal::new("added_tokens", why));
        }
    }
    Ok(tokenizer)
}

/// What turns a piece of text into tokens.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Vocabulary {
    Library(ModelWrapper),
    Scored(Scored),
}

/// Calls a method of either.
macro_rules! of_either {
    ($vocabulary:expr, $model:ident => $call:expr) => {
        match $vocabulary {
            Vocabulary::Library($model) => $call,
            Vocabulary::Scored($model) => $call,
        }
    };
}

impl tokenizers::Model for Vocabulary {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        of_either!(self, model => model.tokenize(sequence))
    }
    fn token_to_id(&self, token: &str) -> Option<u32> {
        of_either!(self, model => model.token_to_id(token))
    }
    fn id_to_token(&self, id: u32) -> Option<String> {
        of_either!(self, model => model.id_to_token(id))
    }
    fn get_vocab(&self) -> HashMap<String, u32> {
        of_either!(self, model => model.get_vocab())
    }
    fn get_vocab_size(&self) -> usize {
        of_either!(self, model => model.get_vocab_size())
    }
    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        of_either!(self, model => model.save(folder, prefix))
    }
    fn get_trainer(&self) -> TrainerWrapper {
        of_either!(self, model => model.get_trainer())
    }
}

fn model(model: Model) -> Result<Vocabulary> {
    let built: tokenizers::Result<ModelWrapper> = match model {
        Model::Scored(scores) => return Scored::new(scores).map(Vocabulary::Scored),
        Model::Bpe(model) => bpe(model)?.build().map(Into::into),
        Model::Unigram { vocab, unk_id, byte_fallback } => Unigram::from(vocab, unk_id, byte_fallback).map(Into::into),
        Model::WordPiece { vocab, unk_token, prefix, longest_word } => WordPiece::builder()
            .vocab(table(vocab)?)
            .unk_token(unk_token)
            .continuing_subword_prefix(prefix)
            .max_input_chars_per_word(longest_word)
            .build()
            .map(Into::into),
        Model::WordLevel { vocab, unk_token } => {
            WordLevel::builder().vocab(table(vocab)?).unk_token(unk_token).build().map(Into::into)
        }
    };
    built.map(Vocabulary::Library).map_err(refused("model"))
}

fn bpe(model: Bpe) -> Result<BpeBuilder> {
    let mut builder = BPE::builder()
        .vocab_and_merges(table(model.vocab)?, model.merges)
        .fuse_unk(model.fuse_unk)
        .byte_fallback(model.byte_fallback)
        .ignore_merges(model.ignore_merges);
    if let Some(token) = model.unk_token {
        builder = builder.unk_token(token);
    }
    if let Some(prefix) = model.prefix {
        builder = builder.continuing_subword_prefix(prefix);
    }
    if let Some(suffix) = model.suffix {
        builder = builder.end_of_word_suffix(suffix);
    }
    Ok(builder)
}

/// The ids of tokens, each of which occurs once.
pub(super) fn table(vocab: Vec<(String, u32)>) -> Result<Vocab> {
    let mut table = Vocab::with_capacity(vocab.len());
    for (token, id) in vocab {
        match table.entry(token) {
            Entry::Vacant(place) => drop(place.insert(id)),
            Entry::Occupied(other) => {
                return Err(Refusal::new("model.vocab", format_args!("{} occurs twice", quoted(other.key()))));
            }
        }
    }
    Ok(table)
}

fn part<T: DeserializeOwned>(name: &'static str, value: Value) -> Result<Option<T>> {
    if value.is_null() {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(|why| Refusal::new(name, why))
}

fn refused(field: &'static str) -> impl Fn(tokenizers::Error) -> Refusal {
    move |why| Refusal::new(field, why)
}
