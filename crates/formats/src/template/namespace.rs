//! `namespace()` and `dict()`. A namespace is the one thing that a template can change; the engine's own can be put into itself, and is
//! counted again whenever it is asked whether it is empty.

use super::fuel::{cannot, hold, look_through};
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, functions};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The method that `{% set n.x = 1 %}` becomes a call of.
pub(super) const SET: &str = "__set";

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_function("namespace", |state: &State<'_, '_>, from: Option<Value>, values: Kwargs| {
        let data = dict(state, from, values)?;
        let pairs = data.as_object().and_then(|data| data.try_iter_pairs()).into_iter().flatten();
        let named = pairs.filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value)));
        Ok::<_, Error>(Value::from_object(Namespace(Mutex::new(named.collect()))))
    });
    environment.add_function("dict", dict);
    environment.add_function("range", range);
}

fn dict(state: &State<'_, '_>, from: Option<Value>, values: Kwargs) -> Result<Value, Error> {
    if let Some(from) = &from {
        (0..32).try_for_each(|_| look_through(state, from))?;
    }
    let made = functions::dict(from, values)?;
    hold(state, &made)?;
    Ok(made)
}

/// The engine's computes with what it is given before it looks how large that is.
fn range(lower: isize, upper: Option<isize>, step: Option<isize>) -> Result<Value, Error> {
    let far = |number: isize| number.unsigned_abs() > u32::MAX as usize / 4;
    if far(lower) || upper.is_some_and(far) || step.is_some_and(far) {
        return Err(cannot("range: the range has more elements than it may"));
    }
    functions::range(lower, upper, step)
}

#[derive(Debug)]
struct Namespace(Mutex<BTreeMap<String, Value>>);

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name.as_str()?).cloned()
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match (method, arguments) {
            (SET, [name, value]) if name.kind() == ValueKind::String => {
                hold(state, value)?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), value.clone());
                Ok(Value::UNDEFINED)
            }
            (SET, _) => Err(cannot("wanted a name and a value")),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<namespace>")
    }
}
