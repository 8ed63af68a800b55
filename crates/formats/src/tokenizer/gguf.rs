//! Tokenizers that stand in GGUF's metadata, as lists of tokens, scores, kinds and merges.

use super::base64;
use super::definition::{Added, Bpe, Definition, Model, Scores, TOKENS};
use super::pretokenizer::{Cut, byte_level};
use crate::error::{Refusal, Result, quoted};
use serde_json::{Value, json};

/// What sentencepiece writes for a space.
const SPACE: &str = "\u{2581}";

/// The kinds of tokens, as `tokenizer.ggml.token_type` numbers them.
mod kind {
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const BYTE: i32 = 6;
}

/// The fields `tokenizer.ggml.*` of GGUF's metadata. What a file leaves out stays empty.
#[derive(Debug, Clone, Default)]
pub struct GgufVocabulary {
    /// `model`: gpt2, llama, t5 or bert.
    pub model: String,
    /// `pre`: how a byte-level vocabulary cuts texts into words.
    pub pre: Option<String>,
    /// `tokens`, by id.
    pub tokens: Vec<String>,
    /// `scores`, by id.
    pub scores: Vec<f32>,
    /// `token_type`, by id.
    pub token_type: Vec<i32>,
    /// `merges`: two tokens with a space between them.
    pub merges: Vec<String>,
    /// `precompiled_charsmap`: how sentencepiece rewrites characters.
    pub precompiled_charsmap: Vec<u8>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`: the end of a turn.
    pub eot: Option<u32>,
    /// `unknown_token_id`.
    pub unknown: Option<u32>,
    /// `padding_token_id`.
    pub padding: Option<u32>,
    /// `cls_token_id`.
    pub cls: Option<u32>,
    /// `seperator_token_id`, which GGUF spells so.
    pub separator: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`: a text begins as if a space stood before it.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`: several spaces are one.
    pub remove_extra_whitespaces: Option<bool>,
}

impl GgufVocabulary {
    pub(super) fn into_definition(self) -> Result<Definition> {
        self.check()?;
        match self.model.as_str() {
            "gpt2" => self.byte_level(),
            "llama" => self.sentencepiece(),
            "t5" => self.unigram(),
            "bert" => self.wordpiece(),
            other => Err(Refusal::new("tokenizer.ggml.model", format_args!("{} is not known", quoted(other)))),
        }
    }

    /// Lists of one length, and ids that there are.
    fn check(&self) -> Result<()> {
        let count = self.tokens.len();
        if !(1..=TOKENS).contains(&count) {
            return Err(Refusal::new("tokenizer.ggml.tokens", format_args!("got {count}, wanted 1 to {TOKENS}")));
        }
        for (name, length) in [("scores", self.scores.len()), ("token_type", self.token_type.len())] {
            if length != 0 && length != count {
                let why = format_args!("got {length}, wanted one for each of {count} tokens");
                return Err(Refusal::new(format_args!("tokenizer.ggml.{name}"), why));
            }
        }
        let named = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot),
            ("unknown", self.unknown),
            ("padding", self.padding),
            ("cls", self.cls),
            ("seperator", self.separator),
        ];
        match named.into_iter().find_map(|(name, id)| id.filter(|id| *id as usize >= count).map(|id| (name, id))) {
            Some((name, id)) => Err(Refusal::new(
                format_args!("tokenizer.ggml.{name}_token_id"),
                format_args!("got {id}, there are {count} tokens"),
            )),
            None => Ok(()),
        }
    }

    fn kind(&self, id: usize) -> i32 {
        self.token_type.get(id).copied().unwrap_or(1)
    }

    fn score(&self, id: usize) -> f32 {
        self.scores.get(id).copied().unwrap_or(0.0)
    }

    /// Byte-level byte-pair encoding.
    fn byte_level(self) -> Result<Definition> {
        let cut = Cut::named(self.pre.as_deref())?;
        let merges = self.merges.iter().enumerate().map(|(row, merge)| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(Refusal::new(format_args!("tokenizer.ggml.merges[{row}]"), format_args!("{} is no pair", quoted(merge)))),
        });
        let merges = merges.collect::<Result<_>>()?;
        Ok(Definition {
            added: self.added(),
            normalizer: if cut.composed { json!({ "type": "NFC" }) } else { Value::Null },
            pre_tokenizer: cut.pre_tokenizer(),
            post_processor: self.ends(cut.begins, false)?,
            decoder: byte_level(true),
            model: Model::Bpe(Bpe { vocab: numbered(self.tokens), merges, ignore_merges: cut.whole_words, ..Bpe::default() }),
        })
    }

    /// Sentencepiece's byte-pair encoding: of all neighbours that make a token, those of the best score become one.
    fn sentencepiece(mut self) -> Result<Definition> {
        let prefix = self.add_space_prefix.unwrap_or(true);
        let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
        let mut normalizers = vec![replace(" ", SPACE)];
        let mut decoders = vec![replace(SPACE, " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
        if prefix {
            normalizers.insert(0, json!({ "type": "Prepend", "prepend": SPACE }));
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        // What a user defined is looked for in the text itself, where spaces are spaces.
        for id in (0..self.tokens.len()).filter(|id| self.token_type.get(*id) == Some(&kind::USER_DEFINED)) {
            self.tokens[id] = self.tokens[id].replace(SPACE, " ");
        }
        if self.scores.is_empty() {
            return Err(Refusal::new("tokenizer.ggml.scores", "missing: they say which tokens are made first"));
        }
        let joined = |id| !matches!(self.kind(id), kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED | kind::BYTE);
        Ok(Definition {
            added: self.added(),
            normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
            pre_tokenizer: Value::Null,
            post_processor: self.ends(true, false)?,
            decoder: json!({ "type": "Sequence", "decoders": decoders }),
            model: Model::Scored(Scores {
                joined: (0..self.tokens.len()).map(joined).collect(),
                unknown: self.unknown,
                byte_fallback: self.token_type.contains(&kind::BYTE),
                tokens: self.tokens,
                scores: self.scores,
            }),
        })
    }

    /// Sentencepiece's unigram model: the segmentation of the best total score.
    fn unigram(self) -> Result<Definition> {
        if self.scores.is_empty() {
            return Err(Refusal::new("tokenizer.ggml.scores", "missing: they say which segmentation is the likeliest"));
        }
        let mut normalizers = Vec::new();
        if !self.precompiled_charsmap.is_empty() {
            normalizers
                .push(json!({ "type": "Precompiled", "precompiled_charsmap": base64::encode(&self.precompiled_charsmap) }));
        }
        if self.remove_extra_whitespaces.unwrap_or(false) {
            normalizers.push(json!({ "type": "Strip", "strip_left": false, "strip_right": true }));
            normalizers.push(json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }));
        }
        let scheme = if self.add_space_prefix.unwrap_or(true) { "always" } else { "never" };
        let spaces = json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": true });
        let scores: Vec<f64> = (0..self.tokens.len()).map(|id| f64::from(self.score(id))).collect();
        Ok(Definition {
            added: self.added(),
            normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
            pre_tokenizer: spaces.clone(),
            post_processor: self.ends(false, true)?,
            decoder: spaces,
            model: Model::Unigram {
                unk_id: self.unknown.map(|id| id as usize),
                byte_fallback: self.token_type.contains(&kind::BYTE),
                vocab: self.tokens.into_iter().zip(scores).collect(),
            },
        })
    }

    /// WordPiece, of which GGUF marks the beginnings of words and not, like BERT's files, the rest of them.
    fn wordpiece(self) -> Result<Definition> {
        let unknown = self.unknown.ok_or_else(|| Refusal::new("tokenizer.ggml.unknown_token_id", "missing"))? as usize;
        let marked = |token: &str| match token.strip_prefix(SPACE) {
            Some(word) => word.to_owned(),
            None if token.starts_with('[') && token.ends_with(']') => token.to_owned(),
            None => format!("##{token}"),
        };
        let spelled = |id: usize| match self.kind(id) {
            kind::CONTROL | kind::UNKNOWN | kind::USER_DEFINED => self.tokens[id].clone(),
            _ => marked(&self.tokens[id]),
        };
        let vocab: Vec<(String, u32)> = (0..self.tokens.len()).map(|id| (spelled(id), id as u32)).collect();
        // GGUF does not say whether a model tells capitals from small letters; its words do.
        let lowercase =
            !self.tokens.iter().filter(|token| token.starts_with(SPACE)).any(|token| token.contains(char::is_uppercase));
        let (Some(first), Some(last)) = (self.cls.or(self.bos), self.separator.or(self.eos)) else {
            return Err(Refusal::new("tokenizer.ggml.cls_token_id", "missing, or the separator is"));
        };
        Ok(Definition {
            added: self.added(),
            normalizer: json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                                "strip_accents": null, "lowercase": lowercase }),
            pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
            post_processor: self.template(Some(first), Some(last)),
            decoder: json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
            model: Model::WordPiece { unk_token: vocab[unknown].0.clone(), prefix: "##".into(), longest_word: 100, vocab },
        })
    }

    /// The tokens that are looked for in the text before anything else happens to it.
    fn added(&self) -> Vec<Added> {
        let special = |id: usize| matches!(self.kind(id), kind::CONTROL | kind::UNKNOWN);
        let added = (0..self.tokens.len()).filter(|id| special(*id) || self.kind(*id) == kind::USER_DEFINED);
        added
            .map(|id| Added { id: id as u32, content: self.tokens[id].clone(), special: special(id), ..Added::default() })
            .collect()
    }

    /// The tokens before and after a text, where the file wants them, or `begins` and `ends` say so in its place.
    fn ends(&self, begins: bool, ends: bool) -> Result<Value> {
        let wanted = |add: Option<bool>, default: bool, id: Option<u32>, name: &str| match (add, id) {
            (Some(true), None) => Err(Refusal::new(format_args!("tokenizer.ggml.{name}_token_id"), "missing, but to be added")),
            (add, id) => Ok(id.filter(|_| add.unwrap_or(default))),
        };
        let first = wanted(self.add_bos, begins, self.bos, "bos")?;
        let last = wanted(self.add_eos, ends, self.eos, "eos")?;
        Ok(if first.or(last).is_some() { self.template(first, last) } else { Value::Null })
    }

    fn template(&self, first: Option<u32>, last: Option<u32>) -> Value {
        let token = |id: u32| self.tokens[id as usize].as_str();
        let piece = |id: u32| json!({ "SpecialToken": { "id": token(id), "type_id": 0 } });
        let text = |name: &str| vec![json!({ "Sequence": { "id": name, "type_id": 0 } })];
        let between =
            |name: &str| [first.map(piece).into_iter().collect(), text(name), last.map(piece).into_iter().collect()].concat();
        let special = |id: u32| (token(id).to_owned(), json!({ "id": token(id), "ids": [id], "tokens": [token(id)] }));
        let pair = [between("A"), between("B")].concat();
        json!({
            "type": "TemplateProcessing",
            "single": between("A"),
            "pair": pair,
            "special_tokens": first.into_iter().chain(last).map(special).collect::<serde_json::Map<_, _>>(),
        })
    }
}

fn numbered(tokens: Vec<String>) -> Vec<(String, u32)> {
    tokens.into_iter().zip(0..).collect()
}
