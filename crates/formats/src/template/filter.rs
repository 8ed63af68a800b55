//! Filters that make texts and numbers. Where the engine's own write a list out before they look at the fuel, these look first.

use super::fuel::{SLOT, cannot, pay, text};
use super::json;
use minijinja::filters;
use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, Output, State};

/// What another case takes beside making a text, in bytes for each of it.
pub(super) const CASED: usize = 6;
/// What finding a part in a text costs beside its bytes, in bytes.
const MATCH: usize = 16;

/// What indenting a line costs beside its bytes, in bytes.
const LINE: usize = 64;

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", json::filter);
    for name in ["string", "safe"] {
        environment.add_filter(name, |state: &State<'_, '_>, value: &Value| text(state, value).map(Value::from));
    }
    type Case = fn(&str) -> String;
    let cases: [(&str, Case); 4] = [
        ("upper", str::to_uppercase),
        ("lower", str::to_lowercase),
        ("title", |text| filters::title(text.into())),
        ("capitalize", capitalized),
    ];
    for (name, cased) in cases {
        environment.add_filter(name, move |state: &State<'_, '_>, value: &Value| {
            let text = text(state, value)?;
            pay(state, CASED * text.len())?;
            Ok::<_, Error>(cased(&text))
        });
    }
    environment.add_filter("trim", trim);
    environment.add_filter("replace", replace);
    environment.add_filter("split", split);
    environment.add_filter("join", joined);
    environment.add_filter("indent", indent);
    for name in ["default", "d"] {
        environment.add_filter(name, filters::default);
    }
    environment.add_filter("bool", filters::bool);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter(
        "round",
        |state: &State<'_, '_>, value: Value, digits: Option<i32>, method: Option<&str>, named: Kwargs| {
            // It is written out with as many digits as are wanted, and read again.
            pay(state, 1 << 14)?;
            filters::round(value, digits, method, named)
        },
    );
    environment.add_filter("abs", filters::abs);
}

/// What `{{ value }}` writes.
pub(super) fn write(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_object() {
        Some(_) => Ok(output.write_str(&text(state, value)?)?),
        None => minijinja::escape_formatter(output, state, value),
    }
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest.flat_map(char::to_lowercase)).collect())
}

fn trim(state: &State<'_, '_>, value: &Value, characters: Option<&str>) -> Result<String, Error> {
    let text = text(state, value)?;
    Ok(match characters {
        Some(characters) => {
            stripped(state, &text, characters)?;
            text.trim_matches(|character| characters.contains(character)).to_owned()
        }
        None => text.trim().to_owned(),
    })
}

/// Pays for looking for each character of a text among others.
pub(super) fn stripped(state: &State<'_, '_>, text: &str, characters: &str) -> Result<(), Error> {
    pay(state, text.len().saturating_mul(characters.len()))
}

fn replace(state: &State<'_, '_>, value: &Value, from: &str, to: &str, count: Option<usize>) -> Result<String, Error> {
    replaced(state, &text(state, value)?, from, to, count)
}

pub(super) fn replaced(state: &State<'_, '_>, text: &str, from: &str, to: &str, count: Option<usize>) -> Result<String, Error> {
    if from.is_empty() {
        return Err(cannot("replace: nothing is to be replaced"));
    }
    let count = count.unwrap_or(usize::MAX);
    pay(state, text.len() + from.len())?;
    pay(state, text.matches(from).take(count).count().saturating_mul(to.len() + MATCH))?;
    Ok(text.replacen(from, to, count))
}

fn split(state: &State<'_, '_>, value: &Value, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let text = text(state, value)?;
    parted(state, &text, separator)?;
    filters::split(&Value::from(text), separator.map(Into::into), most)
}

/// Pays for the parts of a text: between separators, words or lines.
pub(super) fn parted(state: &State<'_, '_>, text: &str, separator: Option<&str>) -> Result<(), Error> {
    let parts = match separator {
        Some("") => return Err(cannot("split: nothing separates")),
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count().max(text.lines().count()),
    };
    pay(state, (parts + 1).saturating_mul(2 * SLOT))
}

fn joined(
    state: &State<'_, '_>,
    items: &Value,
    separator: Option<&str>,
    attribute: Option<&str>,
    named: Kwargs,
) -> Result<String, Error> {
    let separator = separator.or(named.get("d")?).unwrap_or("");
    let attribute = attribute.or(named.get("attribute")?);
    named.assert_all_used()?;
    join(state, items, separator, attribute)
}

pub(super) fn join(state: &State<'_, '_>, items: &Value, separator: &str, attribute: Option<&str>) -> Result<String, Error> {
    let mut whole = String::new();
    for (row, item) in items.try_iter()?.enumerate() {
        let item = match attribute {
            Some(name) => {
                pay(state, name.len())?;
                item.get_attr(name)?
            }
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

fn indent(state: &State<'_, '_>, value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let text = Value::from(text(state, value)?);
    let arguments = arguments.into_values();
    let (width, first, blank, named): (Option<usize>, Option<bool>, Option<bool>, Kwargs) = from_args(&arguments)?;
    let width = width.or(named.get("width")?).unwrap_or(4);
    let lines = text.as_str().map_or(0, |text| text.lines().count());
    pay(state, lines.saturating_mul(width.saturating_add(LINE)))?;
    filters::indent(
        StringInput::new(state, &text)?,
        Some(width),
        first.or(named.get("first")?),
        blank.or(named.get("blank")?),
        named,
    )
}
