//! A decoder: embedding, layers of mechanism and feed-forward, head.

use crate::assembly::{Layer, NamedTensor, NormPlace, Parts, drawn};
use crate::plan::{Norm, Plan, Positions};
use attendant_core::ops::Gelu;
use attendant_core::{Error, Result, Tape, Tensor, Var};
use attendant_mech::{Batch, Bound, Context, Init, Mechanism};
use attendant_state::{Dtype, SequenceState, StateLayout, Storage};
use std::sync::Arc;

/// A decoder.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
    parts: Parts,
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

/// A model's parameters on a tape.
#[derive(Clone, Debug)]
pub struct BoundModel {
    vars: Vec<Var>,
}

impl BoundModel {
    /// The parameters, in the model's order.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }
}

impl Decoder {
    /// A decoder with the parameters that `seed` gives. Products that add to the residual stream start smaller by the root
    /// of their number (GPT-2).
    ///
    /// # Errors
    /// If the plan cannot be built.
    pub fn new(plan: Plan, seed: u64) -> Result<Decoder> {
        let mechanisms = plan.mechanisms()?;
        Decoder::assemble(plan, mechanisms, |name, shape, init| drawn(seed, name, shape, init))
    }

    /// A decoder of `mechanisms`, those of the plan, whose parameters `fill` gives by name and shape.
    pub(crate) fn assemble<E>(
        plan: Plan,
        mechanisms: Vec<Box<dyn Mechanism>>,
        fill: impl FnMut(&str, &[usize], Init) -> std::result::Result<Tensor, E>,
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
        self.parameters.iter().map(|parameter| parameter.tensor.data().len()).sum()
    }

    /// What each layer keeps between calls.
    pub fn layouts(&self) -> Vec<StateLayout> {
        self.parts.layers.iter().map(|layer| layer.mechanism.state()).collect()
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

    /// Logits `[N or B, vocab]` of new tokens `ids` `[N]`. `states` holds one state per sequence, which advance, or none at all
    /// in training.
    ///
    /// # Errors
    /// If ids are missing or not below the vocabulary, a position is past the learned ones, or states do not fit the batch or
    /// this model. No state has changed then. If a mechanism itself fails, what a state cannot take back (a constant row that was
    /// replaced, rows of a ring that were overwritten) stays, and the state must be rewound to a snapshot.
    pub fn forward(
        &self,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        ids: &[u32],
        states: &mut [&mut SequenceState],
        rows: LogitRows,
    ) -> Result<Var> {
        self.check(batch, ids, states)?;
        let x = self.hidden(tape, bound, batch, ids, states).inspect_err(|_| {
            // What the layers before the one that failed have appended is forgotten. A constant row stays replaced; but the
            // checks have passed, so only a mechanism that is at fault itself comes here.
            states.iter_mut().for_each(|state| drop(state.truncate(state.position())));
        })?;
        for (state, sequence) in states.iter_mut().zip(batch.sequences()) {
            state.advance(sequence.rows.len());
        }
        let x = match rows {
            LogitRows::All => x,
            LogitRows::Last => {
                let last: Vec<u32> = batch.sequences().iter().map(|sequence| sequence.rows.end as u32 - 1).collect();
                tape.embedding(x, &last)
            }
        };
        let x = self.normed(tape, bound, self.parts.norm, x);
        Ok(tape.linear(x, bound.vars[self.parts.head], None))
    }

    /// What leaves the last layer `[N, d_model]`.
    fn hidden(
        &self,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        ids: &[u32],
        states: &mut [&mut SequenceState],
    ) -> Result<Var> {
        let mut x = tape.embedding(bound.vars[self.parts.embedding], ids);
        if let Some(positions) = self.parts.positions {
            let at: Vec<u32> = batch.positions().map(|position| position as u32).collect();
            let learned = tape.embedding(bound.vars[positions], &at);
            x = tape.add(x, learned);
        }
        for (index, layer) in self.parts.layers.iter().enumerate() {
            x = tape.scope(|tape| self.layer(tape, bound, batch, states, (index, layer), x))?;
        }
        Ok(x)
    }

    fn layer(
        &self,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        states: &mut [&mut SequenceState],
        (index, layer): (usize, &Layer),
        x: Var,
    ) -> Result<Var> {
        let normed = self.normed(tape, bound, layer.before_mixer, x);
        let parameters = Bound::new(layer.mixer.iter().map(|&(name, at)| (name, bound.vars[at])));
        let mut reborrowed: Vec<&mut SequenceState> = states.iter_mut().map(|state| &mut **state).collect();
        let mut cx = Context::new(tape, batch, layer.mechanism.state(), &mut reborrowed, index, None)?;
        let mixed = layer.mechanism.mix(&mut cx, &parameters, normed)?;
        cx.commit();
        let x = tape.add(x, mixed);
        let normed = self.normed(tape, bound, layer.before_feed_forward, x);
        let up = tape.linear(normed, bound.vars[layer.up], None);
        let inner = match layer.gate {
            Some(gate) => {
                let gate = tape.linear(normed, bound.vars[gate], None);
                tape.swiglu(gate, up)
            }
            None => tape.gelu(up, Gelu::Tanh),
        };
        let down = tape.linear(inner, bound.vars[layer.down], None);
        Ok(tape.add(x, down))
    }

    fn normed(&self, tape: &mut Tape, bound: &BoundModel, place: NormPlace, x: Var) -> Var {
        let weight = bound.vars[place.weight];
        match self.plan.norm {
            Norm::Rms => tape.rms_norm(x, Some(weight), self.plan.eps),
            Norm::Layer => tape.layer_norm(x, weight, place.bias.map(|bias| bound.vars[bias]), self.plan.eps),
        }
    }

    fn check(&self, batch: &Batch, ids: &[u32], states: &[&mut SequenceState]) -> Result<()> {
        if ids.len() != batch.rows() || ids.is_empty() {
            return Err(Error::shape("ids", format!("[{}] with at least one", batch.rows()), format!("[{}]", ids.len())));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.plan.vocab_size) {
            return Err(Error::config("ids", format!("got {id}, wanted less than the vocabulary of {}", self.plan.vocab_size)));
        }
        if batch.sequences().iter().any(|sequence| sequence.rows.is_empty()) {
            return Err(Error::config("batch", "got a sequence without new rows, wanted at least one each"));
        }
        if states.iter().any(|state| !self.keeps(state)) {
            return Err(Error::State { plane: "layers".into(), why: "got the state of another model, wanted this one's".into() });
        }
        if let (Positions::Learned { context }, Some(last)) = (self.plan.positions, batch.positions().max())
            && last >= context
        {
            return Err(Error::config("position", format!("got {last}, wanted less than the {context} that were learned")));
        }
        Ok(())
    }

    /// Whether a state has this model's planes.
    fn keeps(&self, state: &SequenceState) -> bool {
        let layouts = self.layouts();
        let same =
            |(i, layout): (usize, &StateLayout)| state.layer(i).planes().iter().map(|store| store.plane()).eq(layout.planes());
        state.layers() == layouts.len() && layouts.iter().enumerate().all(same)
    }
}
