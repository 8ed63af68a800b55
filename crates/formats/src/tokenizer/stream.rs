//! Text as it is generated: token by token, never half a character.

use super::Tokenizer;
use crate::error::Result;

/// How many tokens may wait for one that completes their characters. A character has four bytes and a byte is a token at worst;
/// more than that waits only where bytes follow each other that make no character.
const MOST_WAITING: usize = 32;

/// Decodes tokens one after another, so that the pieces together are what decoding all of them gives.
///
/// A decoder that looks at a token's neighbours, for the space before a word or the punctuation after it, has the tokens of the
/// last piece before it. Where a later token changes text that was given out before, which only the cleaning up of WordPiece
/// does, and bytes that make no character, the text given out stays.
#[derive(Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    /// The tokens of the last piece, then those that wait.
    ids: Vec<u32>,
    /// How many tokens of `ids` are the last piece's.
    given: usize,
    /// What they alone decode to.
    text: String,
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, skip_special: bool) -> TextStream<'t> {
        TextStream { tokenizer, skip_special, ids: Vec::new(), given: 0, text: String::new() }
    }

    /// Takes a token; gives the text that is certain now, which may be empty.
    ///
    /// # Errors
    /// If the tokenizer's decoder refuses the tokens.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        let waiting = self.ids.len() - self.given;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && waiting < MOST_WAITING {
            return Ok(String::new());
        }
        let piece = continuation(&self.text, &text).to_owned();
        if piece.is_empty() {
            return Ok(piece);
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        self.text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(piece)
    }

    /// The text of the tokens that still wait, with marks where they make no whole character.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(self) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(continuation(&self.text, &text).to_owned())
    }
}

/// What `text` has beyond the beginning that it shares with `before`.
fn continuation<'a>(before: &str, text: &'a str) -> &'a str {
    let shared = before.chars().zip(text.chars()).take_while(|(old, new)| old == new).map(|(old, _)| old.len_utf8()).sum();
    &text[shared..]
}
