//! Methods of Python's texts, lists and dictionaries that published templates use.

use super::filter::{CASED, join, parted, replaced, stripped};
use super::fuel::{cannot, listed, look_through, pay, weigh};
use super::{namespace, sequence};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback as python;

pub(super) fn call(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    for argument in arguments {
        weigh(state, argument)?;
    }
    match (value.as_str(), value.kind(), name) {
        (_, _, namespace::SET) => Err(cannot("wanted a namespace to set a name of")),
        (Some(text), ..) => {
            pay(state, CASED * text.len())?;
            of_text(state, value, text, name, arguments)
        }
        (None, ValueKind::Map, "items") if arguments.is_empty() => sequence::items(state, value),
        (None, ValueKind::Map, "keys" | "values") => {
            look_through(state, value)?;
            let made = python(state, value, name, arguments)?;
            listed(state, made)
        }
        (None, ValueKind::Map, "get") => match arguments.first().and_then(Value::as_object) {
            Some(_) => Err(cannot("a list or a dictionary cannot be a key")),
            None => python(state, value, name, arguments),
        },
        (None, ValueKind::Seq, "count") => {
            weigh(state, value)?;
            python(state, value, name, arguments)
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_text(state: &mut State<'_, '_>, value: &Value, text: &str, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (name, arguments) {
        ("join", [items]) => join(state, items, text, None).map(Value::from),
        ("strip" | "lstrip" | "rstrip", [characters]) => {
            stripped(state, text, characters.as_str().unwrap_or_default())?;
            python(state, value, name, arguments)
        }
        ("replace", [from, to, count @ ..]) => match (from.as_str(), to.as_str()) {
            (Some(from), Some(to)) => {
                let count = count.first().and_then(Value::as_usize);
                replaced(state, text, from, to, count).map(Value::from)
            }
            _ => Err(cannot("replace: wanted two texts")),
        },
        ("split" | "splitlines", _) => {
            parted(state, text, arguments.first().and_then(Value::as_str))?;
            python(state, value, name, arguments)
        }
        (
            "upper" | "lower" | "title" | "capitalize" | "strip" | "lstrip" | "rstrip" | "startswith" | "endswith" | "find"
            | "rfind" | "count" | "isupper" | "islower" | "isspace" | "isdigit" | "isnumeric" | "isalnum" | "isalpha" | "isascii",
            _,
        ) => python(state, value, name, arguments),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
