//! Filters that go through lists, and tests. The engine's own, paid for before they begin where they compare, look up or nest, and
//! never giving back what is computed when it is looked at.

use super::fuel::{SLOT, hold, listed, look_through, pay, weigh};
use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};
use minijinja::{Environment, Error, State, filters};
use std::borrow::Cow;

type Made = Result<Value, Error>;

pub(super) fn register(environment: &mut Environment<'_>) {
    for name in ["length", "count"] {
        environment.add_filter(name, |state: &State<'_, '_>, value: &Value| {
            pay(state, value.as_str().map_or(0, str::len))?;
            filters::length(value)
        });
    }
    environment.add_filter("first", |value: &Value| filters::first(value));
    environment.add_filter("last", |state: &State<'_, '_>, value: Value| {
        look_through(state, &value)?;
        filters::last(value)
    });
    environment.add_filter("reverse", |state: &State<'_, '_>, value: &Value| {
        look_through(state, value)?;
        listed(state, filters::reverse(value)?)
    });
    environment.add_filter("list", |state: &State<'_, '_>, value: Value| {
        pay(state, value.len().unwrap_or(0).saturating_mul(SLOT))?;
        filters::list(state, value)
    });
    environment.add_filter("items", items);
    environment.add_filter("dictsort", |state: &State<'_, '_>, value: &Value, named: Kwargs| {
        compared(state, value, "")?;
        nested(state, filters::dictsort(value, named)?)
    });
    type Comparing = fn(&State<'_, '_>, Value, Kwargs) -> Made;
    let comparing: [(&str, Comparing); 4] =
        [("sort", filters::sort), ("unique", filters::unique), ("min", filters::min), ("max", filters::max)];
    for (name, filter) in comparing {
        environment.add_filter(name, move |state: &State<'_, '_>, value: Value, named: Kwargs| {
            compared(state, &value, named.get::<Option<&str>>("attribute")?.unwrap_or(""))?;
            filter(state, value, named)
        });
    }
    environment.add_filter("groupby", |state: &State<'_, '_>, value: Value, attribute: Option<&str>, named: Kwargs| {
        let path = attribute.or(named.get("attribute")?);
        compared(state, &value, path.unwrap_or(""))?;
        nested(state, filters::groupby(value, attribute, named)?)
    });
    environment.add_filter("batch", |state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>| {
        // Each is made with room for all of its items, but for no more than 1024 of them.
        let batches = value.len().unwrap_or(0) / count.max(1) + 1;
        pay(state, batches.saturating_mul(count.min(1024)).saturating_mul(SLOT))?;
        nested(state, filters::batch(state, value, count, fill)?)
    });
    environment.add_filter("map", |state: &mut State<'_, '_>, value: Value, arguments: Rest<ValueOrKwargs>| {
        each(state, &value, &arguments)?;
        let made = filters::map(state, value, arguments)?;
        nested(state, Value::from(made))
    });
    selections(environment);
}

type Test<'a> = Option<Cow<'a, str>>;
type Select = fn(&mut State<'_, '_>, Value, Test<'_>, Rest<ValueOrKwargs>) -> Result<Vec<Value>, Error>;
type SelectBy = fn(&mut State<'_, '_>, Value, Cow<'_, str>, Test<'_>, Rest<ValueOrKwargs>) -> Result<Vec<Value>, Error>;

fn selections(environment: &mut Environment<'_>) {
    let of_items: [(&str, Select); 2] = [("select", filters::select), ("reject", filters::reject)];
    for (filter, chosen) in of_items {
        environment.add_filter(
            filter,
            move |state: &mut State<'_, '_>, value: Value, test: Test<'_>, arguments: Rest<ValueOrKwargs>| {
                each(state, &value, &arguments)?;
                chosen(state, value, test, arguments)
            },
        );
    }
    let of_attributes: [(&str, SelectBy); 2] = [("selectattr", filters::selectattr), ("rejectattr", filters::rejectattr)];
    for (filter, chosen) in of_attributes {
        environment.add_filter(
            filter,
            move |state: &mut State<'_, '_>, value: Value, name: Cow<'_, str>, test: Test<'_>, arguments: Rest<ValueOrKwargs>| {
                each(state, &value, &arguments)?;
                pay(state, name.len().saturating_mul(value.len().unwrap_or(0)))?;
                chosen(state, value, name, test, arguments)
            },
        );
    }
}

/// Pays for comparing the items of a list with each other, by what is found along a path.
pub(super) fn compared(state: &State<'_, '_>, value: &Value, path: &str) -> Result<(), Error> {
    let length = value.len().unwrap_or(0);
    let bytes = weigh(state, value)?.saturating_add(length.saturating_mul(path.len()).saturating_mul(SLOT));
    pay(state, bytes.saturating_mul(1 + length.checked_ilog2().unwrap_or(0) as usize))
}

/// Pays for using the same arguments with each item.
fn each(state: &State<'_, '_>, items: &Value, arguments: &[ValueOrKwargs]) -> Result<(), Error> {
    let bytes = arguments.iter().try_fold(0_usize, |sum, argument| weigh(state, argument).map(|bytes| sum + bytes))?;
    pay(state, bytes.saturating_mul(items.len().unwrap_or(0)))
}

/// What holds more deeply what was given to it.
fn nested(state: &State<'_, '_>, value: Value) -> Made {
    hold(state, &value)?;
    Ok(value)
}

/// The pairs of a dictionary.
pub(super) fn items(state: &State<'_, '_>, value: &Value) -> Made {
    pay(state, value.len().unwrap_or(0).saturating_mul(4 * SLOT))?;
    nested(state, listed(state, filters::items(value)?)?)
}
