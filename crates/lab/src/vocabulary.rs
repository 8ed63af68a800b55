//! How text becomes tokens: byte pairs trained on it, or plain bytes. Both are tokenizer.json files that Hugging Face opens.

use crate::error::{LabError, Result};
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Marks the end of a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

const AUSTEN: &str = include_str!("../assets/austen.tokenizer.json");

/// How text becomes tokens.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
}

impl Vocabulary {
    /// Tokens of the vocabulary trained on Jane Austen's novels.
    pub const AUSTEN_SIZE: usize = 1024;

    /// Every byte is a token, and the end of text.
    pub fn bytes() -> Vocabulary {
        // With no text there is nothing to merge, so only the alphabet is left.
        Vocabulary::train([], 257).expect("nothing can fail without text")
    }

    /// Byte pairs trained on Jane Austen's novels without *Persuasion*.
    pub fn austen() -> Vocabulary {
        Vocabulary { tokenizer: AUSTEN.parse().expect("the tokenizer in the binary is whole") }
    }

    /// Byte pairs trained on a text, `size` tokens at most.
    ///
    /// # Errors
    /// If the training fails.
    pub fn train_bpe(text: &str, size: usize) -> Result<Vocabulary> {
        Vocabulary::train(text.split_inclusive("\n\n"), size)
    }

    fn train<'a>(text: impl IntoIterator<Item = &'a str, IntoIter: Send>, size: usize) -> Result<Vocabulary> {
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build()
            .into();
        let mut tokenizer = Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        tokenizer.train(&mut trainer, text.into_iter()).map_err(|why| refused("training", why))?;
        Ok(Vocabulary { tokenizer })
    }

    /// Reads a tokenizer.json.
    ///
    /// # Errors
    /// If it cannot be read or is no tokenizer.
    pub fn from_file(path: &Path) -> Result<Vocabulary> {
        Tokenizer::from_file(path).map(|tokenizer| Vocabulary { tokenizer }).map_err(|why| LabError::content(path, why))
    }

    /// Writes a tokenizer.json.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.tokenizer.save(path, false).map(|_| ()).map_err(|why| LabError::content(path, why))
    }

    /// How many tokens there are.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The tokens of a text, paragraph by paragraph: a token never crosses an empty line.
    ///
    /// # Errors
    /// If the tokenizer refuses it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        for paragraph in text.split_inclusive("\n\n") {
            let encoding = self.tokenizer.encode_fast(paragraph, false).map_err(|why| refused("encoding", why))?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(ids)
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// If the tokenizer refuses them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|why| refused("decoding", why))
    }
}

fn refused(what: &str, why: tokenizers::Error) -> LabError {
    attendant_core::Error::config("tokenizer", format!("{what}: {why}").replace('\n', " ")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn training_again_gives_the_vocabulary_that_is_shipped() {
        let again = Vocabulary::train_bpe(&Corpus::austen().train, Vocabulary::AUSTEN_SIZE).unwrap();
        assert_eq!(again.tokenizer.to_string(false).unwrap(), AUSTEN.trim_end());
        assert_eq!(again.size(), Vocabulary::AUSTEN_SIZE);
    }

    #[test]
    fn text_comes_back_whole() {
        let text = "It is a truth universally acknowledged,\n\n  that caf\u{e9}s \u{1f600} exist.\n";
        for (vocabulary, size) in [(Vocabulary::bytes(), 257), (Vocabulary::austen(), 1024)] {
            assert_eq!(vocabulary.size(), size);
            assert_eq!(vocabulary.decode(&vocabulary.encode(text).unwrap()).unwrap(), text);
        }
        assert_eq!(Vocabulary::bytes().encode(text).unwrap().len(), text.len());
    }
}
