//! Values of the metadata.

use super::cursor::Cursor;
use crate::error::{Refusal, Result, quoted};
use std::fmt;

/// How deep arrays may nest.
pub(super) const MAX_DEPTH: usize = 4;
/// The longest string, in bytes.
pub(super) const MAX_STRING: usize = 16 << 20;

/// A value of the metadata. Numbers are as wide as the widest of their kind: what they mean does not depend on how they were stored.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant holds what it is called")]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// Values of one kind.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant holds what it is called")]
pub enum Array {
    Unsigned(Vec<u64>),
    Signed(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Strings(Strings),
    Arrays(Vec<Array>),
}

/// Texts in one piece of memory: a vocabulary has hundreds of thousands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings {
    text: String,
    ends: Vec<u32>,
}

impl Strings {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[start..end])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        (0..self.len()).map(|index| self.get(index).expect("the index is below the length"))
    }
}

/// The types of the format, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    const ALL: [Kind; 13] = [
        Kind::U8,
        Kind::I8,
        Kind::U16,
        Kind::I16,
        Kind::U32,
        Kind::I32,
        Kind::F32,
        Kind::Bool,
        Kind::String,
        Kind::Array,
        Kind::U64,
        Kind::I64,
        Kind::F64,
    ];

    fn read(cursor: &mut Cursor<'_>, field: &str) -> Result<Kind> {
        let at = cursor.offset();
        let number = cursor.u32(field)?;
        let kind = Kind::ALL.get(number as usize).copied();
        kind.ok_or_else(|| Refusal::new(field, format_args!("wanted a type of value up to 12, got {number}")).at(at))
    }

    /// The fewest bytes of one in a file.
    fn shortest(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::String | Kind::U64 | Kind::I64 | Kind::F64 => 8,
            Kind::Array => 12,
        }
    }

    /// What one in an array costs besides the text that it holds: memory, and as much as bounds the time that millions of them take.
    fn cost(self) -> usize {
        const LEAST: usize = 16;
        if self == Kind::Array { size_of::<Array>() } else { LEAST }
    }
}

impl Value {
    /// Reads the value of `key`.
    pub(super) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Value> {
        let field = format!("metadata {}", quoted(key));
        let kind = Kind::read(cursor, &field)?;
        Ok(match kind {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Value::Unsigned(unsigned(cursor, &field, kind)?),
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Value::Signed(signed(cursor, &field, kind)?),
            Kind::F32 | Kind::F64 => Value::Float(float(cursor, &field, kind)?),
            Kind::Bool => Value::Bool(boolean(cursor, &field)?),
            Kind::String => {
                let text = cursor.string(&field, MAX_STRING)?;
                cursor.take_memory(&field, text.len())?;
                Value::String(text.to_owned())
            }
            Kind::Array => Value::Array(Array::read(cursor, &field, MAX_DEPTH)?),
        })
    }

    /// What it is, short enough for a line.
    pub fn summary(&self) -> impl fmt::Display + '_ {
        Summary(self)
    }
}

struct Summary<'a>(&'a Value);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Unsigned(number) => write!(f, "{number}"),
            Value::Signed(number) => write!(f, "{number}, a signed number"),
            Value::Float(number) => write!(f, "{number}, a float"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::String(text) => write!(f, "{}", quoted(text)),
            Value::Array(array) => write!(f, "an array of {}", array.len()),
        }
    }
}

impl Array {
    /// How many values it holds.
    pub fn len(&self) -> usize {
        match self {
            Array::Unsigned(values) => values.len(),
            Array::Signed(values) => values.len(),
            Array::Float(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::Strings(values) => values.len(),
            Array::Arrays(values) => values.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(cursor: &mut Cursor<'_>, field: &str, depth: usize) -> Result<Array> {
        let at = cursor.offset();
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| Refusal::new(field, format_args!("wanted arrays at most {MAX_DEPTH} deep, got one deeper")).at(at))?;
        let kind = Kind::read(cursor, field)?;
        let count = cursor.count(field, u32::MAX as usize, kind.shortest())?;
        cursor.take_memory(field, count.saturating_mul(kind.cost()))?;
        Ok(match kind {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Array::Unsigned(many(count, || unsigned(cursor, field, kind))?),
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Array::Signed(many(count, || signed(cursor, field, kind))?),
            Kind::F32 | Kind::F64 => Array::Float(many(count, || float(cursor, field, kind))?),
            Kind::Bool => Array::Bool(many(count, || boolean(cursor, field))?),
            Kind::String => Array::Strings(strings(cursor, field, count)?),
            Kind::Array => Array::Arrays(many(count, || Array::read(cursor, field, depth))?),
        })
    }
}

/// Room for all is made at once: their number was checked against the file and the memory allowed.
fn many<T>(count: usize, mut one: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(one()?);
    }
    Ok(values)
}

fn unsigned(cursor: &mut Cursor<'_>, field: &str, kind: Kind) -> Result<u64> {
    Ok(match kind {
        Kind::U8 => u8::from_le_bytes(cursor.array(field)?).into(),
        Kind::U16 => u16::from_le_bytes(cursor.array(field)?).into(),
        Kind::U32 => cursor.u32(field)?.into(),
        _ => cursor.u64(field)?,
    })
}

fn signed(cursor: &mut Cursor<'_>, field: &str, kind: Kind) -> Result<i64> {
    Ok(match kind {
        Kind::I8 => i8::from_le_bytes(cursor.array(field)?).into(),
        Kind::I16 => i16::from_le_bytes(cursor.array(field)?).into(),
        Kind::I32 => i32::from_le_bytes(cursor.array(field)?).into(),
        _ => i64::from_le_bytes(cursor.array(field)?),
    })
}

fn float(cursor: &mut Cursor<'_>, field: &str, kind: Kind) -> Result<f64> {
    Ok(match kind {
        Kind::F32 => f32::from_le_bytes(cursor.array(field)?).into(),
        _ => f64::from_le_bytes(cursor.array(field)?),
    })
}

fn boolean(cursor: &mut Cursor<'_>, field: &str) -> Result<bool> {
    let at = cursor.offset();
    match cursor.array(field)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(Refusal::new(field, format_args!("wanted 0 or 1 for a bool, got {other}")).at(at)),
    }
}

/// Twice over: the lengths first, so that the text is allocated once and never moved.
fn strings(cursor: &mut Cursor<'_>, field: &str, count: usize) -> Result<Strings> {
    let start = cursor.offset();
    let mut length = 0;
    for _ in 0..count {
        length += cursor.text(field, MAX_STRING)?.len();
    }
    cursor.take_memory(field, length)?;
    cursor.back_to(start);
    let mut strings = Strings { text: String::with_capacity(length), ends: Vec::with_capacity(count) };
    for _ in 0..count {
        strings.text.push_str(cursor.string(field, MAX_STRING)?);
        strings.ends.push(strings.text.len() as u32);
    }
    Ok(strings)
}
