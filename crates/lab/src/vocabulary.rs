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
        Vocabulary::train(paragraphs(text), size)
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

    /// The tokens of a text. It goes through the tokenizer by paragraphs, which is faster and gives the same.
    ///
    /// # Errors
    /// If the tokenizer refuses it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        for paragraph in paragraphs(text) {
            let encoding = self.tokenizer.encode_fast(paragraph, false).map_err(|why| refused("encoding", why))?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(ids)
    }
}

/// The text in pieces that give the same tokens as the whole. The tokenizer's pattern takes white space before a word apart from
/// the last of it, so the cut is between the newlines of an empty line: after them, the two would become one token. Nor is it
/// before a mark like [`END_OF_TEXT`], which ends white space as the end of the text does.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> + Send {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let cut = whole
            .match_indices('\n')
            .map(|(at, _)| at)
            .find(|&at| whole[..at].ends_with(char::is_whitespace) && whole[at + 1..].starts_with(char::is_alphanumeric));
        rest = cut.map(|at| &whole[at..]);
        Some(&whole[..cut.unwrap_or(whole.len())])
    })
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
            assert_eq!(vocabulary.tokenizer.decode(&vocabulary.encode(text).unwrap(), true).unwrap(), text);
        }
        assert_eq!(Vocabulary::bytes().encode(text).unwrap().len(), text.len());
    }

    #[test]
    fn paragraphs_give_the_tokens_of_the_whole() {
        let vocabulary = Vocabulary::austen();
        let novels = Corpus::austen();
        let spaces = "a\n\nb\n\n\nc \n\n d\n \ne\n\n\t\nf\u{a0}\n\n\u{2028}\n\ng\r\n\r\nh\n\n<|endoftext|>\n\n\n\n";
        for text in [&novels.train[..200_000], &novels.validation, spaces, "", "\n", "\n\n", "\n\nx"] {
            assert_eq!(paragraphs(text).collect::<String>(), text);
            let whole = vocabulary.tokenizer.encode_fast(text, false).unwrap();
            assert!(vocabulary.encode(text).unwrap() == whole.get_ids(), "{:?}", &text[..text.len().min(80)]);
        }
        assert!(paragraphs(&novels.validation).count() > 500);
    }

    #[test]
    fn what_is_saved_is_what_is_shipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        Vocabulary::austen().save(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), AUSTEN.trim_end());
    }
}
