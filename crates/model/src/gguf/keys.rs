//! The keys of one architecture, and which of them have been read.

use super::{Metadata, Result, Tensors};
use attendant_formats::Refusal;
use attendant_formats::gguf::{Array, Value as Stored};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Keys that change nothing of what is computed: how a text becomes one row is for who asks for one.
const IDLE: &[&str] = &["classifier.pooling_type", "pooling_type", "rope.scaling.finetuned", "tensor_data_layout", "vocab_size"];

/// The keys of one architecture.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) tensors: &'a dyn Tensors,
    architecture: &'a str,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(metadata: &'a Metadata, tensors: &'a dyn Tensors, architecture: &'a str) -> Keys<'a> {
        Keys { metadata, tensors, architecture, read: RefCell::default() }
    }

    fn get(&self, name: &str) -> (String, Option<&'a Stored>) {
        let key = format!("{}.{name}", self.architecture);
        let value = self.metadata.get(&key);
        self.read.borrow_mut().insert(key.clone());
        (key, value)
    }

    /// A whole number that may be absent.
    pub(super) fn size_if(&self, name: &str) -> Result<Option<u64>> {
        match self.get(name) {
            (_, None) => Ok(None),
            (_, Some(Stored::Unsigned(size))) => Ok(Some(*size)),
            (_, Some(Stored::Signed(size))) if *size >= 0 => Ok(Some(size.unsigned_abs())),
            // Some writers list a number for every layer; where all are equal it is one number.
            (key, Some(Stored::Array(Array::Unsigned(sizes)))) => one(&key, sizes),
            (key, Some(Stored::Array(Array::Signed(sizes)))) => {
                one(&key, sizes).map(|size| size.and_then(|size| size.try_into().ok()))
            }
            (key, Some(other)) => Err(Refusal::new(key, format_args!("wanted a whole number, got {}", other.summary()))),
        }
    }

    /// A whole number.
    pub(super) fn size(&self, name: &str) -> Result<u64> {
        self.size_if(name)?.ok_or_else(|| Refusal::new(self.get(name).0, "wanted a whole number, got none"))
    }

    /// A number that may be absent.
    pub(super) fn number_if(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            (_, None) => Ok(None),
            (_, Some(Stored::Float(number))) if number.is_finite() => Ok(Some(shortest(*number))),
            // JSON has no such number: in a configuration it would count as left out.
            (key, Some(Stored::Float(number))) => Err(Refusal::new(key, format_args!("wanted a finite number, got {number}"))),
            (key, Some(other)) => Err(Refusal::new(key, format_args!("wanted a number, got {}", other.summary()))),
        }
    }

    /// True or false, which may be absent.
    pub(super) fn flag_if(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            (_, None) => Ok(None),
            (_, Some(Stored::Bool(flag))) => Ok(Some(*flag)),
            (key, Some(other)) => Err(Refusal::new(key, format_args!("wanted true or false, got {}", other.summary()))),
        }
    }

    /// True or false for each of so many layers; or every how many layers it is false.
    pub(super) fn layers_if(&self, name: &str, layers: u64) -> Result<Option<Layers>> {
        match self.get(name) {
            (_, None) => Ok(None),
            (_, Some(Stored::Array(Array::Bool(each)))) if each.len() as u64 == layers => Ok(Some(Layers::Each(each.clone()))),
            (_, Some(Stored::Unsigned(period))) => Ok(Some(Layers::Period(*period))),
            (key, Some(other)) => {
                let why = format_args!("wanted a number, or true or false for each of {layers} layers, got {}", other.summary());
                Err(Refusal::new(key, why))
            }
        }
    }

    /// A text that may be absent.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        match self.get(name).1 {
            Some(Stored::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The refusal of a key for what it holds.
    pub(super) fn refuse(&self, name: &str, why: impl std::fmt::Display) -> Refusal {
        Refusal::new(format!("{}.{name}", self.architecture), why)
    }

    /// Refuses what has not been read: a model is not run without what its file asks for.
    pub(super) fn all_read(&self) -> Result<()> {
        let read = self.read.borrow();
        let own = format!("{}.", self.architecture);
        for (key, value) in self.metadata.iter().filter(|(key, _)| !read.contains(*key)) {
            let Some(name) = key.strip_prefix(&own) else { continue };
            if !IDLE.contains(&name) && !asks_nothing(name, value) {
                let why =
                    format_args!("wanted none, which is all that {} can have here, got {}", self.architecture, value.summary());
                return Err(Refusal::new(key, why));
            }
        }
        Ok(())
    }
}

/// A property of layers.
pub(super) enum Layers {
    Each(Vec<bool>),
    Period(u64),
}

/// Whether a value is the one that a file without its key means.
fn asks_nothing(name: &str, value: &Stored) -> bool {
    match value {
        Stored::Bool(flag) => *flag == (name == "attention.causal"),
        Stored::Unsigned(0) | Stored::Signed(0) => true,
        Stored::Float(number) => *number == 0.0 || (*number == 1.0 && (name.ends_with("scale") || name.ends_with("factor"))),
        Stored::String(text) => text == "none",
        _ => false,
    }
}

/// The number that all layers share.
fn one<N: Copy + PartialEq>(key: &str, sizes: &[N]) -> Result<Option<N>> {
    let first = sizes.first().copied();
    let equal = sizes.iter().all(|size| Some(*size) == first);
    if equal { Ok(first) } else { Err(Refusal::new(key, "wanted the same number for every layer, got several")) }
}

/// The number that was meant by one that went through f32: 1e-6 and not 9.999999974752427e-7.
fn shortest(number: f64) -> f64 {
    let narrow = number as f32;
    if f64::from(narrow) == number { narrow.to_string().parse().unwrap_or(number) } else { number }
}
