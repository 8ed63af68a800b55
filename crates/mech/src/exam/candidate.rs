//! A mechanism with parameters, and one call of it.

use crate::batch::Batch;
use crate::card::Order;
use crate::context::Context;
use crate::mechanism::{Bound, Init, Oracle, Parameter, Parameters};
use attendant_core::kernels::quant::{Format, Matrix};
use attendant_core::{Processor, Random, Real, Rows, Tape, Tensor};
use attendant_state::{SequenceState, StateLayout, Storage};
use std::ops::Range;
use std::sync::Arc;

/// A choice by less than this, some hundred times the rounding of f32, is not clear.
const CLEAR: f64 = 1e-5;

/// A mechanism with random parameters.
pub struct Candidate<'a, M> {
    pub(super) mechanism: &'a M,
    pub(super) seed: u64,
    pub(super) parameters: Vec<(&'static str, Arc<Tensor>)>,
}

/// One whole sequence, x `[T, d_model]`, and its source `[S, d_model]` if the mechanism reads one.
#[derive(Clone, Debug)]
pub struct Text {
    pub(super) x: Vec<f32>,
    pub(super) source: Vec<f32>,
    pub(super) rows: usize,
    pub(super) source_rows: usize,
}

/// What computes a call.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) processor: Processor,
    pub(super) poisoned: bool,
}

impl Desk {
    pub(super) fn new(threads: usize) -> Desk {
        Desk { processor: Processor::new(threads), poisoned: false }
    }
}

/// New rows of one sequence in a call.
#[derive(Clone)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a Text,
    pub(super) rows: Range<usize>,
}

/// What a recorded call gives: outputs, and gradients of x, of the source and of every parameter.
pub(super) struct Recorded {
    pub(super) y: Vec<f32>,
    pub(super) gradients: Vec<(&'static str, Vec<f32>)>,
}

impl Text {
    /// All of it in one call.
    pub(super) fn whole(&self) -> Chunk<'_> {
        Chunk { text: self, rows: 0..self.rows }
    }
}

impl<'a, M: Oracle> Candidate<'a, M> {
    /// Parameters as the mechanism initialises them; those that start as one value are spread, so that they matter.
    pub fn new(mechanism: &'a M, seed: u64) -> Candidate<'a, M> {
        let tensor = |parameter: &Parameter| {
            let mut tensor = Tensor::zeros(&parameter.shape);
            let (mean, deviation) = match parameter.init {
                Init::Constant(value) => (value, 0.3),
                Init::Normal(deviation) => (0.0, deviation),
            };
            Random::new(seed, parameter.name).fill_normal(tensor.data_mut(), deviation);
            tensor.data_mut().iter_mut().for_each(|value| *value += mean);
            (parameter.name, Arc::new(tensor))
        };
        Candidate { mechanism, seed, parameters: mechanism.params().iter().map(tensor).collect() }
    }

    /// The same with every parameter packed that may be, with 32 bits a value.
    pub(super) fn packed(&self, desk: &Desk) -> Candidate<'a, M> {
        let pack = |(parameter, (name, tensor)): (Parameter, &(&'static str, Arc<Tensor>))| {
            if !parameter.whole {
                return (*name, tensor.clone());
            }
            let bytes: Vec<u8> = tensor.data().iter().flat_map(|value| value.to_le_bytes()).collect();
            let matrix = Matrix::pack(desk.processor.machine(), Format::F32, tensor.rows(), tensor.width(), &bytes);
            (*name, Arc::new(Tensor::from_packed(matrix.expect("as many bytes as the shape takes"))))
        };
        let parameters = self.mechanism.params().into_iter().zip(&self.parameters).map(pack).collect();
        Candidate { parameters, ..*self }
    }

    pub(super) fn width(&self) -> usize {
        self.mechanism.d_model()
    }

    /// Whether a sequence must be given whole.
    pub(super) fn whole(&self) -> bool {
        self.mechanism.order() == Order::Bidirectional
    }

    /// Normal rows times `scale`, and a source of another odd length if the mechanism reads one. What it chooses by them is
    /// clear: see [`Oracle::margin`].
    pub(super) fn text(&self, random: &mut Random, rows: usize, scale: f64) -> Text {
        loop {
            let text = self.any_text(random, rows, scale);
            if self.margin(&text) > CLEAR {
                return text;
            }
        }
    }

    /// Whether anything is chosen by the text.
    pub(super) fn chooses(&self, text: &Text) -> bool {
        self.margin(text).is_finite()
    }

    fn margin(&self, text: &Text) -> f64 {
        self.mechanism.margin(&self.exact_parameters(), &Rows::new(text.rows, self.width(), exact(&text.x)))
    }

    fn any_text(&self, random: &mut Random, rows: usize, scale: f64) -> Text {
        let source_rows = if self.mechanism.order() == Order::Cross { [1, 3, 5, 17][random.below(4)] } else { 0 };
        let mut fill = |rows: usize| {
            let mut values = vec![0.0; rows * self.width()];
            random.fill_normal(&mut values, scale);
            values
        };
        Text { x: fill(rows), source: fill(source_rows), rows, source_rows }
    }

    pub(super) fn texts(&self, random: &mut Random, lengths: &[usize]) -> Vec<Text> {
        lengths.iter().map(|&rows| self.text(random, rows, 1.0)).collect()
    }

    pub(super) fn layout(&self) -> StateLayout {
        self.mechanism.state()
    }

    pub(super) fn empty(&self, storage: Storage) -> SequenceState {
        SequenceState::new(&[self.layout()], storage)
    }

    pub(super) fn exact_parameters<S: Real>(&self) -> Parameters<S> {
        let rows = |tensor: &Tensor| Rows::new(tensor.rows(), tensor.width(), exact(tensor.data()));
        Parameters(self.parameters.iter().map(|(name, tensor)| (*name, rows(tensor))).collect())
    }

    /// The oracle's word on a text.
    pub(super) fn oracle(&self, text: &Text) -> Vec<f64> {
        let [x, source] = [(text.rows, &text.x), (text.source_rows, &text.source)]
            .map(|(rows, values)| Rows::new(rows, self.width(), exact::<f64>(values)));
        let source = (text.source_rows > 0).then_some(&source);
        self.mechanism.oracle(&self.exact_parameters(), &x, source).data().to_vec()
    }

    /// One call that does not record: the outputs of the chunks, one after the other. `states` may be empty.
    pub(super) fn call(&self, desk: &Desk, chunks: &[Chunk<'_>], states: &mut [&mut SequenceState]) -> Result<Vec<f32>, String> {
        let tape = Tape::inference(desk.processor.clone());
        Ok(self.run(desk, tape, chunks, states, None)?.y)
    }

    /// One call that records, and goes backward from `sum(y * weights)`.
    pub(super) fn record(
        &self,
        desk: &Desk,
        chunks: &[Chunk<'_>],
        states: &mut [&mut SequenceState],
        weights: &[f32],
    ) -> Result<Recorded, String> {
        self.run(desk, Tape::new(desk.processor.clone()), chunks, states, Some(weights))
    }

    fn run(
        &self,
        desk: &Desk,
        tape: Tape,
        chunks: &[Chunk<'_>],
        states: &mut [&mut SequenceState],
        weights: Option<&[f32]>,
    ) -> Result<Recorded, String> {
        let mut tape = if desk.poisoned { tape.poisoned() } else { tape };
        let width = self.width();
        let first = |chunk: &Chunk<'_>| chunk.rows.start == 0;
        let source_rows = |chunk: &Chunk<'_>| if first(chunk) { chunk.text.source_rows } else { 0 };
        let batch = Batch::with_source(chunks.iter().map(|chunk| (chunk.rows.len(), chunk.rows.start, source_rows(chunk))));
        let batch = batch.reaching(chunks.iter().map(|chunk| chunk.text.rows));
        let rows: Vec<f32> =
            chunks.iter().flat_map(|chunk| &chunk.text.x[chunk.rows.start * width..chunk.rows.end * width]).copied().collect();
        let sources: Vec<f32> =
            chunks.iter().flat_map(|chunk| &chunk.text.source[..source_rows(chunk) * width]).copied().collect();
        let x = tape.leaf(batch.rows(), width, &rows);
        let source = (self.mechanism.order() == Order::Cross).then(|| tape.leaf(sources.len() / width, width, &sources));
        let bound = Bound::bind(&mut tape, self.parameters.iter().map(|(name, tensor)| (*name, tensor)));

        let mut borrowed: Vec<&mut SequenceState> = states.iter_mut().map(|state| &mut **state).collect();
        let mut cx = Context::new(&mut tape, &batch, self.layout(), &mut borrowed, 0, source).map_err(|why| why.to_string())?;
        let y = self.mechanism.mix(&mut cx, &bound, x).map_err(|why| format!("mix: {why}"))?;
        cx.commit();
        states.iter_mut().zip(chunks).for_each(|(state, chunk)| state.advance(chunk.rows.len()));

        let values = tape.value(y).to_vec();
        let Some(weights) = weights else { return Ok(Recorded { y: values, gradients: Vec::new() }) };
        tape.backward_with(y, weights);
        let named = [("x", x)].into_iter().chain(source.map(|source| ("source", source))).chain(bound.iter());
        let zeros = |var| vec![0.0; tape.rows(var) * tape.width(var)];
        let gradients = named.map(|(name, var)| (name, tape.gradient(var).map_or_else(|| zeros(var), <[f32]>::to_vec)));
        Ok(Recorded { y: values, gradients: gradients.collect() })
    }
}

/// The same values as another scalar.
pub(super) fn exact<S: Real>(values: &[f32]) -> Vec<S> {
    values.iter().map(|&value| S::from(f64::from(value))).collect()
}
