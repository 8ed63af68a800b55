//! From a definition that was checked to the tokenizers crate's own types.

use super::definition::{Bpe, Definition, Model};
use crate::error::{Refusal, Result, quoted};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::hash_map::Entry;
use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

/// Builds the tokenizer.
pub(super) fn build(definition: Definition) -> Result<tokenizers::Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::new(model(definition.model)?);
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

fn model(model: Model) -> Result<ModelWrapper> {
    let built: tokenizers::Result<ModelWrapper> = match model {
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
    built.map_err(refused("model"))
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
fn table(vocab: Vec<(String, u32)>) -> Result<Vocab> {
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
