//! Sentencepiece's byte-pair encoding as its vocabularies state it: of all neighbours that make a token, those of the best score become
//! one.
//!
//! The tokenizers crate wants a list of all pairs that make a token, half a million for 262,144 tokens, which took most of the time
//! until the first token of such a model. Here a pair is looked up when a text has it, and the list is made for a tokenizer.json alone.

use super::build::table;
use super::definition::Scores;
use crate::Refusal;
use crate::error::{Result, quoted};
use ahash::AHashMap;
use serde::{Serialize, Serializer};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{Model, Token};

/// A model of the tokenizers crate.
#[derive(Clone)]
pub(super) struct Scored {
    tokens: Vec<Arc<str>>,
    ids: AHashMap<Arc<str>, u32>,
    scores: Vec<f32>,
    joined: Vec<bool>,
    unknown: Option<u32>,
    byte_fallback: bool,
}

/// What is merged first: the best score, of one score the longest left part, then the longest right part.
type Rank = (Reverse<u32>, [Reverse<usize>; 2], [u32; 3]);

/// A token in the text at hand, between its neighbours.
struct Symbol {
    id: u32,
    /// Bytes of text; none once it is a part of another.
    len: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that make a token.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merge {
    rank: Rank,
    /// The left one among the symbols.
    at: usize,
}

impl Merge {
    fn id(&self) -> u32 {
        self.rank.2[0]
    }
}

impl Scored {
    pub(super) fn new(definition: Scores) -> Result<Scored> {
        let Scores { tokens, scores, joined, unknown, byte_fallback } = definition;
        let tokens: Vec<Arc<str>> = tokens.into_iter().map(Arc::from).collect();
        let mut ids = AHashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(&tokens) {
            if ids.insert(token.clone(), id).is_some() {
                return Err(Refusal::new("model.vocab", format_args!("{} occurs twice", quoted(token))));
            }
        }
        Ok(Scored { tokens, ids, scores, joined, unknown, byte_fallback })
    }

    fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    /// What comes first of what two tokens make.
    fn rank(&self, id: u32, left: u32, right: u32) -> Rank {
        let longest = [left, right].map(|part| Reverse(self.token(part).chars().count()));
        (Reverse(ordered(self.scores[id as usize])), longest, [id, left, right])
    }

    /// The rank of the token that two make, if they do.
    fn merge(&self, left: u32, right: u32) -> Option<Rank> {
        let joined = |id: u32| self.joined[id as usize];
        if !joined(left) || !joined(right) {
            return None;
        }
        let both = [self.token(left), self.token(right)].concat();
        let id = *self.ids.get(&*both)?;
        joined(id).then(|| self.rank(id, left, right))
    }

    /// The characters of a text as tokens, or their bytes, or unknown: several of those are one.
    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
        let mut push = |id: u32, len: usize, fused: bool| match symbols.last_mut() {
            Some(last) if fused && last.id == id => last.len += len,
            _ => {
                let at = symbols.len();
                symbols.push(Symbol { id, len, before: at.checked_sub(1), after: Some(at + 1) });
            }
        };
        for (at, char) in text.char_indices() {
            let char = &text[at..at + char.len_utf8()];
            let byte = |byte: u8| self.ids.get(&*format!("<0x{byte:02X}>")).copied();
            if let Some(&id) = self.ids.get(char) {
                push(id, char.len(), false);
            } else if let Some(bytes) = char.bytes().map(byte).collect::<Option<Vec<u32>>>().filter(|_| self.byte_fallback) {
                bytes.into_iter().for_each(|id| push(id, 1, false));
            } else if let Some(unknown) = self.unknown {
                push(unknown, char.len(), true);
            }
        }
        if let Some(last) = symbols.last_mut() {
            last.after = None;
        }
        symbols
    }

    /// Merges symbols until no neighbours make a token.
    fn merge_all(&self, symbols: &mut [Symbol]) {
        let find = |symbols: &[Symbol], at: usize| {
            let after = symbols[at].after?;
            Some(Merge { rank: self.merge(symbols[at].id, symbols[after].id)?, at })
        };
        let mut queue: BinaryHeap<Reverse<Merge>> = (0..symbols.len()).filter_map(|at| find(symbols, at)).map(Reverse).collect();
        while let Some(Reverse(merge)) = queue.pop() {
            // Neighbours have changed if they no longer make the same.
            let now = if symbols[merge.at].len > 0 { find(symbols, merge.at) } else { None };
            let Some((after, merge)) = symbols[merge.at].after.zip(now.filter(|now| now.id() == merge.id())) else { continue };
            let Symbol { len, after: next, .. } = symbols[after];
            symbols[after].len = 0;
            let left = &mut symbols[merge.at];
            (left.id, left.len, left.after) = (merge.id(), left.len + len, next);
            if let Some(next) = next {
                symbols[next].before = Some(merge.at);
            }
            let around = symbols[merge.at].before.into_iter().chain([merge.at]);
            queue.extend(around.filter_map(|at| find(symbols, at)).map(Reverse));
        }
    }

    /// The pairs that make a token, in the order of their ranks.
    fn merges(&self) -> Vec<(String, String)> {
        let mut ranks = Vec::new();
        for (id, token) in (0..).zip(&self.tokens) {
            for (at, _) in token.char_indices().skip(1) {
                let parts = [&token[..at], &token[at..]].map(|part| self.ids.get(part));
                if let [Some(&left), Some(&right)] = parts
                    && [id, left, right].into_iter().all(|id: u32| self.joined[id as usize])
                {
                    ranks.push(self.rank(id, left, right));
                }
            }
        }
        ranks.sort_unstable();
        ranks.into_iter().map(|(.., [_, left, right])| (self.token(left).to_owned(), self.token(right).to_owned())).collect()
    }

    /// The same as the crate's own model.
    pub(super) fn to_bpe(&self) -> tokenizers::Result<BPE> {
        let vocab = (0..).zip(&self.tokens).map(|(id, token)| (token.to_string(), id)).collect();
        let builder = BPE::builder()
            .vocab_and_merges(table(vocab).map_err(|why| why.to_string())?, self.merges())
            .fuse_unk(true)
            .byte_fallback(self.byte_fallback);
        match self.unknown {
            Some(unknown) => builder.unk_token(self.token(unknown).to_owned()).build(),
            None => builder.build(),
        }
    }
}

/// A number that is the larger, the larger a score is; of every two scores, infinities and NaN among them.
fn ordered(score: f32) -> u32 {
    let bits = score.to_bits();
    bits ^ if score.is_sign_negative() { u32::MAX } else { 1 << 31 }
}

impl Model for Scored {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        let mut symbols = self.symbols(sequence);
        self.merge_all(&mut symbols);
        let mut start = 0;
        let token = |symbol: &Symbol| {
            let offsets = (start, start + symbol.len);
            start = offsets.1;
            Token::new(symbol.id, self.token(symbol.id).to_owned(), offsets)
        };
        Ok(symbols.iter().filter(|symbol| symbol.len > 0).map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokens.get(id as usize).map(|token| token.to_string())
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        (0..).zip(&self.tokens).map(|(id, token)| (token.to_string(), id)).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.tokens.len()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        self.to_bpe()?.save(folder, prefix)
    }

    fn get_trainer(&self) -> TrainerWrapper {
        BpeTrainer::default().into()
    }
}

impl Serialize for Scored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_bpe().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) as usize >> 8
    }

    /// Random vocabularies over few letters, of few scores, with tokens that take no part in merges, bytes for some characters and an
    /// unknown token: every text becomes the same tokens as by the list of all merges. (Unknown characters are last, as the crate would put
    /// bytes that follow before them.)
    #[test]
    fn tokens_are_those_of_the_list_of_all_merges() {
        let mut state = 20_261_130;
        for case in 0..200 {
            let mut word = |longest: usize| -> String {
                (0..1 + next(&mut state) % longest).map(|_| ['a', 'b', 'c', 'é'][next(&mut state) % 4]).collect()
            };
            let mut tokens: Vec<String> = ["<unk>", "<0xC3>", "<0xA9>", "a", "b", "c"].map(str::to_owned).into();
            for _ in 0..40 {
                let token = word(6);
                if !tokens.contains(&token) && (token != "é" || case % 2 == 0) {
                    tokens.push(token);
                }
            }
            let texts: Vec<String> = (0..20).map(|_| word(30) + ["", "x", "yx"][case % 3]).collect();
            let scores = tokens.iter().map(|_| (next(&mut state) % 5) as f32 - 2.0).collect();
            let joined = (0..tokens.len()).map(|id| id > 2 && !next(&mut state).is_multiple_of(12)).collect();
            let unknown = (case % 4 > 0).then_some(0);
            let scored =
                Scored::new(Scores { tokens, scores, joined, unknown, byte_fallback: case % 5 > 0 }).expect("a vocabulary");
            let listed = scored.to_bpe().expect("a model");
            for text in texts {
                assert_eq!(scored.tokenize(&text).unwrap(), listed.tokenize(&text).unwrap(), "case {case}: {text}");
            }
        }
    }
}
