//! Texts to tokens and back, as the files of published models say.
//!
//! The work is done by the tokenizers crate, which those files were written for. It trusts them, so what it would fail on is refused
//! before, and what it still panics on is caught after. A tokenizer is read from a tokenizer.json or from the fields that GGUF has
//! for it; both become the same definition and pass the same checks.

mod base64;
mod build;
mod check;
mod definition;
mod gguf;
mod parts;
mod pretokenizer;
mod scored;
mod stream;

pub use gguf::GgufVocabulary;
pub use stream::TextStream;

use crate::error::{Error, Refusal, Result};
use crate::guard::guarded;
use definition::Definition;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use tokenizers::TruncationParams;

/// The most bytes that a text may become before it is cut into tokens; each takes about 20 in memory, with a vocabulary of scores about 100.
const LONGEST_NORMALIZED: usize = 64 << 20;
/// Text that parts may put before and after another, in bytes.
const MARGIN: usize = 4096;

/// Turns texts into tokens and back.
#[derive(Clone)]
pub struct Tokenizer {
    inner: build::Built,
    /// The tokens that are no text: ends of texts, roles, padding.
    special: HashSet<u32>,
    /// One more than the largest id.
    bound: u32,
    /// The most bytes that one byte of text may become.
    growth: usize,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("bound", &self.bound).field("special", &self.special.len()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a tokenizer.json.
    ///
    /// # Errors
    /// If it cannot be read, is none, or says what no tokenizer can do.
    pub fn from_file(path: &Path) -> Result<Tokenizer, Error> {
        let text = definition::read(path)?;
        Tokenizer::from_json(&text).map_err(|why| why.in_file(path))
    }

    /// Reads the text of a tokenizer.json.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_json(text: &[u8]) -> Result<Tokenizer> {
        Tokenizer::new(Definition::parse(text)?)
    }

    /// Builds the tokenizer that GGUF's metadata describe.
    ///
    /// # Errors
    /// If fields are missing, contradict each other, or name a kind that is not known.
    pub fn from_gguf(fields: GgufVocabulary) -> Result<Tokenizer> {
        Tokenizer::new(fields.into_definition()?)
    }

    fn new(definition: Definition) -> Result<Tokenizer> {
        check::vocabulary(&definition)?;
        let growth = parts::check(&definition)?;
        let special = definition.added.iter().filter(|token| token.special).map(|token| token.id).collect();
        let added = definition.added.iter().map(|token| token.id).max();
        let bound = definition.model.largest_id().max(added.unwrap_or(0)) + 1;
        let inner = guarded("tokenizer", || build::build(definition))?;
        Ok(Tokenizer { inner, special, bound, growth })
    }

    /// The text of a tokenizer.json that gives the same.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(false).map_err(|why| Refusal::new("tokenizer", why))
    }

    /// The same, cutting texts off so that they have `most` tokens at most, those around them included.
    ///
    /// # Errors
    /// If that leaves no token of the text.
    pub fn cut_to(mut self, most: usize) -> Result<Tokenizer> {
        let around = self.encode("", true)?.len();
        if most <= around {
            return Err(Refusal::new("length", format_args!("got {most}, wanted more than the {around} tokens around a text")));
        }
        let truncation = TruncationParams { max_length: most, ..TruncationParams::default() };
        self.inner.with_truncation(Some(truncation)).map_err(|why| Refusal::new("length", why))?;
        Ok(self)
    }

    /// One more than the largest id: a model needs as many rows of embeddings.
    pub fn id_bound(&self) -> u32 {
        self.bound
    }

    /// The token of an id, in the vocabulary's own spelling.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token in the vocabulary's own spelling.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether a token is no text but marks something: an end, a role, padding.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The tokens of a text, with those that the model wants before and after it if `add_special`. Special tokens that are
    /// spelled out in the text are found either way.
    ///
    /// # Errors
    /// If the text is too long to be tokenized at once, or the file says what cannot be done with it.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let longest = (LONGEST_NORMALIZED / self.growth).saturating_sub(MARGIN);
        if text.len() > longest {
            return Err(Refusal::new("text", format_args!("has {} bytes, this tokenizer takes {longest} at once", text.len())));
        }
        guarded("text", || {
            let encoding = self.inner.encode_fast(text, add_special).map_err(|why| Refusal::new("text", why))?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    /// The text of tokens, without special ones if `skip_special`. Ids that no token has give nothing.
    ///
    /// # Errors
    /// If the file's decoder cannot do it.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let ids: Vec<u32> = ids.iter().copied().filter(|id| !(skip_special && self.is_special(*id))).collect();
        if ids.is_empty() {
            return Ok(String::new());
        }
        guarded("tokens", || self.inner.decode(&ids, false).map_err(|why| Refusal::new("tokens", why)))
    }

    /// Decodes tokens as they come, without special ones if `skip_special`.
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special)
    }
}
