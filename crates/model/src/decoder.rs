//! A decoder: embedding, layers of mechanism and feed-forward, head.

use crate::plan::{FeedForward, Norm, Plan, Positions};
use attendant_core::ops::Gelu;
use attendant_core::{Error, Random, Result, Tape, Tensor, Var};
use attendant_mech::{Batch, Bound, Context, Init, Mechanism};
use attendant_state::{SequenceState, StateLayout, Storage};
use std::sync::Arc;

/// A parameter and its published name.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its values.
    pub tensor: Arc<Tensor>,
}

/// A decoder.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
    layers: Vec<Layer>,
    parameters: Vec<NamedTensor>,
    embedding: usize,
    positions: Option<usize>,
    norm: NormPlace,
    head: usize,
}

/// Where the parameters of a layer stand among the model's.
#[derive(Debug)]
struct Layer {
    mechanism: Box<dyn Mechanism>,
    mixer: Vec<(&'static str, usize)>,
    before_mixer: NormPlace,
    before_feed_forward: NormPlace,
    gate: Option<usize>,
    up: usize,
    down: usize,
}

#[derive(Clone, Copy, Debug)]
struct NormPlace {
    weight: usize,
    bias: Option<usize>,
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

/// Deviation of the embeddings before training (GPT-2).
const EMBEDDING_DEVIATION: f64 = 0.02;

/// Makes parameters in order, each from its own random stream.
struct Builder {
    seed: u64,
    parameters: Vec<NamedTensor>,
}

impl Builder {
    fn add(&mut self, name: String, shape: &[usize], init: Init) -> usize {
        let mut tensor = Tensor::zeros(shape);
        match init {
            Init::Constant(value) => tensor.data_mut().fill(value),
            Init::Normal(deviation) => Random::new(self.seed, &name).fill_normal(tensor.data_mut(), deviation),
        }
        self.parameters.push(NamedTensor { name, tensor: Arc::new(tensor) });
        self.parameters.len() - 1
    }

    fn norm(&mut self, name: &str, plan: &Plan) -> NormPlace {
        let weight = self.add(format!("{name}.weight"), &[plan.d_model], Init::Constant(1.0));
        let bias = (plan.norm == Norm::Layer).then(|| self.add(format!("{name}.bias"), &[plan.d_model], Init::Constant(0.0)));
        NormPlace { weight, bias }
    }

    fn product(&mut self, name: String, outer: usize, inner: usize, factor: f64) -> usize {
        self.add(name, &[outer, inner], Init::Normal(factor / (inner as f64).sqrt()))
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
        let residual = (2.0 * mechanisms.len() as f64).powf(-0.5);
        let mut builder = Builder { seed, parameters: Vec::new() };
        let table = [plan.vocab_size, plan.d_model];
        let embedding = builder.add("model.embed_tokens.weight".into(), &table, Init::Normal(EMBEDDING_DEVIATION));
        let positions = match plan.positions {
            Positions::None => None,
            Positions::Learned { context } => {
                let table = [context, plan.d_model];
                Some(builder.add("model.embed_positions.weight".into(), &table, Init::Normal(EMBEDDING_DEVIATION)))
            }
        };
        let mut layers = Vec::with_capacity(mechanisms.len());
        for (i, mechanism) in mechanisms.into_iter().enumerate() {
            let prefix = format!("model.layers.{i}");
            let before_mixer = builder.norm(&format!("{prefix}.input_layernorm"), &plan);
            let mut mixer = Vec::new();
            for parameter in mechanism.params() {
                let init = match parameter.init {
                    Init::Normal(deviation) if parameter.name == "o_proj" => Init::Normal(deviation * residual),
                    init => init,
                };
                let name = format!("{prefix}.self_attn.{}", published(parameter.name));
                mixer.push((parameter.name, builder.add(name, &parameter.shape, init)));
            }
            let before_feed_forward = builder.norm(&format!("{prefix}.post_attention_layernorm"), &plan);
            let gate = (plan.feed_forward == FeedForward::SwiGlu)
                .then(|| builder.product(format!("{prefix}.mlp.gate_proj.weight"), plan.d_ff, plan.d_model, 1.0));
            let up = builder.product(format!("{prefix}.mlp.up_proj.weight"), plan.d_ff, plan.d_model, 1.0);
            let down = builder.product(format!("{prefix}.mlp.down_proj.weight"), plan.d_model, plan.d_ff, residual);
            layers.push(Layer { mechanism, mixer, before_mixer, before_feed_forward, gate, up, down });
        }
        let norm = builder.norm("model.norm", &plan);
        let head = if plan.tie_embeddings {
            embedding
        } else {
            builder.product("lm_head.weight".into(), plan.vocab_size, plan.d_model, 1.0)
        };
        Ok(Decoder { plan, layers, parameters: builder.parameters, embedding, positions, norm, head })
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
        self.layers.iter().map(|layer| layer.mechanism.state()).collect()
    }

    /// An empty state for one sequence.
    pub fn new_state(&self, storage: Storage) -> SequenceState {
        SequenceState::new(&self.layouts(), storage)
    }

    /// Puts the parameters on a tape, to be read in place.
    pub fn bind(&self, tape: &mut Tape) -> BoundModel {
        BoundModel { vars: self.parameters.iter().map(|parameter| tape.parameter(&parameter.tensor)).collect() }
    }

    /// Logits `[N or B, vocab]` of new tokens `ids` `[N]`. `states` holds one state per sequence, which advance, or none at all
    /// in training.
    ///
    /// # Errors
    /// If ids are missing or not below the vocabulary, a position is past the learned ones, or states do not fit the batch.
    pub fn forward(
        &self,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        ids: &[u32],
        states: &mut [&mut SequenceState],
        rows: LogitRows,
    ) -> Result<Var> {
        self.check(batch, ids)?;
        let mut x = tape.embedding(bound.vars[self.embedding], ids);
        if let Some(positions) = self.positions {
            let at: Vec<u32> = batch.positions().map(|position| position as u32).collect();
            let learned = tape.embedding(bound.vars[positions], &at);
            x = tape.add(x, learned);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            x = tape.scope(|tape| self.layer(tape, bound, batch, states, (index, layer), x))?;
        }
        for (state, sequence) in states.iter_mut().zip(batch.sequences()) {
            state.advance(sequence.rows.len());
        }
        if rows == LogitRows::Last {
            let last: Vec<u32> = batch.sequences().iter().map(|sequence| sequence.rows.end as u32 - 1).collect();
            x = tape.embedding(x, &last);
        }
        let x = self.normed(tape, bound, self.norm, x);
        Ok(tape.linear(x, bound.vars[self.head], None))
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

    fn check(&self, batch: &Batch, ids: &[u32]) -> Result<()> {
        if ids.len() != batch.rows() || ids.is_empty() {
            return Err(Error::shape("ids", format!("[{}] with at least one", batch.rows()), format!("[{}]", ids.len())));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.plan.vocab_size) {
            return Err(Error::config("ids", format!("got {id}, wanted less than the vocabulary of {}", self.plan.vocab_size)));
        }
        if batch.sequences().iter().any(|sequence| sequence.rows.is_empty()) {
            return Err(Error::config("batch", "got a sequence without new rows, wanted at least one each"));
        }
        if let (Positions::Learned { context }, Some(last)) = (self.plan.positions, batch.positions().max())
            && last >= context
        {
            return Err(Error::config("position", format!("got {last}, wanted less than the {context} that were learned")));
        }
        Ok(())
    }
}

/// The published name of a mechanism's parameter: biases and weights hang under their product's name.
fn published(name: &str) -> String {
    match name {
        "sinks" | "relative_bias" | "weight_ih" | "weight_hh" | "bias_ih" | "bias_hh" => name.into(),
        _ => match name.strip_suffix("_bias") {
            Some(product) => format!("{product}_proj.bias"),
            None => format!("{name}.weight"),
        },
    }
}
