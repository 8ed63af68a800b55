//! Reading a configuration from a table so that whatever cannot be read is named by its field.

use crate::config::Config;
use crate::error::{LabError, Result};
use attendant_core::Error;
use toml::{Table, Value};

/// The configuration in a table; what it leaves out has its default.
///
/// # Errors
/// One line with the first field that is unknown or whose value does not fit, what it holds and what would do.
pub(crate) fn read(table: Table) -> Result<Config> {
    table.clone().try_into().map_err(|why: toml::de::Error| {
        let defaults = Table::try_from(Config::default()).expect("the defaults are a table");
        fault(&table, &defaults, &mut Vec::new()).unwrap_or_else(|| invalid("configuration", why.message().replace('\n', " ")))
    })
}

/// Changes a table as `key.path=value` says. A value that is no TOML is text.
pub(crate) fn set(table: &mut Table, change: &str) -> Result<()> {
    let parts = change.split_once('=').filter(|(path, _)| path.split('.').all(|key| !key.trim().is_empty()));
    let (path, value) = parts.ok_or_else(|| invalid("--set", format!("got {change:?}, wanted key.path=value")))?;
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let value = value.parse::<Value>().unwrap_or_else(|_| Value::String(value.into()));
    insert(table, &keys, value).map_err(|key| invalid(path, format!("got a field of {key}, which is no table")))
}

/// Whether a table has something at this path.
pub(crate) fn is_set(table: &Table, path: &str) -> bool {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parents = parents.split('.').filter(|key| !key.is_empty());
    parents.try_fold(table, |table, key| table.get(key)?.as_table()).is_some_and(|table| table.contains_key(last))
}

pub(crate) fn invalid(field: &str, why: impl Into<String>) -> LabError {
    LabError::from(Error::config(field, why))
}

/// Puts a value in its place, making the tables on the way. Gives the key that is in the way, if one is.
fn insert<'a>(table: &mut Table, keys: &[&'a str], value: Value) -> std::result::Result<(), &'a str> {
    match keys {
        [] => Ok(()),
        [last] => {
            table.insert((*last).into(), value);
            Ok(())
        }
        [key, rest @ ..] => {
            let entry = table.entry(*key).or_insert_with(|| Value::Table(Table::new()));
            insert(entry.as_table_mut().ok_or(*key)?, rest, value)
        }
    }
}

/// The first fault of a table whose own place among the defaults is `keys`.
fn fault<'a>(table: &'a Table, defaults: &Table, keys: &mut Vec<&'a str>) -> Option<LabError> {
    let known = keys.iter().try_fold(defaults, |table, key| table.get(*key)?.as_table())?;
    for (key, value) in table {
        keys.push(key);
        let field = keys.join(".");
        let found = match (known.get(key), value) {
            (None, _) => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                Some(invalid(&field, format!("no such field, wanted one of {}", names.join(", "))))
            }
            (Some(Value::Table(_)), Value::Table(inner)) => fault(inner, defaults, keys),
            (Some(default), value) => {
                misfit(defaults, keys, default, value).map(|wanted| invalid(&field, format!("got {value}, wanted {wanted}")))
            }
        };
        keys.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

/// What a field wants, if it does not want this value.
fn misfit(defaults: &Table, keys: &[&str], default: &Value, value: &Value) -> Option<String> {
    let mut table = defaults.clone();
    insert(&mut table, keys, value.clone()).ok()?;
    let why = table.try_into::<Config>().err()?.message().replace('\n', " ");
    Some(match (default, value) {
        // TOML has none larger, so that it came as text.
        (Value::Integer(_), Value::String(text)) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("a whole number, 0 to {}", i64::MAX)
        }
        (Value::Integer(_), _) => "a whole number, 0 or more".into(),
        (Value::Float(_), _) => "a number".into(),
        (Value::Boolean(_), _) => "true or false".into(),
        (Value::Table(_), _) => "a table".into(),
        // One of a few words: which they are, the deserialiser says.
        (Value::String(_), Value::String(_)) => {
            why.split_once("expected ").map_or_else(|| why.clone(), |(_, words)| words.replace('`', "\""))
        }
        _ => "text in quotes".into(),
    })
}
