//! Layers and what stands before and after them, going forward.

use crate::assembly::{EmbeddingPlace, MixerPlace, NormPlace, PartPlace, ProductPlace, Stack, StepPlace};
use crate::decoder::{BoundModel, Decoder, Inputs};
use crate::plan::{Norm, Placement, Positions, Reads};
use crate::trace::Trace;
use attendant_core::{Result, Tape, Var};
use attendant_mech::observer::Observer;
use attendant_mech::{Batch, Bound, Context};
use attendant_state::SequenceState;

impl Stack {
    /// Its mechanisms in order: the layers of a state.
    pub(crate) fn mixers(&self) -> impl Iterator<Item = &MixerPlace> {
        self.layers.iter().flatten().filter_map(StepPlace::mixer)
    }

    /// What leaves the last layer `[N, d_model]`.
    pub(crate) fn hidden(
        &self,
        model: &Decoder,
        tape: &mut Tape,
        bound: &BoundModel,
        batch: &Batch,
        inputs: &Inputs<'_>,
        states: &mut [&mut SequenceState],
    ) -> Result<Var> {
        let norm = model.plan.norm;
        let mut x = self.embedding.embed(norm, bound.vars[model.parts.table], tape, bound, batch, inputs);
        let mut mixers = 0;
        for layer in &self.layers {
            if let Some(trace) = inputs.trace {
                trace.hidden(tape, x);
            }
            let call = Call { norm, bound, batch, source: inputs.source, trace: inputs.trace, first_mixer: mixers };
            x = tape.replace(x, |tape| call.layer(tape, layer, states, x))?;
            mixers += layer.iter().filter_map(StepPlace::mixer).count();
        }
        if let Some(trace) = inputs.trace {
            let last = self.normed(norm, tape, bound, x);
            trace.hidden(tape, last);
        }
        Ok(x)
    }

    /// Its norm at the end, if it has one.
    pub(crate) fn normed(&self, norm: Norm, tape: &mut Tape, bound: &BoundModel, x: Var) -> Var {
        self.norm.map_or(x, |place| place.apply(norm, tape, bound, x))
    }
}

impl StepPlace {
    fn mixer(&self) -> Option<&MixerPlace> {
        match &self.part {
            PartPlace::Mixer(mixer) => Some(mixer),
            PartPlace::Dense(_) | PartPlace::Experts(_) => None,
        }
    }
}

impl EmbeddingPlace {
    fn embed(&self, norm: Norm, table: Var, tape: &mut Tape, bound: &BoundModel, batch: &Batch, inputs: &Inputs<'_>) -> Var {
        let mut x = tape.embedding(table, inputs.ids);
        if let Some(project) = self.project {
            x = tape.linear(x, bound.vars[project], None);
        }
        if self.plan.scale != 1.0 {
            x = tape.scale(x, self.plan.scale);
        }
        if let Some(positions) = self.positions(tape, bound, batch, inputs, tape.width(x)) {
            x = tape.add(x, positions);
        }
        if let Some(types) = self.token_types {
            let zeros = vec![0; inputs.ids.len()];
            let kinds = if inputs.types.is_empty() { &zeros } else { inputs.types };
            let types = tape.embedding(bound.vars[types], kinds);
            x = tape.add(x, types);
        }
        self.norm.map_or(x, |place| place.apply(norm, tape, bound, x))
    }

    fn positions(&self, tape: &mut Tape, bound: &BoundModel, batch: &Batch, inputs: &Inputs<'_>, width: usize) -> Option<Var> {
        let at: Vec<u32> = match self.plan.positions {
            Positions::None => return None,
            Positions::Learned { .. } => batch.positions().map(|position| position as u32).collect(),
            Positions::Counted { padding, .. } => counted(batch, inputs.ids, padding),
            Positions::Sinusoidal => {
                let rows: Vec<f32> = batch.positions().flat_map(|position| sinusoid(position, width)).collect();
                return Some(tape.constant(batch.rows(), width, &rows));
            }
        };
        Some(tape.embedding(bound.vars[self.positions?], &at))
    }
}

/// Rows of a position table in which padding has its own row and is not counted.
fn counted(batch: &Batch, ids: &[u32], padding: u32) -> Vec<u32> {
    let sequence = |rows: std::ops::Range<usize>| {
        ids[rows].iter().scan(padding, move |last, &id| {
            *last += u32::from(id != padding);
            Some(if id == padding { padding } else { *last })
        })
    };
    batch.sequences().iter().flat_map(|part| sequence(part.rows.clone())).collect()
}

/// The position of a row as sines, then cosines, of wavelengths that grow to 10,000 positions (Vaswani et al. 2017).
fn sinusoid(position: usize, width: usize) -> Vec<f32> {
    let half = width.div_ceil(2);
    let angle = |i: usize| position as f64 / 10_000f64.powf(2.0 * i as f64 / width as f64);
    (0..width).map(|i| if i < half { angle(i).sin() } else { angle(i - half).cos() } as f32).collect()
}

/// One call of the layers.
struct Call<'a> {
    norm: Norm,
    bound: &'a BoundModel,
    batch: &'a Batch,
    source: Option<Var>,
    trace: Option<&'a Trace>,
    /// Where the planes of the layer's first mechanism stand in a state.
    first_mixer: usize,
}

impl Call<'_> {
    fn layer(&self, tape: &mut Tape, layer: &[StepPlace], states: &mut [&mut SequenceState], mut x: Var) -> Result<Var> {
        let mut mixer = self.first_mixer;
        // What the step before read, before its norm and after it.
        let (mut base, mut read) = (x, x);
        let mut waiting: Vec<(usize, Var)> = Vec::new();
        for (i, place) in layer.iter().enumerate() {
            let step = place.wiring;
            if step.reads == Reads::Result {
                base = x;
            }
            if step.reads != Reads::Same {
                read = self.normed(tape, place.before, base);
            }
            let y = match &place.part {
                PartPlace::Dense(dense) => dense.apply(tape, self.bound, read),
                PartPlace::Experts(experts) => experts.apply(tape, self.bound, read)?,
                PartPlace::Mixer(place) => {
                    mixer += 1;
                    self.mix(tape, place, states, mixer - 1, read)?
                }
            };
            let mut y = if step.norm == Placement::Sum { y } else { self.normed(tape, place.after, y) };
            if step.factor != 1.0 {
                y = tape.scale(y, step.factor);
            }
            if step.norm == Placement::Base {
                x = read;
            }
            waiting.push((i + step.later, y));
            for (_, y) in waiting.extract_if(.., |(due, _)| *due == i) {
                x = tape.add(x, y);
            }
            if step.norm == Placement::Sum {
                x = self.normed(tape, place.after, x);
            }
        }
        Ok(x)
    }

    fn mix(&self, tape: &mut Tape, place: &MixerPlace, states: &mut [&mut SequenceState], index: usize, x: Var) -> Result<Var> {
        let parameters = Bound::new(place.parameters.iter().map(|&(name, at)| (name, self.bound.vars[at])));
        let mut states: Vec<&mut SequenceState> = states.iter_mut().map(|state| &mut **state).collect();
        let mut observer = Observer::default();
        let mut cx = Context::new(tape, self.batch, place.mechanism.state(), &mut states, index, self.source)?;
        if self.trace.is_some() {
            cx = cx.observed(&mut observer);
        }
        let mixed = place.mechanism.mix(&mut cx, &parameters, x)?;
        cx.commit();
        if let Some(trace) = self.trace {
            trace.mixer(observer);
        }
        Ok(mixed)
    }

    fn normed(&self, tape: &mut Tape, place: Option<NormPlace>, x: Var) -> Var {
        place.map_or(x, |place| place.apply(self.norm, tape, self.bound, x))
    }
}

impl NormPlace {
    pub(crate) fn apply(self, norm: Norm, tape: &mut Tape, bound: &BoundModel, x: Var) -> Var {
        let [weight, bias] = [self.weight, self.bias].map(|place| place.map(|place| bound.vars[place]));
        match norm {
            Norm::Rms { eps, .. } => tape.rms_norm(x, weight, eps),
            Norm::Layer { eps, .. } => tape.layer_norm(x, weight, bias, eps),
        }
    }
}

impl ProductPlace {
    pub(crate) fn apply(self, tape: &mut Tape, bound: &BoundModel, x: Var) -> Var {
        tape.linear(x, bound.vars[self.weight], self.bias.map(|bias| bound.vars[bias]))
    }
}
