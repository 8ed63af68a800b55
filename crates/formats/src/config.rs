//! config.json and its like: fields that say what they are, where they are, and what was wanted instead.

use crate::error::{Error, Refusal, Result, quoted};
use crate::json::{self, Limits};
use crate::mapping;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

/// A configuration: an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If it is no JSON, no object, names a key twice, or exceeds a cap.
    pub fn parse(text: &[u8]) -> Result<Config> {
        match json::parse(&without_infinities(text), Limits::CONFIG)? {
            Value::Object(object) => Ok(Config(object)),
            other => Err(Refusal::new("JSON", format_args!("wanted an object, got {}", summary(&other))).at(0)),
        }
    }

    /// Reads a configuration from a file.
    ///
    /// # Errors
    /// As [`Config::parse`], and if the file cannot be read.
    pub fn open(path: &Path) -> Result<Config, Error> {
        Config::parse(&mapping::read(path, Limits::CONFIG.bytes)?).map_err(|refusal| refusal.in_file(path))
    }

    /// Reads a list of configurations, `most` at most, from a file.
    ///
    /// # Errors
    /// As [`Config::open`], or if it is no list, a longer one, or one of something else.
    pub fn open_list(path: &Path, most: usize) -> Result<Vec<Config>, Error> {
        let listed = |text: &[u8]| -> Result<Vec<Config>> {
            let want = format_args!("a list of at most {most} objects");
            let refuse = |value: &Value| Refusal::new("JSON", format_args!("wanted {want}, got {}", summary(value)));
            match json::parse(text, Limits::CONFIG)? {
                Value::Array(items) if items.len() <= most => {
                    let one = |item| if let Value::Object(fields) = item { Ok(Config(fields)) } else { Err(refuse(&item)) };
                    items.into_iter().map(one).collect()
                }
                other => Err(refuse(&other)),
            }
        };
        listed(&mapping::read(path, Limits::CONFIG.bytes)?).map_err(|refusal| refusal.in_file(path))
    }

    /// Its fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields { object: &self.0, within: String::new() }
    }

    /// A field, present or not.
    pub fn get(&self, name: &str) -> Field<'_> {
        self.fields().get(name)
    }

    /// The whole of it, for readers of their own.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// The fields of an object, and where it lies.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    within: String,
}

impl<'a> Fields<'a> {
    /// A field, present or not.
    pub fn get(&self, name: &str) -> Field<'a> {
        Field { path: format!("{}{name}", self.within), value: self.object.get(name) }
    }

    /// The names of all fields, as the file has them: they go through [`quoted`] before they are printed.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.object.keys().map(String::as_str)
    }
}

/// A place in a configuration, and the value there, if there is one.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    /// This field, if it has a value: `null` is none.
    pub fn given(self) -> Option<Field<'a>> {
        self.value.is_some_and(|value| !value.is_null()).then_some(self)
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn size(&self, range: RangeInclusive<usize>) -> Result<usize> {
        let number = self.value.and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        let want = format_args!("a whole number from {} to {}", range.start(), range.end());
        number.filter(|number| range.contains(number)).ok_or_else(|| self.wanted(want))
    }

    /// A finite number within `range`.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn float(&self, range: RangeInclusive<f64>) -> Result<f64> {
        let number = self.value.and_then(Value::as_f64).filter(|number| number.is_finite());
        let want = format_args!("a number from {} to {}", range.start(), range.end());
        number.filter(|number| range.contains(number)).ok_or_else(|| self.wanted(want))
    }

    /// True or false.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn flag(&self) -> Result<bool> {
        self.value.and_then(Value::as_bool).ok_or_else(|| self.wanted("true or false"))
    }

    /// A string. What it says goes through [`quoted`] before it is printed.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn text(&self) -> Result<&'a str> {
        self.value.and_then(Value::as_str).ok_or_else(|| self.wanted("a string"))
    }

    /// An object.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn object(&self) -> Result<Fields<'a>> {
        let object = self.value.and_then(Value::as_object).ok_or_else(|| self.wanted("an object"))?;
        Ok(Fields { object, within: format!("{}.", self.path) })
    }

    /// The items of an array, of which there are at most `most`.
    ///
    /// # Errors
    /// If it is missing, something else, or longer.
    pub fn items(&self, most: usize) -> Result<impl ExactSizeIterator<Item = Field<'a>> + use<'a>> {
        let items = self.value.and_then(Value::as_array).filter(|items| items.len() <= most);
        let items = items.ok_or_else(|| self.wanted(format_args!("an array of at most {most}")))?;
        let path = self.path.clone();
        Ok(items.iter().enumerate().map(move |(index, value)| Field { path: format!("{path}[{index}]"), value: Some(value) }))
    }

    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        self.value.is_some_and(Value::is_array)
    }

    /// The refusal of this field, for a reason that only its reader knows.
    pub fn refuse(&self, why: impl Display) -> Refusal {
        Refusal::new(&self.path, why)
    }

    /// The refusal of this field for what it holds.
    pub fn wanted(&self, want: impl Display) -> Refusal {
        match self.value {
            Some(value) => self.refuse(format_args!("wanted {want}, got {}", summary(value))),
            None => self.refuse(format_args!("wanted {want}, got nothing")),
        }
    }
}

/// A value, short enough for a line.
fn summary(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text).to_string(),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(fields) => format!("an object of {}", fields.len()),
        plain => plain.to_string(),
    }
}

/// Python writes infinities, as limits that do not bind, under names that JSON does not know: they become `null`, byte for byte. What
/// asks for such a field is refused; what does not is not held up by it. `NaN` stays, and is refused: nobody means it.
fn without_infinities(text: &[u8]) -> Cow<'_, [u8]> {
    let mut clean = Cow::Borrowed(text);
    let (mut at, mut quoted) = (0, false);
    while at < text.len() {
        match text[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'I' if !quoted => {
                let name =
                    if text[at..].starts_with(b"-Infinity") { 9 } else { 8 * usize::from(text[at..].starts_with(b"Infinity")) };
                if name > 0 {
                    clean.to_mut()[at..at + name].fill(b' ');
                    clean.to_mut()[at..at + 4].copy_from_slice(b"null");
                    at += name - 1;
                }
            }
            _ => (),
        }
        at += 1;
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        br#"{"heads": 8, "theta": 1e4, "scaling": {"factor": [1, 2.5], "kind": "yarn"}, "tie": false, "none": null,
        "limit": [0.0, Infinity], "low": -Infinity, "say": "Infinity \" -Infinity", "huge": 18446744073709551615}"#;

    fn config() -> Config {
        Config::parse(TEXT).unwrap()
    }

    #[test]
    fn fields_give_what_they_hold() {
        let config = config();
        assert_eq!(config.get("heads").size(1..=64), Ok(8));
        assert_eq!(config.get("heads").float(0.0..=64.0), Ok(8.0));
        assert_eq!(config.get("theta").float(1.0..=1e9), Ok(1e4));
        assert_eq!(config.get("tie").flag(), Ok(false));
        assert_eq!(config.get("say").text(), Ok("Infinity \" -Infinity"));
        let scaling = config.get("scaling").object().unwrap();
        let factors: Vec<_> = scaling.get("factor").items(2).unwrap().map(|item| item.float(0.0..=9.0).unwrap()).collect();
        assert_eq!(factors, [1.0, 2.5]);
        assert!(config.get("none").given().is_none() && config.get("absent").given().is_none());
        assert!(config.get("tie").given().is_some());
    }

    #[test]
    fn refusals_name_the_field_what_was_wanted_and_what_was_got() {
        let config = config();
        let why = |refusal: Refusal| refusal.to_string();
        assert_eq!(why(config.get("heads").size(9..=64).unwrap_err()), "heads: wanted a whole number from 9 to 64, got 8");
        assert_eq!(
            why(config.get("huge").size(1..=64).unwrap_err()),
            "huge: wanted a whole number from 1 to 64, got 18446744073709551615"
        );
        assert_eq!(why(config.get("theta").size(1..=64).unwrap_err()), "theta: wanted a whole number from 1 to 64, got 10000.0");
        assert_eq!(why(config.get("low").float(0.0..=1.0).unwrap_err()), "low: wanted a number from 0 to 1, got null");
        assert_eq!(why(config.get("absent").text().unwrap_err()), "absent: wanted a string, got nothing");
        assert_eq!(why(config.get("scaling").flag().unwrap_err()), "scaling: wanted true or false, got an object of 2");
        let scaling = config.get("scaling").object().unwrap();
        assert_eq!(why(scaling.get("kind").object().unwrap_err()), "scaling.kind: wanted an object, got \"yarn\"");
        let mut items = scaling.get("factor").items(2).unwrap();
        assert_eq!(
            why(items.nth(1).unwrap().size(1..=2).unwrap_err()),
            "scaling.factor[1]: wanted a whole number from 1 to 2, got 2.5"
        );
        assert!(scaling.get("factor").items(1).is_err());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(Config::parse(b"[1]").unwrap_err().to_string(), "JSON, byte 0: wanted an object, got an array of 1");
        assert!(Config::parse(b"{\"a\": NaN}").is_err());
        assert!(Config::parse(b"{\"a\": \"\\").is_err());
    }
}
