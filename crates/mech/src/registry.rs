//! Every mechanism there is, one line each.

use crate::mechanism::{Mechanism, Registered, Size};
use crate::mechanisms::*;
use attendant_core::{Error, Result};
use serde_json::{Map, Value};

/// Calls a macro with the lines of the registry: `module::Type: presets;`. The exam stamps its tests from the same lines.
#[macro_export]
macro_rules! for_each_mechanism {
    ($macro:ident) => {
        $macro! {
            gqa::Gqa: gqa, mha, mqa;
            mla::Mla: mla;
            swa::Swa: swa, swa_sinks;
            cross::Cross: cross;
            gru::Gru: gru;
            linear::Linear: linear;
            retention::Retention: retention;
            delta::Delta: delta;
            diff::Diff: diff;
            dsa::Dsa: dsa;
        }
    };
}

/// A mechanism's place in the registry.
pub struct Kind {
    /// The name that configurations use: `{"kind": "gqa", ...}`.
    pub name: &'static str,
    /// Its presets, the first of them named like the mechanism itself.
    pub presets: &'static [&'static str],
    from_value: fn(Value) -> serde_json::Result<Box<dyn Mechanism>>,
    preset: fn(&str, Size) -> Preset,
}

/// A preset made at a size.
pub struct Preset {
    /// The mechanism.
    pub mechanism: Box<dyn Mechanism>,
    /// Its configuration, with `kind`: what [`build`] reads.
    pub configuration: Value,
}

macro_rules! register {
    ($($module:ident::$type:ident: $($preset:ident),+;)+) => {
        /// Every mechanism, in the order of the registry.
        pub fn kinds() -> &'static [Kind] {
            const KINDS: &[Kind] = &[$(Kind {
                name: stringify!($module),
                presets: &[$(stringify!($preset)),+],
                from_value: |value| Ok(Box::new(serde_json::from_value::<$module::$type>(value)?)),
                preset: |name, size| Preset::new(stringify!($module), $module::$type::preset(name, size)),
            }),+];
            KINDS
        }
    };
}

for_each_mechanism!(register);

impl Preset {
    fn new<M: Registered>(kind: &'static str, mechanism: M) -> Preset {
        let mut configuration = Map::new();
        configuration.insert("kind".into(), kind.into());
        if let Ok(Value::Object(fields)) = serde_json::to_value(&mechanism) {
            configuration.extend(fields);
        }
        Preset { mechanism: Box::new(mechanism), configuration: Value::Object(configuration) }
    }
}

/// Every preset there is.
pub fn presets() -> impl Iterator<Item = &'static str> {
    kinds().iter().flat_map(|kind| kind.presets.iter().copied())
}

/// A preset at a size, checked.
///
/// # Errors
/// If there is none of that name, or the size does not suit it.
pub fn preset(name: &str, size: Size) -> Result<Preset> {
    let kind = kinds().iter().find(|kind| kind.presets.contains(&name)).ok_or_else(|| unknown("mechanism", name))?;
    let preset = (kind.preset)(name, size);
    preset.mechanism.check()?;
    Ok(preset)
}

/// A mechanism from its configuration `{"kind": ..., ...}`, checked.
///
/// # Errors
/// If the kind is unknown, a field is missing, unknown or of another type, or the values cannot be used.
pub fn build(configuration: &Value) -> Result<Box<dyn Mechanism>> {
    let mut fields = configuration
        .as_object()
        .cloned()
        .ok_or_else(|| Error::config("layer", format!("got {configuration}, wanted an object")))?;
    let name = match fields.remove("kind") {
        Some(Value::String(name)) => name,
        other => return Err(Error::config("kind", format!("got {other:?}, wanted one of {}", names()))),
    };
    let kind = kinds().iter().find(|kind| kind.name == name).ok_or_else(|| unknown("kind", &name))?;
    let mechanism = (kind.from_value)(Value::Object(fields)).map_err(|why| Error::config(name, why.to_string()))?;
    mechanism.check()?;
    Ok(mechanism)
}

fn names() -> String {
    kinds().iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

fn unknown(field: &str, got: &str) -> Error {
    Error::config(field, format!("got {got:?}, wanted one of {}", presets().collect::<Vec<_>>().join(", ")))
}
