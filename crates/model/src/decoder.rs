//! A model: embedding, layers of steps, head; with an encoder, the same for the source first.

use crate::assembly::{NamedTensor, Parts, Wanted, drawn};
use crate::plan::check::Mechanisms;
use crate::plan::{Plan, Positions};
use crate::trace::Trace;
use attendant_core::error::require;
use attendant_core::{Error, Result, Tape, Tensor, Var};
use attendant_mech::{Batch, Order};
use attendant_state::{Dtype, SequenceState, StateLayout, Storage};
use std::sync::Arc;

/// A model with its parameters.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) plan: Plan,
    pub(crate) parts: Parts,
    parameters: Vec<NamedTensor>,
}

/// Which rows get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// All rows of the batch.
    All,
    /// The last new row of each sequence.
    Last,
}

/// What a call reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// A token for every row of the batch.
    pub ids: &'a [u32],
    /// The kind of every token, in models that know kinds; none stands for kind 0.
    pub types: &'a [u32],
    /// Rows of the source that no state holds yet `[S, d_model]`: see [`Decoder::encode`].
    pub source: Option<Var>,
    /// Where to write what goes between the layers.
    pub trace: Option<&'a Trace>,
}

impl<'a, T: AsRef<[u32]> + ?Sized> From<&'a T> for Inputs<'a> {
    fn from(ids: &'a T) -> Inputs<'a> {
        Inputs { ids: ids.as_ref(), ..Inputs::default() }
    }
}

/// A model's parameters on a tape.
#[derive(Clone, Debug)]
pub struct BoundModel {
    pub(crate) vars: Vec<Var>,
}

impl BoundModel {
    /// The parameters, in the model's order.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }
}

impl Decoder {
    /// A model with the parameters that `seed` gives. Products that add to the residual stream start smaller by the root
    /// of their number (GPT-2).
    ///
    /// # Errors
    /// If the plan cannot be built.
    pub fn new(plan: Plan, seed: u64) -> Result<Decoder> {
        let mechanisms = plan.mechanisms()?;
        Decoder::assemble(plan, mechanisms, |name, wanted| drawn(seed, name, wanted))
    }

    /// A model of `mechanisms`, those of the plan, whose parameters `fill` gives.
    pub(crate) fn assemble<E>(
        plan: Plan,
        mechanisms: Mechanisms,
        fill: impl FnMut(&str, Wanted<'_>) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Decoder, E> {
        let (parts, parameters) = Parts::assemble(&plan, mechanisms, fill)?;
        Ok(Decoder { plan, parts, parameters })
    }

    /// The plan it was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> &[NamedTensor] {
        &self.parameters
    }

    /// The parameters in order, to change. One that a tape still reads is copied first.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.parameters.iter_mut().map(|parameter| Arc::make_mut(&mut parameter.tensor))
    }

    /// How many values the parameters have in all.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.tensor.count()).sum()
    }

    /// Whether its rows see later ones: a masked language model, or one that goes from left to right.
    pub fn order(&self) -> Order {
        let both = self.orders().any(|order| order == Order::Bidirectional);
        if both { Order::Bidirectional } else { Order::Causal }
    }

    /// The same of each mechanism of the layers.
    pub fn orders(&self) -> impl Iterator<Item = Order> {
        self.parts.decoder.mixers().map(|mixer| mixer.mechanism.order())
    }

    /// What each mechanism of the layers keeps between calls.
    pub fn layouts(&self) -> Vec<StateLayout> {
        self.parts.decoder.mixers().map(|mixer| mixer.mechanism.state()).collect()
    }

    /// Bytes that one more token adds to the state of a sequence, in a store of `dtype`, before rings are full.
    pub fn cache_bytes_per_token(&self, dtype: Dtype) -> f64 {
        self.layouts().iter().map(|layout| layout.bytes_per_token(dtype)).sum()
    }

    /// An empty state for one sequence.
    pub fn new_state(&self, storage: Storage) -> SequenceState {
        SequenceState::new(&self.layouts(), storage)
    }

    /// Puts the parameters on a tape, to be read in place. Clear the tape before [`Decoder::parameters_mut`], or every
    /// parameter is copied.
    pub fn bind(&self, tape: &mut Tape) -> BoundModel {
        BoundModel { vars: self.parameters.iter().map(|parameter| tape.parameter(&parameter.tensor)).collect() }
    }

    /// Logits `[N or B, vocab]` of new tokens. `states` holds one state per sequence, which advance, or none at all in training.
    ///
    /// # Errors
    /// If ids are missing or not below the vocabulary, a position is past the learned ones, or states do not fit the batch or
    /// this model. No state has changed then. If scores that choose keys or experts are no numbers, or a mechanism itself fails, what
    /// a state cannot take back (a constant row that was replaced, rows of a ring that were overwritten) stays, and the state must be
    /// rewound to a snapshot.
    pub fn forward<'a>(
        &self,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        inputs: impl Into<Inputs<'a>>,
        states: &mut [&mut SequenceState],
        rows: LogitRows,
    ) -> Result<Var> {
        let x = self.advance(tape, bound, batch, inputs, states)?;
        let x = match rows {
            LogitRows::All => x,
            LogitRows::Last => {
                let last: Vec<u32> = batch.sequences().iter().map(|sequence| sequence.rows.end as u32 - 1).collect();
                tape.embedding(x, &last)
            }
        };
        Ok(self.logits(tape, bound, x))
    }

    /// What the layers make of new tokens `[N, d_model]`, of which [`Decoder::logits`] makes logits.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub(crate) fn advance<'a>(
        &self,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        inputs: impl Into<Inputs<'a>>,
        states: &mut [&mut SequenceState],
    ) -> Result<Var> {
        let inputs = inputs.into();
        require(!self.plan.head.absent, "head", || "got none, wanted a model that gives logits: this one gives rows".into())?;
        self.check(tape, batch, &inputs, states)?;
        let x = self.parts.decoder.hidden(self, tape, bound, batch, &inputs, states).inspect_err(|_| {
            // What the layers before the one that failed have appended is forgotten. A constant row stays replaced; but the
            // checks have passed, so only values that are no numbers, or a mechanism that is at fault itself, come here.
            states.iter_mut().for_each(|state| drop(state.truncate(state.position())));
        })?;
        for (state, sequence) in states.iter_mut().zip(batch.sequences()) {
            state.advance(sequence.rows.len());
        }
        Ok(x)
    }

    /// What the layers make of sequences that are read whole: the rows `[N, d_model]` that logits would be made of, or, in a model with
    /// an encoder, those that its layers see of a source.
    ///
    /// # Errors
    /// If ids are missing or not below the vocabulary, or a position is past the learned ones.
    pub fn rows<'a>(&self, tape: &mut Tape, bound: &BoundModel, batch: &Batch, inputs: impl Into<Inputs<'a>>) -> Result<Var> {
        let inputs = inputs.into();
        if self.parts.encoder.is_some() {
            return self.encode(tape, bound, batch, inputs);
        }
        self.check_ids(batch, &inputs, &self.plan.embedding.positions)?;
        let x = self.parts.decoder.hidden(self, tape, bound, batch, &inputs, &mut [])?;
        Ok(self.parts.decoder.normed(self.plan.norm, tape, bound, x))
    }

    /// The source as rows `[S, d_model]`, from the tokens of the sequences of a batch.
    ///
    /// # Errors
    /// If the model has no encoder, ids are missing or not below the vocabulary, or a position is past the learned ones.
    pub fn encode<'a>(&self, tape: &mut Tape, bound: &BoundModel, batch: &Batch, inputs: impl Into<Inputs<'a>>) -> Result<Var> {
        let inputs = inputs.into();
        let encoder = self.parts.encoder.as_ref().ok_or_else(|| Error::config("encoder", "got none, wanted a model with one"))?;
        self.check_ids(batch, &inputs, &encoder.embedding.plan.positions)?;
        let x = encoder.hidden(self, tape, bound, batch, &inputs, &mut [])?;
        Ok(encoder.normed(self.plan.norm, tape, bound, x))
    }

    /// Logits `[N, vocab]` of rows `[N, d_model]` that leave the last layer.
    pub(crate) fn logits(&self, tape: &mut Tape, bound: &BoundModel, x: Var) -> Var {
        let head = &self.parts.head;
        let mut x = self.parts.decoder.normed(self.plan.norm, tape, bound, x);
        if let (Some((product, norm)), Some(transform)) = (head.transform, self.plan.head.transform) {
            x = product.apply(tape, bound, x);
            x = transform.activation.apply(tape, x);
            x = norm.apply(self.plan.norm, tape, bound, x);
        }
        if let Some(project) = head.project {
            x = tape.linear(x, bound.vars[project], None);
        }
        let mut logits = head.table.apply(tape, bound, x);
        if self.plan.head.scale != 1.0 {
            logits = tape.scale(logits, self.plan.head.scale);
        }
        match self.plan.head.softcap {
            Some(cap) => tape.softcap(logits, cap),
            None => logits,
        }
    }

    fn check(&self, tape: &Tape, batch: &Batch, inputs: &Inputs<'_>, states: &[&mut SequenceState]) -> Result<()> {
        self.check_ids(batch, inputs, &self.plan.embedding.positions)?;
        let source = inputs.source.map(|source| (tape.rows(source), tape.width(source)));
        let want = batch.sequences().last().map_or(0, |sequence| sequence.source.end);
        if self.plan.encoder.is_some() && source != Some((want, self.plan.d_model)) {
            return Err(Error::shape("source", format!("[{want}, {}]", self.plan.d_model), format!("{source:?}")));
        }
        if states.iter().any(|state| !self.keeps(state)) {
            return Err(Error::State { plane: "layers".into(), why: "got the state of another model, wanted this one's".into() });
        }
        Ok(())
    }

    fn check_ids(&self, batch: &Batch, inputs: &Inputs<'_>, positions: &Positions) -> Result<()> {
        let ids = inputs.ids;
        if ids.len() != batch.rows() || ids.is_empty() {
            return Err(Error::shape("ids", format!("[{}] with at least one", batch.rows()), format!("[{}]", ids.len())));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.plan.vocab_size) {
            return Err(Error::config("ids", format!("got {id}, wanted less than the vocabulary of {}", self.plan.vocab_size)));
        }
        let (types, kinds) = (inputs.types, self.plan.embedding.token_types);
        if !types.is_empty() && (types.len() != ids.len() || types.iter().any(|&kind| kind as usize >= kinds.max(1))) {
            return Err(Error::config("types", format!("got {types:?}, wanted {} below {kinds}", ids.len())));
        }
        if batch.sequences().iter().any(|sequence| sequence.rows.is_empty()) {
            return Err(Error::config("batch", "got a sequence without new rows, wanted at least one each"));
        }
        match (batch.positions().max(), positions.learned()) {
            (Some(last), Some(learned)) if last >= learned => {
                Err(Error::config("position", format!("got {last}, wanted less than the {learned} that were learned")))
            }
            _ => Ok(()),
        }
    }

    /// Whether a state has this model's planes.
    fn keeps(&self, state: &SequenceState) -> bool {
        let layouts = self.layouts();
        let same =
            |(i, layout): (usize, &StateLayout)| state.layer(i).planes().iter().map(|store| store.plane()).eq(layout.planes());
        state.layers() == layouts.len() && layouts.iter().enumerate().all(same)
    }
}
