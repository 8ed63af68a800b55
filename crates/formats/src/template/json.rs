//! JSON as Python's `json.dumps` writes it, which models saw in training.

use super::fuel::{cannot, pay};
use super::sequence::compared;
use super::{DEPTH, LONGEST_OUTPUT};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// The filter `tojson`, with transformers' arguments: `indent`, `ensure_ascii`, `separators`, `sort_keys`.
pub(super) fn filter(state: &State<'_, '_>, value: &Value, indent: Option<usize>, arguments: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => arguments.get("indent")?,
    };
    let separators: Option<(String, String)> = match arguments.get::<Option<Vec<String>>>("separators")? {
        None => None,
        Some(pair) => Some(<[String; 2]>::try_from(pair).map(Into::into).map_err(|_| cannot("wanted two separators"))?),
    };
    let (comma, colon) = separators.unwrap_or((if indent.is_some() { "," } else { ", " }.into(), ": ".into()));
    let mut json = Json {
        state,
        text: String::new(),
        indent: indent.map(|width| width.min(16)),
        ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        comma,
        colon,
    };
    arguments.assert_all_used()?;
    json.write(value, 0)?;
    Ok(Value::from(json.text))
}

struct Json<'s> {
    state: &'s State<'s, 's>,
    text: String,
    indent: Option<usize>,
    ascii: bool,
    sorted: bool,
    comma: String,
    colon: String,
}

impl Json<'_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH || self.text.len() > LONGEST_OUTPUT {
            return Err(Error::from(ErrorKind::OutOfFuel));
        }
        let before = self.text.len();
        match value.kind() {
            ValueKind::Undefined => return Err(cannot("tojson: the value is undefined")),
            ValueKind::None => self.text += "null",
            ValueKind::Bool | ValueKind::Number => self.text += &value.to_string().to_lowercase(),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    compared(self.state, value, "")?;
                    keys.sort();
                }
                self.items('{', '}', depth, keys.into_iter(), |json, key| {
                    match key.as_str() {
                        Some(text) => json.string(text)?,
                        None => json.string(&key.to_string())?,
                    }
                    json.text += &json.colon.clone();
                    json.write(&value.get_item(&key)?, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.items('[', ']', depth, value.try_iter()?, |json, item| json.write(&item, depth + 1))?;
            }
            _ => return Err(cannot("tojson: the value has no form in JSON")),
        }
        pay(self.state, self.text.len() - before)
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        items: impl Iterator<Item = Value>,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        let mut any = false;
        for item in items {
            if any {
                self.text += &self.comma.clone();
            }
            any = true;
            self.line(depth + 1);
            write(self, item)?;
        }
        if any {
            self.line(depth);
        }
        self.text.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        pay(self.state, text.len())?;
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' => self.text += "\\\"",
                '\\' => self.text += "\\\\",
                '\n' => self.text += "\\n",
                '\r' => self.text += "\\r",
                '\t' => self.text += "\\t",
                '\u{8}' => self.text += "\\b",
                '\u{c}' => self.text += "\\f",
                other if other < ' ' || self.ascii && !other.is_ascii() => {
                    let mut units = [0; 2];
                    self.text.extend(other.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
                }
                other => self.text.push(other),
            }
        }
        self.text.push('"');
        Ok(())
    }
}
