//! What a template pays for, where the engine does not ask itself. Nothing that a template holds is computed when it is looked at but
//! ranges, nothing nests without bound, and what is walked over, compared or written out is walked over here first, step by step, for
//! fuel. So no value needs to be small: a list of lists that hold the same list a thousand million times takes little memory, and
//! fuel runs out on the first walk.

use super::{DEPTH, LONGEST_OUTPUT};
use minijinja::value::{DynObject, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use std::borrow::Cow;

/// A place in a list, in bytes.
pub(super) const SLOT: usize = 32;

/// The filters that [`super::rewrite`] puts around operands.
pub(super) const WEIGHED: &str = "__weighed";
pub(super) const TEXT: &str = "__text";
pub(super) const LISTED: &str = "__listed";
pub(super) const ITEM: &str = "__item";
pub(super) const LOOKED_THROUGH: &str = "__looked_through";
pub(super) const KEY: &str = "__key";
pub(super) const HELD: &str = "__held";

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter(WEIGHED, |state: &State<'_, '_>, value: Value| weigh(state, &value).map(|_| value));
    environment.add_filter(TEXT, joined);
    environment.add_filter(LISTED, listed);
    environment.add_filter(ITEM, item);
    environment.add_filter(LOOKED_THROUGH, |state: &State<'_, '_>, value: Value| look_through(state, &value).map(|()| value));
    environment.add_filter(KEY, |state: &State<'_, '_>, value: Value| key(state, &value).map(|()| value));
    environment.add_filter(HELD, |state: &State<'_, '_>, value: Value| hold(state, &value).map(|()| value));
}

/// Takes fuel for bytes that are about to be made or looked at.
pub(super) fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64 + 1)
}

pub(super) fn cannot(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// Pays for a walk over all that a value holds, and for writing it out; says how many bytes that is.
pub(super) fn weigh(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    let bytes = match value.as_str() {
        Some(text) => text.len(),
        None => walk(value, |text| 2 * text.len())?,
    };
    pay(state, bytes)?;
    Ok(bytes)
}

/// Pays for a walk over a value that another is to hold: it must not nest too deep, nor hold what can change.
pub(super) fn hold(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_object() {
        Some(_) => pay(state, walk(value, |_| 0)?),
        None => Ok(()),
    }
}

/// Objects of the engine that are no data have names of their own; those of ours cannot be enumerated.
fn is_data(object: &DynObject) -> bool {
    let name = object.type_name().rsplit("::").next();
    !matches!(name, Some("Macro" | "Loop" | "BoxedFunction" | "Namespace"))
}

/// The cost of a walk, in bytes; a refusal where it takes more than any may.
fn walk(value: &Value, text: fn(&str) -> usize) -> Result<usize, Error> {
    fn step(value: &Value, depth: usize, text: fn(&str) -> usize, left: &mut usize) -> Result<(), Error> {
        let own = SLOT + value.as_str().map_or(0, text);
        *left = left.checked_sub(own).ok_or(ErrorKind::OutOfFuel)?;
        let Some(object) = value.as_object() else { return Ok(()) };
        if !is_data(object) {
            return Err(cannot("a macro, a loop or a namespace cannot be held, compared or written"));
        }
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("a value nests more than {DEPTH} deep")))?;
        match object.try_iter_pairs().filter(|_| value.kind() == ValueKind::Map) {
            Some(mut pairs) => pairs.try_for_each(|(key, value)| {
                step(&key, depth, text, left)?;
                step(&value, depth, text, left)
            }),
            None => object.try_iter().into_iter().flatten().try_for_each(|item| step(&item, depth, text, left)),
        }
    }
    let mut left = LONGEST_OUTPUT;
    step(value, DEPTH, text, &mut left)?;
    Ok(LONGEST_OUTPUT - left)
}

/// Pays for going through the characters of a text, or the places of a list.
pub(super) fn look_through(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => pay(state, text.len()),
        None => pay(state, value.len().unwrap_or(0).saturating_mul(4)),
    }
}

/// Pays for finding a key; what holds others cannot be one.
fn key(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match (value.as_str(), value.as_object()) {
        (Some(text), _) => pay(state, text.len()),
        (None, Some(_)) => Err(cannot("a list or a dictionary cannot be a key")),
        (None, None) => Ok(()),
    }
}

/// `value[name]`. That a filter gives back the list to take the item from would cost the length of the list.
fn item(state: &State<'_, '_>, value: &Value, name: &Value) -> Result<Value, Error> {
    key(state, name)?;
    if value.kind() == ValueKind::Iterable {
        pay(state, value.len().unwrap_or(0).saturating_mul(SLOT))?;
    }
    value.get_item(name)
}

/// What is computed when it is looked at, as a list that is paid for.
pub(super) fn listed(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    let mut items = Vec::new();
    if let Some(length) = value.len() {
        pay(state, length.saturating_mul(SLOT))?;
        items.reserve_exact(length);
    }
    for item in value.try_iter()? {
        if items.len() == items.capacity() {
            pay(state, SLOT * (items.len() + 1))?;
        }
        items.push(item);
    }
    Ok(Value::from(items))
}

/// A value as text, if it is one that may be written out.
pub(super) fn text<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => {
            let bytes = weigh(state, value)?;
            pay(state, bytes)?;
            Ok(Cow::Owned(value.to_string()))
        }
    }
}

/// What is joined to a text: a list or a dictionary as text, anything else as it is.
fn joined(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.as_object().is_some() { text(state, &value).map(Value::from) } else { Ok(value) }
}
