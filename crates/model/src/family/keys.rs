//! The keys of a config.json.
//!
//! Families and years use other names for the same thing: a name here may be several, separated by `|`, of which the first that
//! is there and not null counts.

use crate::plan::Activation;
use crate::plan::check::LARGEST;
use attendant_core::{Error, Result};
use serde_json::Value;

/// An object of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    value: &'a Value,
}

impl<'a> Keys<'a> {
    pub(super) fn new(value: &'a Value) -> Keys<'a> {
        Keys { value }
    }

    /// The value of a key, if it is there and not null, and the name it has there.
    fn get<'n>(&self, names: &'n str) -> Option<(&'n str, &'a Value)> {
        names.split('|').find_map(|name| Some((name, self.value.get(name).filter(|value| !value.is_null())?)))
    }

    /// Whether a key is there and not null.
    pub(super) fn has(&self, names: &str) -> bool {
        self.get(names).is_some()
    }

    fn typed<T>(&self, names: &str, wanted: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        let refuse = || Error::config(name, format!("got {value}, wanted {wanted}"));
        read(value).map(Some).ok_or_else(refuse)
    }

    fn needed<T>(names: &str, wanted: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::config(names.replace('|', ", "), format!("got none, wanted {wanted}")))
    }

    /// A whole number that may be absent. Products of two fit, whoever wrote the configuration.
    pub(super) fn size_if(&self, names: &str) -> Result<Option<usize>> {
        self.typed(names, WHOLE, |value| {
            value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= LARGEST)
        })
    }

    /// A whole number.
    pub(super) fn size(&self, names: &str) -> Result<usize> {
        Keys::needed(names, WHOLE, self.size_if(names)?)
    }

    /// A whole number, or what stands for its absence.
    pub(super) fn size_or(&self, names: &str, absent: usize) -> Result<usize> {
        Ok(self.size_if(names)?.unwrap_or(absent))
    }

    /// A number that may be absent.
    pub(super) fn number_if(&self, names: &str) -> Result<Option<f64>> {
        self.typed(names, "a number", Value::as_f64)
    }

    /// A number.
    pub(super) fn number(&self, names: &str) -> Result<f64> {
        Keys::needed(names, "a number", self.number_if(names)?)
    }

    /// A number, or what stands for its absence.
    pub(super) fn number_or(&self, names: &str, absent: f64) -> Result<f64> {
        Ok(self.number_if(names)?.unwrap_or(absent))
    }

    /// True or false, or what stands for its absence.
    pub(super) fn flag(&self, names: &str, absent: bool) -> Result<bool> {
        Ok(self.typed(names, "true or false", Value::as_bool)?.unwrap_or(absent))
    }

    /// A text, or what stands for its absence.
    pub(super) fn text(&self, names: &str, absent: &'a str) -> Result<&'a str> {
        Ok(self.typed(names, "a text", Value::as_str)?.unwrap_or(absent))
    }

    /// A list that may be absent.
    pub(super) fn list<T>(&self, names: &str, wanted: &str, one: impl Fn(&'a Value) -> Option<T>) -> Result<Option<Vec<T>>> {
        self.typed(names, wanted, |value| value.as_array()?.iter().map(&one).collect())
    }

    /// A list of numbers.
    pub(super) fn numbers(&self, names: &str) -> Result<Vec<f64>> {
        Keys::needed(names, "numbers", self.list(names, "numbers", Value::as_f64)?)
    }

    /// An object that may be absent.
    pub(super) fn object(&self, names: &str) -> Result<Option<Keys<'a>>> {
        self.typed(names, "an object", |value| value.is_object().then_some(Keys { value }))
    }

    /// An activation.
    pub(super) fn activation(&self, names: &str, absent: &'a str) -> Result<Activation> {
        let field = self.get(names).map_or(names, |(name, _)| name);
        match self.text(names, absent)? {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "relu2" => Ok(Activation::ReluSquared),
            other => Err(Error::config(
                field,
                format!("got {other:?}, wanted silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu or relu2"),
            )),
        }
    }

    /// Whether each layer is of a kind, from `layer_types`, or from `absent` where there is none.
    pub(super) fn layers_of(&self, kind: &str, layers: usize, absent: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        match self.list("layer_types", "names of kinds of layers", Value::as_str)? {
            Some(kinds) => {
                self.expect("layer_types", kinds.len() == layers, &format!("one for each of {layers} layers"))?;
                Ok(kinds.iter().map(|&name| name == kind).collect())
            }
            None => Ok((0..layers).map(absent).collect()),
        }
    }

    /// Refuses a key whose value means something that is not read.
    pub(super) fn expect(&self, names: &str, ok: bool, wanted: &str) -> Result<()> {
        let (name, got) = self.get(names).map_or((names, "none".into()), |(name, value)| (name, value.to_string()));
        if ok { Ok(()) } else { Err(Error::config(name, format!("got {got}, wanted {wanted}"))) }
    }
}

const WHOLE: &str = "a whole number, 0 to 2147483647";
