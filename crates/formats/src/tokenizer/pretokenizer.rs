//! How byte-level vocabularies cut a text into words, by the names that GGUF has for the published ways.
//!
//! The patterns are those of the models' own tokenizer.json files.

use crate::error::{Refusal, Result, quoted};
use serde_json::{Value, json};

/// One step of cutting.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Every match of the pattern stands alone.
    Split(&'static str),
    /// Every digit stands alone.
    Digits,
    /// Runs of digits stand alone.
    Numbers,
    /// Runs of punctuation stand alone.
    Punctuation,
    /// The words of GPT-2.
    Gpt2,
}

/// A published way to cut a text.
#[derive(Debug)]
pub(super) struct Cut {
    names: &'static [&'static str],
    steps: &'static [Step],
    /// Whether characters are composed before.
    pub(super) composed: bool,
    /// Whether a word that is a token is taken whole, whatever the merges say.
    pub(super) whole_words: bool,
    /// Whether a text begins with the token that marks its beginning, where the file does not say.
    pub(super) begins: bool,
}

const PLAIN: Cut = Cut { names: &[], steps: &[], composed: false, whole_words: false, begins: false };

const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

const CUTS: &[Cut] = &[
    Cut { names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"], steps: &[Step::Gpt2], ..PLAIN },
    Cut {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: &[Step::Digits, Step::Gpt2],
        ..PLAIN
    },
    Cut {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        steps: &[Step::Split(LLAMA3)],
        whole_words: true,
        begins: true,
        ..PLAIN
    },
    Cut { names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], steps: &[Step::Split(LLAMA3)], ..PLAIN },
    Cut { names: &["qwen2", "deepseek-r1-qwen", "kormo"], steps: &[Step::Split(QWEN2)], composed: true, ..PLAIN },
    Cut { names: &["qwen35"], steps: &[Step::Split(QWEN35)], composed: true, ..PLAIN },
    Cut { names: &["stablelm2", "hunyuan", "grok-2"], steps: &[Step::Split(QWEN2)], ..PLAIN },
    Cut { names: &["gpt-4o", "llama4", "minimax-m2"], steps: &[Step::Split(GPT4O)], ..PLAIN },
    Cut { names: &["tekken"], steps: &[Step::Split(TEKKEN)], whole_words: true, begins: true, ..PLAIN },
    Cut {
        names: &["deepseek-v3", "hunyuan-dense"],
        steps: &[Step::Split(r"\p{N}{1,3}"), Step::Split("[一-龥\u{3040}-ゟ゠-ヿ]+"), Step::Split(DEEPSEEK3)],
        ..PLAIN
    },
    Cut {
        names: &["deepseek-coder"],
        steps: &[
            Step::Split("[\r\n]"),
            Step::Split(r"\s?\p{L}+"),
            Step::Split(r"\s?\p{P}+"),
            Step::Split("[一-龥\u{800}-一가-\u{d7ff}]+"),
            Step::Digits,
        ],
        ..PLAIN
    },
    Cut { names: &["falcon"], steps: &[Step::Punctuation, Step::Gpt2, Step::Numbers, Step::Split("[0-9][0-9][0-9]")], ..PLAIN },
    Cut { names: &["bloom", "poro-chat", "gpt3-finnish"], steps: &[Step::Split(BLOOM)], ..PLAIN },
    Cut { names: &["viking"], steps: &[Step::Split(BLOOM), Step::Digits], ..PLAIN },
];

impl Cut {
    /// The way of that name.
    pub(super) fn named(name: Option<&str>) -> Result<&'static Cut> {
        let field = "tokenizer.ggml.pre";
        let name = name.ok_or_else(|| Refusal::new(field, "missing: how the text is cut cannot be guessed"))?;
        let cut = CUTS.iter().find(|cut| cut.names.contains(&name));
        cut.ok_or_else(|| Refusal::new(field, format_args!("{} is not known", quoted(name))))
    }

    /// The steps as a pre-tokenizer of tokenizer.json. Bytes become characters in the end, or where GPT-2's words are cut.
    pub(super) fn pre_tokenizer(&self) -> Value {
        let mut parts: Vec<Value> = self.steps.iter().map(|step| step.part()).collect();
        if !self.steps.iter().any(|step| matches!(step, Step::Gpt2)) {
            parts.push(byte_level(false));
        }
        json!({ "type": "Sequence", "pretokenizers": parts })
    }
}

impl Step {
    fn part(self) -> Value {
        match self {
            Step::Split(pattern) => {
                json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
            }
            Step::Digits => json!({ "type": "Digits", "individual_digits": true }),
            Step::Numbers => json!({ "type": "Digits", "individual_digits": false }),
            Step::Punctuation => json!({ "type": "Punctuation", "behavior": "Contiguous" }),
            Step::Gpt2 => byte_level(true),
        }
    }
}

/// Bytes as characters, cut into GPT-2's words or not.
pub(super) fn byte_level(words: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once() {
        let mut names: Vec<&str> = CUTS.iter().flat_map(|cut| cut.names).copied().collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(Cut::named(Some("llama-bpe")).unwrap().begins);
        assert!(Cut::named(Some("x\ny")).unwrap_err().to_string().contains("\"x\\ny\" is not known"));
        assert!(Cut::named(None).is_err());
    }

    #[test]
    fn every_cut_is_a_pre_tokenizer() {
        for cut in CUTS {
            serde_json::from_value::<tokenizers::PreTokenizerWrapper>(cut.pre_tokenizer()).unwrap();
        }
    }
}
