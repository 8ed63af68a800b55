//! Filters and methods that make texts. The engine's own write a list out before they look at the fuel, and a list may hold the same
//! long text a million times; these look first.

use super::{DEPTH, LONGEST_OUTPUT, json, pay};
use minijinja::filters;
use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};
use std::borrow::Cow;

/// Filters and tests of the engine that write values out and that no published template needs.
const REMOVED_FILTERS: [&str; 6] = ["escape", "e", "format", "lines", "pprint", "urlencode"];
const REMOVED_TESTS: [&str; 4] = ["startingwith", "endingwith", "safe", "escaped"];

/// The filter that [`super::concat`] puts behind what is joined to a text.
pub(super) const JOINED: &str = "__joined";

/// Puts the filters in.
pub(super) fn register(environment: &mut Environment<'_>) {
    REMOVED_FILTERS.iter().for_each(|name| environment.remove_filter(name));
    REMOVED_TESTS.iter().for_each(|name| environment.remove_test(name));
    environment.add_filter(JOINED, joined);
    environment.add_filter("tojson", json::filter);
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| text(state, value).map(Value::from));
    environment.add_filter("safe", |state: &State<'_, '_>, value: &Value| text(state, value).map(Value::from));
    environment.add_filter("upper", |state: &State<'_, '_>, value: &Value| Ok::<_, Error>(text(state, value)?.to_uppercase()));
    environment.add_filter("lower", |state: &State<'_, '_>, value: &Value| Ok::<_, Error>(text(state, value)?.to_lowercase()));
    environment.add_filter("title", |state: &State<'_, '_>, value: &Value| text(state, value).map(filters::title));
    environment.add_filter("capitalize", |state: &State<'_, '_>, value: &Value| capitalized(&text(state, value)?));
    environment.add_filter("trim", trim);
    environment.add_filter("replace", replace);
    environment.add_filter("split", split);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
}

/// Methods of Python's texts, lists and dictionaries.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name, arguments) {
        // It would take the width of what it makes from the text.
        (Some(_), "format", _) => Err(Error::from(ErrorKind::UnknownMethod)),
        (Some(separator), "join", [items]) => joined_items(state, items, separator, None).map(Value::from),
        _ => {
            arguments.iter().try_for_each(|argument| weigh(state, argument))?;
            minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
        }
    }
}

/// What `{{ value }}` writes.
pub(super) fn write(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    weigh(state, value)?;
    minijinja::escape_formatter(output, state, value)
}

/// A value as text, if it is one that may be written out.
fn text<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => {
            weigh(state, value)?;
            Ok(Cow::Owned(value.to_string()))
        }
    }
}

/// What is joined to a text: a list or a dictionary as text, anything else as it is.
fn joined(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Plain => text(state, value).map(Value::from),
        _ => Ok(value.clone()),
    }
}

/// Pays for writing out what a list or a dictionary holds, as far as it can be paid for.
fn weigh(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    fn weight(value: &Value, depth: usize, left: &mut usize) -> Option<()> {
        let own = value.as_str().map_or(16, |text| 2 * text.len() + 2);
        *left = left.checked_sub(own)?;
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            return Some(());
        }
        let depth = depth.checked_sub(1)?;
        for item in value.try_iter().ok()? {
            weight(&item, depth, left)?;
            if value.kind() == ValueKind::Map {
                weight(&value.get_item(&item).ok()?, depth, left)?;
            }
        }
        Some(())
    }
    if value.as_object().is_none() {
        return Ok(());
    }
    let mut left = LONGEST_OUTPUT;
    match weight(value, DEPTH, &mut left) {
        Some(()) => pay(state, LONGEST_OUTPUT - left),
        None => Err(Error::new(ErrorKind::InvalidOperation, "the value is too large to be written out")),
    }
}

fn capitalized(text: &str) -> Result<String, Error> {
    let mut rest = text.chars();
    Ok(rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest.flat_map(char::to_lowercase)).collect()))
}

fn trim(state: &State<'_, '_>, value: &Value, characters: Option<&str>) -> Result<String, Error> {
    let text = text(state, value)?;
    Ok(match characters {
        Some(characters) => text.trim_matches(|character| characters.contains(character)).to_owned(),
        None => text.trim().to_owned(),
    })
}

fn replace(state: &State<'_, '_>, value: &Value, from: &str, to: &str, count: Option<usize>) -> Result<String, Error> {
    let text = text(state, value)?;
    let most = text.len() / from.len().max(1) + 1;
    pay(state, most.min(count.unwrap_or(most)).saturating_mul(to.len()))?;
    Ok(text.replacen(from, to, count.unwrap_or(usize::MAX)))
}

fn split(state: &State<'_, '_>, value: &Value, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let text = Value::from(text(state, value)?);
    filters::split(&text, separator.map(Into::into), most)
}

fn join(
    state: &State<'_, '_>,
    items: &Value,
    separator: Option<&str>,
    attribute: Option<&str>,
    arguments: Kwargs,
) -> Result<String, Error> {
    let separator = separator.or(arguments.get("d")?).unwrap_or("");
    let attribute = attribute.or(arguments.get("attribute")?);
    arguments.assert_all_used()?;
    joined_items(state, items, separator, attribute)
}

fn joined_items(state: &State<'_, '_>, items: &Value, separator: &str, attribute: Option<&str>) -> Result<String, Error> {
    let mut whole = String::new();
    for (row, item) in items.try_iter()?.enumerate() {
        let item = match attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        let item = text(state, &item)?;
        pay(state, separator.len() + item.len())?;
        if row > 0 {
            whole += separator;
        }
        whole += &item;
    }
    Ok(whole)
}

fn indent(state: &State<'_, '_>, value: &Value, arguments: Rest<Value>) -> Result<Value, Error> {
    let text = Value::from(text(state, value)?);
    let (width, first, blank, named): (Option<usize>, Option<bool>, Option<bool>, Kwargs) =
        minijinja::value::from_args(&arguments)?;
    let width = match width {
        Some(width) => width,
        None => named.get::<Option<usize>>("width")?.unwrap_or(4),
    };
    let lines = text.as_str().map_or(0, |text| text.lines().count());
    pay(state, lines.saturating_mul(width))?;
    filters::indent(
        StringInput::new(state, &text)?,
        Some(width),
        first.or(named.get("first")?),
        blank.or(named.get("blank")?),
        named,
    )
}
