//! Strict JSON: sizes, nesting and memory are capped, a key occurs once, and a refusal says at which byte.

use crate::error::{Refusal, Result, quoted};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// What a document may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest document, in bytes.
    pub bytes: usize,
    /// How deep arrays and objects may nest; at most 100.
    pub depth: usize,
    /// How much memory the values may take, in bytes: `[[],[],[]]` takes many times its length.
    pub memory: usize,
}

impl Limits {
    /// For configurations, which people write: far above any that was published.
    pub const CONFIG: Limits = Limits { bytes: 4 << 20, depth: 32, memory: 24 << 20 };
}

/// What a value costs in an array that has just been moved to twice its length: the old copy and the new one.
const VALUE: usize = 3 * size_of::<Value>();
/// What an entry of an object costs besides its value: key, hash and index, likewise.
const ENTRY: usize = 3 * (size_of::<String>() + 2 * size_of::<usize>());

/// Reads a document.
///
/// # Errors
/// If it is not JSON, names a key twice, or exceeds a limit: with the byte where the trouble begins.
pub fn parse(text: &[u8], limits: Limits) -> Result<Value> {
    let budget = Budget::new(limits.memory);
    read("JSON", 0, text, limits.bytes, Tree::new(&budget, limits.depth))
}

/// Reads a document of at most `longest` bytes, which begins at byte `start` of a file, into what the seed makes of it.
///
/// # Errors
/// As [`parse`], and what the seed refuses.
pub(crate) fn read<'a, S: DeserializeSeed<'a>>(
    field: &str,
    start: usize,
    text: &'a [u8],
    longest: usize,
    seed: S,
) -> Result<S::Value> {
    if text.len() > longest {
        return Err(Refusal::new(field, format_args!("wanted at most {longest} bytes, got {}", text.len())));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|why| {
        let message = why.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        Refusal::new(field, message).at(start + offset(text, &why))
    })
}

/// Where reading stopped. serde_json counts lines and columns; whoever mends a file of one line wants bytes.
fn offset(text: &[u8], why: &serde_json::Error) -> usize {
    let line_start = match why.line() {
        0 | 1 => 0,
        line => text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    (line_start + why.column().saturating_sub(1)).min(text.len())
}

/// The memory that is left for what a document makes.
pub(crate) struct Budget {
    left: Cell<usize>,
    whole: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        Budget { left: Cell::new(bytes), whole: bytes }
    }

    /// Takes memory before it is allocated.
    pub(crate) fn take<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| E::custom(format_args!("wanted values that fit {} bytes of memory", self.whole)))?);
        Ok(())
    }
}

/// Makes a [`Value`], `depth` levels of nesting at most.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl<'b> Tree<'b> {
    pub(crate) fn new(budget: &'b Budget, depth: usize) -> Tree<'b> {
        // Each level is a call; serde_json itself stops at 128.
        Tree { budget, depth: depth.min(100) }
    }

    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Tree { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.budget.take(VALUE)?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("wanted a finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.take(value.len())?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inside)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.budget.take(ENTRY + key.len())?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {} occurs twice", quoted(&key))));
            }
            object.insert(key, entries.next_value_seed(inside)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { bytes: 1 << 20, depth: 4, memory: 1 << 20 };

    fn why(text: &str) -> String {
        parse(text.as_bytes(), SMALL).unwrap_err().to_string()
    }

    #[test]
    fn good_documents_are_what_serde_json_reads() {
        for text in ["{}", "[1, -2, 0.5, 1e300, true, null, \"a\\n\", {\"b\": [[]]}]", "18446744073709551615", "\"\"", " 7 "] {
            assert_eq!(parse(text.as_bytes(), SMALL).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn refusals_say_at_which_byte() {
        assert_eq!(why("{\"a\": 1,\n \"b\": 2,\n \"a\": 3}"), "JSON, byte 21: key \"a\" occurs twice");
        assert_eq!(why("[1, 2"), "JSON, byte 4: EOF while parsing a list");
        assert_eq!(why("[[[[[]]]]]"), "JSON, byte 5: nested too deep");
        assert!(why("{\"a\": NaN}").contains("expected value"));
        assert!(why("[1e999]").contains("number out of range"));
        assert!(why("{} {}").contains("trailing characters"));
        assert!(why("\"\u{1}\"").contains("control character"));
        assert!(parse(b"\"\xff\"", SMALL).unwrap_err().to_string().contains("invalid unicode"));
    }

    #[test]
    fn memory_is_bounded_by_the_limit_and_not_by_the_length() {
        let text = format!("[{}[]]", "[],".repeat(20_000));
        assert!(text.len() < SMALL.bytes && why(&text).contains("fit 1048576 bytes of memory"));
        assert!(why(&" ".repeat(SMALL.bytes + 1)).contains("at most 1048576 bytes, got 1048577"));
        assert!(why(&"[".repeat(3000)).contains("nested too deep"));
    }
}
