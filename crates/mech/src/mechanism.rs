//! What a mechanism is.

use crate::card::{Card, Order};
use crate::context::Context;
use attendant_core::{Real, Result, Rows, Tape, Tensor, Var};
use attendant_state::StateLayout;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::ops::Index;
use std::sync::Arc;

/// A parameter as a mechanism declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name inside the layer.
    pub name: &'static str,
    /// Its shape, `[out, in]` for products.
    pub shape: Vec<usize>,
    /// What it holds before training.
    pub init: Init,
    /// Whether checkpoints have it under this very name, and not as the weight or bias of what the name says.
    pub bare: bool,
    /// Whether the layers of a stack that declare it under this name have one together: it is bound to each of them, and its
    /// gradient is the sum of theirs.
    pub shared: bool,
    /// Whether all that is done with it are products of rows with the whole of it ([`Tape::linear`]) and reading its rows
    /// ([`Tape::embedding`]): then it may stay in the type that it was published in.
    pub whole: bool,
}

impl Parameter {
    /// A product `[out, in]`, normal with the usual deviation.
    pub fn product(name: &'static str, outer: usize, inner: usize) -> Parameter {
        let (shape, init) = (vec![outer, inner], Init::Normal((1.0 / inner as f64).sqrt()));
        Parameter { name, shape, init, bare: false, shared: false, whole: true }
    }

    /// A vector that starts as all the same value.
    pub fn vector(name: &'static str, width: usize, value: f32) -> Parameter {
        Parameter { name, shape: vec![width], init: Init::Constant(value), bare: false, shared: false, whole: false }
    }

    /// The same, under its very name in checkpoints.
    pub fn bare(self) -> Parameter {
        Parameter { bare: true, ..self }
    }

    /// The same, of which parts are read or multiplied.
    pub fn by_parts(self) -> Parameter {
        Parameter { whole: false, ..self }
    }
}

/// What a parameter holds before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Constant(f32),
    /// Normal with mean 0 and this deviation.
    Normal(f64),
}

/// How a layer exchanges information between the rows of a sequence.
pub trait Mechanism: Send + Sync + Debug {
    /// The facts that do not depend on the configuration.
    fn card(&self) -> &'static Card;

    /// Width of the rows in and out.
    fn d_model(&self) -> usize;

    /// Which rows may change an output.
    fn order(&self) -> Order {
        Order::Causal
    }

    /// Whether the configuration can be used.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    fn check(&self) -> Result<()>;

    /// Its parameters.
    fn params(&self) -> Vec<Parameter>;

    /// What it keeps between calls.
    fn state(&self) -> StateLayout;

    /// x `[N, d_model]`, the rows of a ragged batch -> y `[N, d_model]`.
    ///
    /// # Errors
    /// If the state does not fit the call.
    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var>;
}

/// The same in plain loops over one whole sequence. It shares nothing with `mix` but tables of numbers (angles, slopes, buckets,
/// temperatures), which tests hold against published values.
pub trait Oracle: Mechanism {
    /// x `[T, d_model]` of one sequence from position 0 (and its source `[S, d_model]`) -> y `[T, d_model]`.
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, source: Option<&Rows<S>>) -> Rows<S>;

    /// How near the closest of its choices, of a key, a block or an expert, comes to falling the other way: the difference of what
    /// is compared as a share of its size, infinite where nothing is chosen. Where rounding decides nobody is right: the exam asks
    /// about no such text.
    fn margin(&self, _p: &Parameters<f64>, _x: &Rows<f64>) -> f64 {
        f64::INFINITY
    }
}

/// The size of a model, from which a preset makes a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width of the rows.
    pub d_model: usize,
    /// Query heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
}

/// A mechanism that the registry knows.
pub trait Registered: Oracle + Serialize + DeserializeOwned + Clone + 'static {
    /// One of its presets at a size.
    fn preset(name: &str, size: Size) -> Self;

    /// Small configurations that together use every option, for the exam; `preset` is one of its presets.
    fn exam(preset: &str) -> Vec<Self>;
}

/// A layer's parameters on a tape, by name.
#[derive(Clone, Debug, Default)]
pub struct Bound(Vec<(&'static str, Var)>);

impl Bound {
    /// Parameters that are on a tape already.
    pub fn new(vars: impl IntoIterator<Item = (&'static str, Var)>) -> Bound {
        Bound(vars.into_iter().collect())
    }

    /// Puts every parameter on the tape.
    pub fn bind<'a>(tape: &mut Tape, tensors: impl IntoIterator<Item = (&'static str, &'a Arc<Tensor>)>) -> Bound {
        Bound(tensors.into_iter().map(|(name, tensor)| (name, tape.parameter(tensor))).collect())
    }

    /// A parameter that may be absent.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, var)| *var)
    }

    /// All of them, in the order declared.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Var)> {
        self.0.iter().copied()
    }
}

impl Index<&str> for Bound {
    type Output = Var;

    /// # Panics
    /// If the mechanism did not declare a parameter of that name.
    fn index(&self, name: &str) -> &Var {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, var)| var).unwrap_or_else(|| panic!("no parameter {name}"))
    }
}

/// A layer's parameters as an oracle sees them.
#[derive(Clone, Debug)]
pub struct Parameters<S>(pub Vec<(&'static str, Rows<S>)>);

impl<S: Real> Parameters<S> {
    /// A parameter that may be absent.
    pub fn get(&self, name: &str) -> Option<&Rows<S>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, rows)| rows)
    }
}

impl<S: Real> Index<&str> for Parameters<S> {
    type Output = Rows<S>;

    /// # Panics
    /// If the mechanism did not declare a parameter of that name.
    fn index(&self, name: &str) -> &Rows<S> {
        self.get(name).unwrap_or_else(|| panic!("no parameter {name}"))
    }
}
