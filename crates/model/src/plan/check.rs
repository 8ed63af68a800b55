//! Whether a plan can be built.

use super::{Dense, Embedding, Encoder, Experts, FeedForward, Form, Layer, Norm, Part, Plan, Positions, Reads, Wiring};
use attendant_core::error::require;
use attendant_core::{Error, Result};
use attendant_mech::{Mechanism, Order, build};
use attendant_state::{Growth, StateLayout};
use serde_json::Value;

/// The largest size a plan may name. Products of two sizes then fit, whoever wrote the configuration.
pub(crate) const LARGEST: usize = i32::MAX as usize;

/// Values that all layers may keep of a token: bytes of the longest context can then be counted. The largest published models keep two
/// million.
const MOST_KEPT: usize = 1 << 24;

/// A number in a file alone must not exhaust memory.
const MOST_EXPERTS: usize = 65_536;

/// The mechanisms of a layer, step by step.
pub(crate) type LayerMechanisms = Vec<Box<dyn Mechanism>>;

/// The mechanisms of a model, layer by layer.
pub(crate) struct Mechanisms {
    pub(crate) layers: Vec<LayerMechanisms>,
    pub(crate) encoder: Vec<LayerMechanisms>,
}

impl Plan {
    /// The mechanisms of its layers.
    ///
    /// # Errors
    /// The field that cannot be used, what it holds and what would do.
    pub(crate) fn mechanisms(&self) -> Result<Mechanisms> {
        for (field, size) in [("vocab_size", self.vocab_size), ("d_model", self.d_model), ("context", self.context)] {
            sized(field, size)?;
        }
        let (Norm::Rms { eps, .. } | Norm::Layer { eps, .. }) = self.norm;
        require(eps.is_finite() && eps >= 0.0, "norm.eps", || format!("got {eps}, wanted 0 or more"))?;
        finite("head.scale", self.head.scale)?;
        if let Some(cap) = self.head.softcap {
            require(cap.is_finite() && cap > 0.0, "head.softcap", || format!("got {cap}, wanted a number above 0"))?;
        }
        self.embedding.check("embedding")?;
        let layers = self.stack("layers", &self.layers)?;
        let states: Vec<StateLayout> = layers.iter().flatten().map(|mechanism| mechanism.state()).collect();
        let grows = states.iter().flat_map(StateLayout::planes).filter(|plane| plane.growth != Growth::Constant);
        let kept = grows.fold(0, |kept: usize, plane| kept.saturating_add(plane.width));
        require(kept <= MOST_KEPT, "layers", || format!("got {kept} values to keep of a token, wanted at most {MOST_KEPT}"))?;
        let orders: Vec<Order> = layers.iter().flatten().map(|mechanism| mechanism.order()).collect();
        let cross = orders.contains(&Order::Cross);
        require(cross == self.encoder.is_some(), "encoder", || match cross {
            true => "got none, wanted one: layers read a source".into(),
            false => "got one, wanted none: no layer reads a source".into(),
        })?;
        let (causal, both) = (orders.contains(&Order::Causal), orders.contains(&Order::Bidirectional));
        let one = causal != both;
        require(one, "layers", || "got causal and bidirectional mechanisms, wanted one of them in all layers".into())?;
        let encoder = self.encoder.as_ref().map(|encoder| self.source_layers(encoder)).transpose()?;
        Ok(Mechanisms { layers, encoder: encoder.unwrap_or_default() })
    }

    /// Whether it can be built.
    ///
    /// # Errors
    /// The field that cannot be used, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        self.mechanisms().map(|_| ())
    }

    fn source_layers(&self, encoder: &Encoder) -> Result<Vec<LayerMechanisms>> {
        encoder.embedding.check("encoder.embedding")?;
        let layers = self.stack("encoder.layers", &encoder.layers)?;
        let orders = || layers.iter().flatten().map(|mechanism| mechanism.order());
        let other = orders().find(|order| *order != Order::Bidirectional);
        require(other.is_none(), "encoder.layers", || format!("got {other:?} attention, wanted bidirectional"))?;
        Ok(layers)
    }

    fn stack(&self, place: &str, layers: &[Layer]) -> Result<Vec<LayerMechanisms>> {
        sized(place, layers.len())?;
        layers.iter().enumerate().map(|(i, layer)| self.layer(&format!("{place}[{i}]"), layer)).collect()
    }

    fn layer(&self, place: &str, layer: &Layer) -> Result<LayerMechanisms> {
        require(!layer.steps.is_empty(), place, || "got no steps, wanted at least one".into())?;
        let mut mechanisms = Vec::new();
        for (i, step) in layer.steps.iter().enumerate() {
            let place = format!("{place}[{i}]");
            step.wiring.check(&place, i, layer.steps.len())?;
            match &step.part {
                Part::Mixer(mixer) => mechanisms.push(self.mixer(&place, mixer)?),
                Part::FeedForward(feed_forward) => feed_forward.check(&place)?,
            }
        }
        Ok(mechanisms)
    }

    fn mixer(&self, place: &str, mixer: &Value) -> Result<Box<dyn Mechanism>> {
        if let Some(size) = oversized(mixer) {
            return Err(Error::config(place, format!("got {size}, wanted sizes up to {LARGEST}")));
        }
        let mechanism = build(mixer).map_err(|why| Error::config(place, why.to_string()))?;
        let width = mechanism.d_model();
        require(width == self.d_model, &format!("{place}.d_model"), || {
            format!("got {width}, wanted the model's {}", self.d_model)
        })?;
        Ok(mechanism)
    }
}

impl Wiring {
    fn check(self, place: &str, index: usize, steps: usize) -> Result<()> {
        finite(&format!("{place}.factor"), self.factor)?;
        require(index > 0 || self.reads == Reads::Result, &format!("{place}.reads"), || {
            format!("got {:?} in the first step, wanted a step before", self.reads)
        })?;
        require(self.later < steps - index, &format!("{place}.later"), || {
            format!("got {}, wanted a step of the layer: {} follow", self.later, steps - index - 1)
        })
    }
}

impl Embedding {
    fn check(&self, place: &str) -> Result<()> {
        finite(&format!("{place}.scale"), self.scale)?;
        if let Some(width) = self.width {
            sized(&format!("{place}.width"), width)?;
        }
        require(self.token_types <= LARGEST, &format!("{place}.token_types"), || format!("got {}", self.token_types))?;
        match self.positions {
            Positions::Learned { context } => sized(&format!("{place}.positions.learned.context"), context),
            Positions::Counted { context, padding } => {
                sized(&format!("{place}.positions.counted.context"), context)?;
                require((padding as usize) < context, &format!("{place}.positions.counted.padding"), || {
                    format!("got {padding}, wanted a row of the {context}")
                })
            }
            Positions::None | Positions::Sinusoidal => Ok(()),
        }
    }
}

impl FeedForward {
    fn check(&self, place: &str) -> Result<()> {
        match self {
            FeedForward::Dense(dense) => dense.check(place),
            FeedForward::Experts(experts) => experts.check(place),
        }
    }
}

impl Dense {
    fn check(&self, place: &str) -> Result<()> {
        if let Form::Clamped { limit, alpha } = self.form {
            let fits = limit > 0.0 && alpha.is_finite();
            require(fits, &format!("{place}.form.clamped"), || {
                format!("got limit {limit} and alpha {alpha}, wanted numbers above 0")
            })?;
        }
        sized(&format!("{place}.d_ff"), self.d_ff)
    }
}

impl Experts {
    fn check(&self, place: &str) -> Result<()> {
        let all = self.count.saturating_add(self.identities);
        require(self.count > 0 && all <= MOST_EXPERTS, &format!("{place}.count"), || {
            format!("got {} and {} identities, wanted 1 to {MOST_EXPERTS}", self.count, self.identities)
        })?;
        let (chosen, routing) = (self.routing.chosen, &self.routing);
        let mut most = all;
        if let Some(groups) = routing.groups {
            let divides = groups.count > 0 && all.is_multiple_of(groups.count);
            let size = all / groups.count.max(1);
            let fits = divides && (1..=groups.count).contains(&groups.kept) && (1..=size).contains(&groups.best);
            require(fits, &format!("{place}.routing.groups"), || {
                format!("got {groups:?} for {all} experts, wanted groups of one size, some kept, ranked by some of their experts")
            })?;
            most = groups.kept * size;
        }
        require((1..=most).contains(&chosen), &format!("{place}.routing.chosen"), || {
            format!("got {chosen}, wanted 1 to {most}")
        })?;
        finite(&format!("{place}.routing.factor"), routing.factor)?;
        if let Some(shared) = &self.shared {
            shared.expert.check(&format!("{place}.shared.expert"))?;
        }
        self.expert.check(&format!("{place}.expert"))
    }
}

fn sized(field: &str, size: usize) -> Result<()> {
    require((1..=LARGEST).contains(&size), field, || format!("got {size}, wanted 1 to {LARGEST}"))
}

fn finite(field: &str, value: f32) -> Result<()> {
    require(value.is_finite(), field, || format!("got {value}, wanted a number"))
}

/// A whole number in a configuration that is larger than any size may be.
fn oversized(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().filter(|&size| size > LARGEST as u64),
        Value::Array(values) => values.iter().find_map(oversized),
        Value::Object(fields) => fields.values().find_map(oversized),
        _ => None,
    }
}
