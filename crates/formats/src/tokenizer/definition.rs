//! What defines a tokenizer, read from a tokenizer.json but not yet believed: [`check`](super::check) does that.

use crate::error::{Error, Refusal, Result, quoted};
use crate::json::{self, Limits};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

/// The longest tokenizer.json, in bytes; the longest published ones have about 35 million.
const LONGEST: usize = 64 << 20;
/// The most tokens of a vocabulary; the largest published ones have about 260 thousand.
pub(super) const TOKENS: usize = 1 << 20;
/// The most merges; the largest published lists have about 600 thousand.
pub(super) const MERGES: usize = 1 << 21;
/// The most tokens beside the model's own.
pub(super) const ADDED: usize = 1 << 16;

/// What defines a tokenizer.
#[derive(Debug, Default)]
pub(super) struct Definition {
    pub(super) model: Model,
    pub(super) added: Vec<Added>,
    /// The parts around the model, as tokenizer.json spells them; `Null` where there is none.
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
}

/// The model: what turns a piece of text into tokens.
#[derive(Debug)]
pub(super) enum Model {
    /// Byte-pair encoding.
    Bpe(Bpe),
    /// Byte-pair encoding whose pairs are all that make a token.
    Scored(Scores),
    /// The likeliest segmentation.
    Unigram { vocab: Vec<(String, f64)>, unk_id: Option<usize>, byte_fallback: bool },
    /// The longest prefix, then the longest continuation.
    WordPiece { vocab: Vec<(String, u32)>, unk_token: String, prefix: String, longest_word: usize },
    /// Whole words.
    WordLevel { vocab: Vec<(String, u32)>, unk_token: String },
}

impl Default for Model {
    fn default() -> Model {
        Model::Bpe(Bpe::default())
    }
}

impl Model {
    /// The largest id of a token.
    pub(super) fn largest_id(&self) -> u32 {
        match self {
            Model::Unigram { vocab, .. } => vocab.len().saturating_sub(1) as u32,
            Model::Scored(Scores { tokens, .. }) => tokens.len().saturating_sub(1) as u32,
            Model::Bpe(Bpe { vocab, .. }) | Model::WordPiece { vocab, .. } | Model::WordLevel { vocab, .. } => {
                vocab.iter().map(|(_, id)| *id).max().unwrap_or(0)
            }
        }
    }

    /// Whether a token has this id.
    pub(super) fn has(&self, wanted: u32) -> bool {
        match self {
            Model::Unigram { vocab, .. } => (wanted as usize) < vocab.len(),
            Model::Scored(Scores { tokens, .. }) => (wanted as usize) < tokens.len(),
            Model::Bpe(Bpe { vocab, .. }) | Model::WordPiece { vocab, .. } | Model::WordLevel { vocab, .. } => {
                vocab.iter().any(|(_, id)| *id == wanted)
            }
        }
    }
}

/// Byte-pair encoding: pairs that become one token, the first in the list first.
#[derive(Debug, Default)]
pub(super) struct Bpe {
    pub(super) vocab: Vec<(String, u32)>,
    pub(super) merges: Vec<(String, String)>,
    pub(super) unk_token: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) suffix: Option<String>,
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
}

/// A vocabulary by ids, whose tokens are made of two others, those of the best score first.
#[derive(Debug)]
pub(super) struct Scores {
    pub(super) tokens: Vec<String>,
    pub(super) scores: Vec<f32>,
    /// Whether a token is made of others and part of others.
    pub(super) joined: Vec<bool>,
    pub(super) unknown: Option<u32>,
    pub(super) byte_fallback: bool,
}

/// A token that is found in the text before the model sees it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default)]
    pub(super) special: bool,
}

impl Definition {
    /// Reads a tokenizer.json.
    pub(super) fn parse(text: &[u8]) -> Result<Definition> {
        let file: TokenizerFile<'_> = json::read("JSON", 0, text, LONGEST, PhantomData)?;
        if let Some(version) = file.version.filter(|version| version != "1.0") {
            return Err(Refusal::new("version", format_args!("wanted \"1.0\", got {}", quoted(&version))));
        }
        super::check::lengths(file.truncation.as_ref(), file.padding.as_ref())?;
        Ok(Definition {
            model: file.model.into_model()?,
            added: file.added_tokens.0,
            normalizer: part("normalizer", file.normalizer)?,
            pre_tokenizer: part("pre_tokenizer", file.pre_tokenizer)?,
            post_processor: part("post_processor", file.post_processor)?,
            decoder: part("decoder", file.decoder)?,
        })
    }
}

/// Reads a file that is not longer than a tokenizer.json may be.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|why| Error::io(path, why))?;
    file.take(LONGEST as u64 + 1).read_to_end(&mut text).map_err(|why| Error::io(path, why))?;
    Ok(text)
}

/// Reads one of the parts around the model as strictly as a configuration.
fn part(name: &str, text: Option<&RawValue>) -> Result<Value> {
    let Some(text) = text else { return Ok(Value::Null) };
    json::parse(text.get().as_bytes(), Limits::CONFIG).map_err(|why| Refusal::new(name, why))
}

#[derive(Deserialize)]
struct TokenizerFile<'a> {
    version: Option<String>,
    truncation: Option<Truncation>,
    padding: Option<Padding>,
    #[serde(default)]
    added_tokens: Capped<Added, ADDED>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    decoder: Option<&'a RawValue>,
    model: ModelFile,
}

/// How texts are cut, as the file says. Like transformers, the reader cuts only where its caller says so.
#[derive(Deserialize)]
pub(super) struct Truncation {
    pub(super) max_length: usize,
    #[serde(default)]
    pub(super) stride: usize,
}

/// How texts are filled up, as the file says. Like transformers, the reader fills up only where its caller says so.
#[derive(Deserialize)]
pub(super) struct Padding {
    pub(super) strategy: Strategy,
    pub(super) pad_to_multiple_of: Option<usize>,
}

#[derive(Deserialize)]
pub(super) enum Strategy {
    BatchLongest,
    Fixed(usize),
}

#[derive(Deserialize)]
struct ModelFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocab,
    #[serde(default)]
    merges: Option<Capped<Merge, MERGES>>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

impl ModelFile {
    /// What files of old leave out is told from what they hold.
    fn kind(&self) -> &str {
        match &self.kind {
            Some(kind) => kind,
            None if self.merges.is_some() => "BPE",
            None if matches!(self.vocab, Vocab::Scores(_)) => "Unigram",
            None if self.continuing_subword_prefix.is_some() => "WordPiece",
            None => "WordLevel",
        }
    }

    fn into_model(self) -> Result<Model> {
        if let Some(dropout) = self.dropout.filter(|dropout| *dropout != 0.0) {
            return Err(Refusal::new("model.dropout", format_args!("got {dropout}, with which a text has no certain tokens")));
        }
        let kind = self.kind().to_owned();
        let byte_fallback = self.byte_fallback.unwrap_or(false);
        match (kind.as_str(), self.vocab) {
            ("BPE", Vocab::Ids(vocab)) => Ok(Model::Bpe(Bpe {
                vocab,
                merges: wanted("merges", self.merges)?.0.into_iter().map(|Merge(left, right)| (left, right)).collect(),
                unk_token: self.unk_token,
                prefix: self.continuing_subword_prefix,
                suffix: self.end_of_word_suffix,
                fuse_unk: self.fuse_unk.unwrap_or(false),
                byte_fallback,
                ignore_merges: self.ignore_merges.unwrap_or(false),
            })),
            ("Unigram", Vocab::Scores(vocab)) => Ok(Model::Unigram { vocab, unk_id: self.unk_id, byte_fallback }),
            ("WordPiece", Vocab::Ids(vocab)) => Ok(Model::WordPiece {
                vocab,
                unk_token: wanted("unk_token", self.unk_token)?,
                prefix: wanted("continuing_subword_prefix", self.continuing_subword_prefix)?,
                longest_word: wanted("max_input_chars_per_word", self.max_input_chars_per_word)?,
            }),
            ("WordLevel", Vocab::Ids(vocab)) => Ok(Model::WordLevel { vocab, unk_token: wanted("unk_token", self.unk_token)? }),
            ("BPE" | "Unigram" | "WordPiece" | "WordLevel", _) => {
                Err(Refusal::new("model.vocab", format_args!("is not of the shape that {kind} has")))
            }
            _ => Err(Refusal::new("model.type", format_args!("{} is not known", quoted(&kind)))),
        }
    }
}

fn wanted<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Refusal::new(format_args!("model.{field}"), "missing"))
}

/// A vocabulary: an object of ids, or a list of tokens with scores where the place in the list is the id.
enum Vocab {
    Ids(Vec<(String, u32)>),
    Scores(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Vocab, D::Error> {
        struct Shapes;
        impl<'de> Visitor<'de> for Shapes {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of ids or a list of tokens and scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vocab, A::Error> {
                let mut vocab = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    if vocab.len() == TOKENS {
                        return Err(A::Error::custom(format_args!("wanted at most {TOKENS} tokens")));
                    }
                    vocab.push(entry);
                }
                Ok(Vocab::Ids(vocab))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Vocab, A::Error> {
                capped(&mut rows, TOKENS).map(Vocab::Scores)
            }
        }
        reader.deserialize_any(Shapes)
    }
}

/// A merge: `["a", "b"]`, or `"a b"` as in files of old.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Merge, D::Error> {
        struct Shapes;
        impl<'de> Visitor<'de> for Shapes {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pair of tokens")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                let pair = text.split_once(' ').filter(|(_, right)| !right.contains(' '));
                let (left, right) = pair.ok_or_else(|| E::custom(format_args!("wanted a pair, got {}", quoted(text))))?;
                Ok(Merge(left.into(), right.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Merge, A::Error> {
                match (items.next_element()?, items.next_element()?, items.next_element::<IgnoredAny>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("wanted a pair of tokens")),
                }
            }
        }
        reader.deserialize_any(Shapes)
    }
}

/// A list of at most `MOST` items.
struct Capped<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Default for Capped<T, MOST> {
    fn default() -> Self {
        Capped(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Capped<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct List<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
            type Value = Capped<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                capped(&mut items, MOST).map(Capped)
            }
        }
        reader.deserialize_seq(List(PhantomData))
    }
}

fn capped<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(items: &mut A, most: usize) -> Result<Vec<T>, A::Error> {
    let mut list = Vec::new();
    while let Some(item) = items.next_element()? {
        if list.len() == most {
            return Err(A::Error::custom(format_args!("wanted at most {most} items")));
        }
        list.push(item);
    }
    Ok(list)
}
