//! What must hold before a vocabulary is given to the tokenizers crate, which trusts it.

use super::definition::{Added, Bpe, Definition, MERGES, Model, Padding, Scores, Strategy, TOKENS, Truncation};
use crate::error::{Refusal, Result, quoted};
use std::collections::HashSet;

/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 4096;
/// The first id that is refused. A vocabulary may have gaps, and tables over ids must stay small.
const IDS: u32 = 1 << 22;
/// The most bytes of all tokens of a Unigram vocabulary: its trie takes about a hundred times as much.
const UNIGRAM_BYTES: usize = 4 << 20;
/// The longest word that WordPiece may look at, in characters: it takes time with the square of it.
const LONGEST_WORD: usize = 1000;
/// The longest text that a file may cut at or fill up to, in tokens.
const LONGEST_TEXT: usize = 1 << 24;

/// What holds of vocabulary and added tokens by themselves. The parts around the model are [`super::parts`]'.
pub(super) fn vocabulary(definition: &Definition) -> Result<()> {
    match &definition.model {
        Model::Bpe(bpe) => self::bpe(bpe)?,
        Model::Scored(Scores { tokens, .. }) => drop(lengths_of(tokens.iter())?),
        Model::Unigram { vocab, unk_id, .. } => unigram(vocab, *unk_id)?,
        Model::WordPiece { vocab, unk_token, longest_word, .. } => {
            ids(vocab)?;
            present("model.unk_token", unk_token, vocab)?;
            if !(1..=LONGEST_WORD).contains(longest_word) {
                let why = format_args!("got {longest_word}, wanted 1 to {LONGEST_WORD}");
                return Err(Refusal::new("model.max_input_chars_per_word", why));
            }
        }
        Model::WordLevel { vocab, unk_token } => {
            ids(vocab)?;
            present("model.unk_token", unk_token, vocab)?;
        }
    }
    added(&definition.added)
}

/// The habits of cutting and filling up that a file states, which nobody follows here but which must not be absurd.
pub(super) fn lengths(truncation: Option<&Truncation>, padding: Option<&Padding>) -> Result<()> {
    if let Some(Truncation { max_length, stride }) = truncation {
        if !(1..=LONGEST_TEXT).contains(max_length) {
            return Err(Refusal::new("truncation.max_length", format_args!("got {max_length}, wanted 1 to {LONGEST_TEXT}")));
        }
        if stride >= max_length {
            return Err(Refusal::new("truncation.stride", format_args!("got {stride}, wanted less than {max_length}")));
        }
    }
    let Some(padding) = padding else { return Ok(()) };
    let fixed = match padding.strategy {
        Strategy::Fixed(length) => length,
        Strategy::BatchLongest => 0,
    };
    for (field, length) in [("strategy", fixed), ("pad_to_multiple_of", padding.pad_to_multiple_of.unwrap_or(0))] {
        if length > LONGEST_TEXT {
            return Err(Refusal::new(
                format_args!("padding.{field}"),
                format_args!("got {length}, wanted at most {LONGEST_TEXT}"),
            ));
        }
    }
    Ok(())
}

fn bpe(bpe: &Bpe) -> Result<()> {
    let longest = ids(&bpe.vocab)?;
    if bpe.merges.len() > MERGES {
        return Err(Refusal::new("model.merges", format_args!("got {}, wanted at most {MERGES}", bpe.merges.len())));
    }
    if let Some(unk_token) = &bpe.unk_token {
        present("model.unk_token", unk_token, &bpe.vocab)?;
    }
    let prefix = bpe.prefix.as_deref().unwrap_or("");
    for (row, (left, right)) in bpe.merges.iter().enumerate() {
        // The crate cuts the prefix off by its length and writes the merged token into a buffer of the longest token's.
        let Some(rest) = right.strip_prefix(prefix) else {
            let why = format_args!("{} does not begin with the prefix {}", quoted(right), quoted(prefix));
            return Err(Refusal::new(format_args!("model.merges[{row}]"), why));
        };
        if left.len() + rest.len() > longest {
            let why = format_args!("{} and {} make a token that is longer than any there is", quoted(left), quoted(right));
            return Err(Refusal::new(format_args!("model.merges[{row}]"), why));
        }
    }
    Ok(())
}

fn unigram(vocab: &[(String, f64)], unk_id: Option<usize>) -> Result<()> {
    lengths_of(vocab.iter().map(|(token, _)| token))?;
    if let Some((token, score)) = vocab.iter().find(|(_, score)| !score.is_finite() || score.abs() >= 1e9) {
        return Err(Refusal::new("model.vocab", format_args!("the score of {} is {score}, wanted a number", quoted(token))));
    }
    let bytes: usize = vocab.iter().map(|(token, _)| token.len()).sum();
    if bytes > UNIGRAM_BYTES {
        return Err(Refusal::new("model.vocab", format_args!("got {bytes} bytes of tokens, wanted at most {UNIGRAM_BYTES}")));
    }
    match unk_id {
        Some(id) if id < vocab.len() => Ok(()),
        Some(id) => Err(Refusal::new("model.unk_id", format_args!("got {id}, there are {} tokens", vocab.len()))),
        None => Err(Refusal::new("model.unk_id", "missing: a text may hold characters that no token has")),
    }
}

/// Counts, lengths and ids of a vocabulary; gives the length of its longest token in bytes. That no token occurs twice is seen when the
/// table of them is made.
fn ids(vocab: &[(String, u32)]) -> Result<usize> {
    let longest = lengths_of(vocab.iter().map(|(token, _)| token))?;
    let bound = vocab.iter().map(|(_, id)| *id).max().unwrap_or(0);
    if bound >= IDS {
        return Err(Refusal::new("model.vocab", format_args!("got the id {bound}, wanted ids below {IDS}")));
    }
    let mut seen = vec![false; bound as usize + 1];
    if let Some((token, id)) = vocab.iter().find(|(_, id)| std::mem::replace(&mut seen[*id as usize], true)) {
        let why = format_args!("the id {id} of {} is another token's, too", quoted(token));
        return Err(Refusal::new("model.vocab", why));
    }
    Ok(longest)
}

fn lengths_of<'a>(tokens: impl ExactSizeIterator<Item = &'a String>) -> Result<usize> {
    if !(1..=TOKENS).contains(&tokens.len()) {
        return Err(Refusal::new("model.vocab", format_args!("got {} tokens, wanted 1 to {TOKENS}", tokens.len())));
    }
    let longest = tokens.max_by_key(|token| token.len()).expect("there is at least one");
    if longest.len() > LONGEST_TOKEN {
        let why = format_args!("got a token of {} bytes, wanted at most {LONGEST_TOKEN}", longest.len());
        return Err(Refusal::new("model.vocab", why));
    }
    Ok(longest.len())
}

fn present(field: &str, token: &str, vocab: &[(String, u32)]) -> Result<()> {
    match vocab.iter().any(|(name, _)| name == token) {
        true => Ok(()),
        false => Err(Refusal::new(field, format_args!("{} is no token", quoted(token)))),
    }
}

fn added(added: &[Added]) -> Result<()> {
    let mut contents = HashSet::new();
    let mut ids = HashSet::new();
    for (row, token) in added.iter().enumerate() {
        let refused =
            |why: &str| Err(Refusal::new(format_args!("added_tokens[{row}]"), format_args!("{} {why}", quoted(&token.content))));
        if token.content.is_empty() || token.content.len() > LONGEST_TOKEN {
            return refused(&format!("has {} bytes, wanted 1 to {LONGEST_TOKEN}", token.content.len()));
        }
        if token.id >= IDS {
            return refused(&format!("has the id {}, wanted ids below {IDS}", token.id));
        }
        if !contents.insert(token.content.as_str()) {
            return refused("occurs twice");
        }
        if !ids.insert(token.id) {
            return refused(&format!("has the id {} of another", token.id));
        }
    }
    Ok(())
}
