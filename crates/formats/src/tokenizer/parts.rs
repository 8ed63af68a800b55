//! What must hold of the parts around a model: what rewrites a text, cuts it, adds special tokens and puts text together again.
//!
//! The tokenizers crate panics on some of what these can say, and a dozen of them in a row can make gigabytes of a short text.

use super::base64;
use super::definition::{Definition, Model};
use crate::error::{Refusal, Result, quoted};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// The most parts of a sequence, its parts included.
const PARTS: usize = 64;
/// How deep sequences may nest.
const DEPTH: usize = 4;
/// The longest text that a part may put in somewhere, in bytes.
const LONGEST_INSERT: usize = 64;
/// The most bytes that parts may make of one.
const MOST_GROWTH: usize = 4096;
/// The most tokens that a post-processor may add to a text.
const MOST_SPECIAL: usize = 64;

/// One of the places for parts.
struct Slot {
    name: &'static str,
    /// What a sequence calls its list.
    list: &'static str,
    kinds: &'static [&'static str],
}

const NORMALIZER: Slot = Slot {
    name: "normalizer",
    list: "normalizers",
    kinds: &[
        "BertNormalizer",
        "Strip",
        "StripAccents",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Lowercase",
        "Nmt",
        "Precompiled",
        "Replace",
        "Prepend",
        "ByteLevel",
    ],
};
const PRE_TOKENIZER: Slot = Slot {
    name: "pre_tokenizer",
    list: "pretokenizers",
    kinds: &[
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Metaspace",
        "Whitespace",
        "Split",
        "Punctuation",
        "WhitespaceSplit",
        "Digits",
        "UnicodeScripts",
        "FixedLength",
    ],
};
const POST_PROCESSOR: Slot = Slot {
    name: "post_processor",
    list: "processors",
    kinds: &["RobertaProcessing", "BertProcessing", "ByteLevel", "TemplateProcessing"],
};
const DECODER: Slot = Slot {
    name: "decoder",
    list: "decoders",
    kinds: &["BPEDecoder", "ByteLevel", "WordPiece", "Metaspace", "CTC", "Replace", "Fuse", "Strip", "ByteFallback"],
};

/// Checks every part; gives the most bytes that normalizer and pre-tokenizer make of one byte of text.
pub(super) fn check(definition: &Definition) -> Result<usize> {
    let mut growth = 1;
    walk(&NORMALIZER, &definition.normalizer, &mut |part| grow(&mut growth, part))?;
    walk(&PRE_TOKENIZER, &definition.pre_tokenizer, &mut |part| grow(&mut growth, part))?;
    let mut decoded = 1;
    walk(&DECODER, &definition.decoder, &mut |part| grow(&mut decoded, part))?;
    let mut special = 0;
    walk(&POST_PROCESSOR, &definition.post_processor, &mut |part| {
        special += added_by(part, &definition.model, definition)?;
        match special <= MOST_SPECIAL {
            true => Ok(()),
            false => Err(part.refuse(format_args!("adds {special} tokens to a text, wanted at most {MOST_SPECIAL}"))),
        }
    })?;
    Ok(growth)
}

/// A part that is no sequence.
struct Part<'a> {
    path: &'a str,
    kind: &'a str,
    value: &'a Value,
}

impl Part<'_> {
    fn refuse(&self, why: impl std::fmt::Display) -> Refusal {
        Refusal::new(self.path, format_args!("{} {why}", self.kind))
    }

    fn text(&self, field: &str) -> Result<&str> {
        self.value[field].as_str().ok_or_else(|| self.refuse(format_args!("wants a text as `{field}`")))
    }

    /// A short text that the part puts in.
    fn insert(&self, field: &str) -> Result<&str> {
        let text = self.text(field)?;
        match text.len() <= LONGEST_INSERT {
            true => Ok(text),
            false => Err(self.refuse(format_args!("has {} bytes of `{field}`, wanted at most {LONGEST_INSERT}", text.len()))),
        }
    }
}

fn walk(slot: &Slot, value: &Value, visit: &mut impl FnMut(&Part<'_>) -> Result<()>) -> Result<()> {
    match value {
        Value::Null => Ok(()),
        value => walk_from(slot, slot.name, value, DEPTH, &mut { PARTS }, visit),
    }
}

fn walk_from(
    slot: &Slot,
    path: &str,
    value: &Value,
    depth: usize,
    left: &mut usize,
    visit: &mut impl FnMut(&Part<'_>) -> Result<()>,
) -> Result<()> {
    let kind = value["type"].as_str().ok_or_else(|| Refusal::new(path, "has no type"))?;
    *left = left.checked_sub(1).ok_or_else(|| Refusal::new(path, format_args!("wanted at most {PARTS} parts")))?;
    if kind != "Sequence" {
        let kind = slot.kinds.iter().find(|known| **known == kind);
        let kind = kind
            .ok_or_else(|| Refusal::new(path, format_args!("{} is not known", quoted(value["type"].as_str().unwrap_or("")))))?;
        return visit(&Part { path, kind, value });
    }
    let depth = depth.checked_sub(1).ok_or_else(|| Refusal::new(path, format_args!("wanted sequences at most {DEPTH} deep")))?;
    let list =
        value[slot.list].as_array().ok_or_else(|| Refusal::new(path, format_args!("Sequence has no list `{}`", slot.list)))?;
    list.iter()
        .enumerate()
        .try_for_each(|(at, part)| walk_from(slot, &format!("{path}.{}[{at}]", slot.list), part, depth, left, visit))
}

/// Checks a part that rewrites, cuts or decodes, and multiplies `growth` with the most bytes that it makes of one.
fn grow(growth: &mut usize, part: &Part<'_>) -> Result<()> {
    let factor = match part.kind {
        "Replace" => {
            let (pattern, regex) = pattern(part)?;
            let shortest = if regex { 1 } else { pattern.len().max(1) };
            // A regular expression may match between characters, too.
            part.insert("content")?.len().div_ceil(shortest) + usize::from(regex)
        }
        "Prepend" => 1 + part.insert("prepend")?.len(),
        "Metaspace" => 1 + part.insert("replacement")?.len(),
        "Precompiled" => {
            let map = base64::decode(part.text("precompiled_charsmap")?).ok_or_else(|| part.refuse("is no base64"))?;
            let longest = longest_replacement(&map);
            longest
                .ok_or_else(|| part.refuse(format_args!("has {} bytes, wanted as many as its search tree takes", map.len())))?
        }
        "Split" => pattern(part).map(|_| 1)?,
        "FixedLength" if part.value["length"].as_u64().is_some_and(|length| length == 0) => {
            return Err(part.refuse("has the length 0"));
        }
        "Strip" if ["start", "stop"].iter().any(|end| part.value[end].as_u64().is_some_and(|count| count > PARTS as u64)) => {
            return Err(part.refuse(format_args!("wants at most {PARTS} characters off")));
        }
        // The most that Unicode's tables make of one character: 33 bytes of 3, and 6 of 2.
        "NFKC" | "NFKD" => 11,
        "NFC" | "NFD" => 3,
        "BertNormalizer" => 12,
        "Lowercase" | "ByteLevel" | "BPEDecoder" => 2,
        _ => 1,
    };
    *growth = growth.saturating_mul(factor.max(1));
    match *growth <= MOST_GROWTH {
        true => Ok(()),
        false => {
            Err(part.refuse(format_args!("and the parts before it make {growth} bytes of one, wanted at most {MOST_GROWTH}")))
        }
    }
}

/// The pattern of a part, and whether it is a regular expression.
fn pattern<'a>(part: &Part<'a>) -> Result<(&'a str, bool)> {
    let pattern = &part.value["pattern"];
    match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
        (Some(text), None) if text.len() <= LONGEST_INSERT => Ok((text, false)),
        (None, Some(regex)) => match expanded(regex) {
            size if size <= MOST_GROWTH => Ok((regex, true)),
            size => Err(part.refuse(format_args!("has a pattern of the size {size}, wanted at most {MOST_GROWTH}"))),
        },
        _ => Err(part.refuse("wants a short text or a regular expression as `pattern`")),
    }
}

/// How many atoms a regular expression has when its counted repetitions are written out, which is what a matcher may do with them.
fn expanded(regex: &str) -> usize {
    let mut groups = vec![0_usize];
    let mut last = 0_usize;
    let mut class = 0_usize;
    let mut rest = regex.chars();
    while let Some(character) = rest.next() {
        let mut atom = 1;
        match character {
            '\\' => drop(rest.next()),
            '[' => {
                class += 1;
                let after = rest.as_str();
                let after = after.strip_prefix('^').unwrap_or(after);
                rest = after.strip_prefix(']').unwrap_or(after).chars();
            }
            ']' => class = class.saturating_sub(1),
            '(' if class == 0 => groups.push(0),
            ')' if class == 0 => atom = groups.pop().unwrap_or(0),
            '{' if class == 0 => {
                let digits = |text: &str| text.trim().parse::<usize>().unwrap_or(if text.is_empty() { 0 } else { usize::MAX });
                let count =
                    rest.as_str().split('}').next().filter(|count| count.chars().all(|c| matches!(c, '0'..='9' | ',' | ' ')));
                let most = count.map_or(1, |count| count.split(',').map(digits).max().unwrap_or(1));
                atom = last.saturating_mul(most.saturating_sub(1));
            }
            // A repetition may stand apart from what it repeats.
            character if character.is_whitespace() => atom = last,
            _ => {}
        }
        last = atom;
        match groups.last_mut() {
            Some(group) => *group = group.saturating_add(atom),
            None => groups.push(atom),
        }
    }
    groups.iter().fold(0, |sum, group| sum.saturating_add(*group))
}

/// The longest text between two zeros of a character map: each stands for what a character becomes. None if the map is shorter than it
/// says that its search tree is, for which the tokenizers crate makes room before it reads it.
fn longest_replacement(map: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*map.first_chunk()?) as usize;
    let texts = map[4..].get(length..).filter(|_| length.is_multiple_of(4))?;
    texts.split(|byte| *byte == 0).map(<[u8]>::len).max()
}

#[derive(Deserialize)]
struct Template {
    single: Vec<Piece>,
    pair: Vec<Piece>,
    special_tokens: HashMap<String, Special>,
}

#[derive(Deserialize)]
enum Piece {
    Sequence { id: String },
    SpecialToken { id: String },
}

#[derive(Deserialize)]
struct Special {
    ids: Vec<u32>,
    tokens: Vec<String>,
}

/// Checks a post-processor; gives how many tokens it adds.
fn added_by(part: &Part<'_>, model: &Model, definition: &Definition) -> Result<usize> {
    let known = |id: u32| model.has(id) || definition.added.iter().any(|token| token.id == id);
    let present = |id: u32| match known(id) {
        true => Ok(()),
        false => Err(part.refuse(format_args!("adds the id {id}, which no token has"))),
    };
    match part.kind {
        "TemplateProcessing" => {
            let template = Template::deserialize(part.value).map_err(|why| part.refuse(why))?;
            let pair = count(part, &template, &template.pair)?;
            let single = count(part, &template, &template.single)?;
            let ids = template.special_tokens.values().flat_map(|special| &special.ids);
            ids.take(4 * MOST_SPECIAL).try_for_each(|id| present(*id))?;
            Ok(pair.max(single))
        }
        "BertProcessing" | "RobertaProcessing" => {
            for end in ["sep", "cls"] {
                let id = part.value[end][1].as_u64().and_then(|id| u32::try_from(id).ok());
                present(id.ok_or_else(|| part.refuse(format_args!("wants a token and its id as `{end}`")))?)?;
            }
            Ok(4)
        }
        _ => Ok(0),
    }
}

/// How many tokens the pieces of a template add; each text may occur once.
fn count(part: &Part<'_>, template: &Template, pieces: &[Piece]) -> Result<usize> {
    let mut texts = Vec::new();
    let mut added = 0;
    for piece in pieces {
        match piece {
            Piece::Sequence { id } if !matches!(id.as_str(), "A" | "B") || texts.contains(id) => {
                return Err(part.refuse(format_args!("wants the texts A and B once each, got {}", quoted(id))));
            }
            Piece::Sequence { id } => texts.push(id.clone()),
            Piece::SpecialToken { id } => {
                let special = template.special_tokens.get(id);
                let special =
                    special.ok_or_else(|| part.refuse(format_args!("names the token {}, which it does not have", quoted(id))))?;
                if special.ids.len() != special.tokens.len() {
                    return Err(part.refuse(format_args!("has other ids than tokens for {}", quoted(id))));
                }
                added += special.ids.len();
            }
        }
        if added > MOST_SPECIAL {
            break;
        }
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_written_out() {
        for (regex, size) in [
            ("abc", 3),
            (r"\p{N}{1,3}", 6),
            ("(ab){3}", 6),
            ("(?:(a{10}){10}){10}", 1000),
            ("a {100}", 100),
            ("[^](){5}]{4}", 4),
            ("[[a]b]{7}", 7),
            (r"\({9}", 9),
        ] {
            let got = expanded(regex);
            assert!(got >= size && got <= 3 * size + 8, "{regex}: {got}, wanted about {size}");
        }
        assert!(expanded("((((a{999}){999}){999}){999}){999}") > 1 << 40);
        assert_eq!(expanded("(a{99999999999999999999999}){9}"), usize::MAX);
        assert!(expanded(r"\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)") < 2048);
    }
}
