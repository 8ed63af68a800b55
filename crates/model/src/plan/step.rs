//! The steps of a layer.

use super::FeedForward;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A layer: its steps in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layer {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Layer {
    /// A layer of these steps.
    pub fn new(steps: impl Into<Vec<Step>>) -> Layer {
        Layer { steps: steps.into() }
    }

    /// The usual layer: a mechanism, then a feed-forward part, both after a norm.
    pub fn pre(mixer: Value, feed_forward: FeedForward) -> Layer {
        Layer::new([Step::mixer(mixer), Step::feed_forward(feed_forward)])
    }

    /// The configurations of its mechanisms.
    pub fn mixers(&self) -> impl Iterator<Item = &Value> {
        self.steps.iter().filter_map(|step| match &step.part {
            Part::Mixer(mixer) => Some(mixer),
            Part::FeedForward(_) => None,
        })
    }
}

/// One residual step: `x + factor * part(norm(x))`, or with the norm elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it does.
    pub part: Part,
    /// How it stands among the rows.
    #[serde(flatten)]
    pub wiring: Wiring,
}

/// How a step stands among the rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wiring {
    /// Where it normalises.
    pub norm: Placement,
    /// Which rows it reads.
    pub reads: Reads,
    /// Multiplies what the part gives.
    pub factor: f32,
    /// How many steps later the result is added.
    pub later: usize,
}

impl Default for Wiring {
    fn default() -> Wiring {
        Wiring { norm: Placement::Before, reads: Reads::Result, factor: 1.0, later: 0 }
    }
}

impl Wiring {
    /// Whether the step has a norm of its own before its part.
    pub(crate) fn norms_input(self) -> bool {
        self.norm.before() && self.reads != Reads::Same
    }
}

/// What a step does to the rows it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A mechanism: `{"kind": "gqa", "heads": 9, ...}`.
    Mixer(Value),
    /// Each row alone.
    FeedForward(FeedForward),
}

/// Where a step normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// `x + part(norm(x))`
    #[default]
    Before,
    /// `x + norm(part(x))` (OLMo 2)
    After,
    /// `x + norm(part(norm(x)))` (Gemma 2)
    Around,
    /// `norm(x + part(x))`: post-norm, as in the first transformer
    Sum,
    /// `norm(x) + part(norm(x))` (some BLOOM models)
    Base,
    /// `x + part(x)`
    None,
}

impl Placement {
    /// Whether the part reads normalised rows.
    pub(crate) fn before(self) -> bool {
        matches!(self, Placement::Before | Placement::Around | Placement::Base)
    }

    /// Whether the result is normalised.
    pub(crate) fn after(self) -> bool {
        matches!(self, Placement::After | Placement::Around | Placement::Sum)
    }
}

/// Which rows a step reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// Those that the step before gives.
    #[default]
    Result,
    /// Those that the step before reads, with a norm of its own (GPT-NeoX).
    Beside,
    /// What the part of the step before reads, normalised as there (GPT-J, Cohere).
    Same,
}

impl Step {
    /// A mechanism after a norm.
    pub fn mixer(configuration: Value) -> Step {
        Step::new(Part::Mixer(configuration))
    }

    /// A feed-forward part after a norm.
    pub fn feed_forward(feed_forward: impl Into<FeedForward>) -> Step {
        Step::new(Part::FeedForward(feed_forward.into()))
    }

    fn new(part: Part) -> Step {
        Step { part, wiring: Wiring::default() }
    }

    /// The same with its norm elsewhere.
    pub fn norm(self, norm: Placement) -> Step {
        Step { wiring: Wiring { norm, ..self.wiring }, ..self }
    }

    /// The same, reading other rows.
    pub fn reads(self, reads: Reads) -> Step {
        Step { wiring: Wiring { reads, ..self.wiring }, ..self }
    }

    /// The same, adding a multiple of its result.
    pub fn factor(self, factor: f32) -> Step {
        Step { wiring: Wiring { factor, ..self.wiring }, ..self }
    }

    /// The same, its result added so many steps later.
    pub fn later(self, later: usize) -> Step {
        Step { wiring: Wiring { later, ..self.wiring }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_written_and_read_and_knows_its_fields() {
        let step = Step::mixer(Value::Null).norm(Placement::Around).reads(Reads::Beside).factor(0.1).later(2);
        let written = serde_json::to_value(&step).unwrap();
        assert_eq!(serde_json::from_value::<Step>(written.clone()).unwrap(), step);
        let mut strange = written;
        strange["nrom"] = "after".into();
        assert!(serde_json::from_value::<Step>(strange).is_err());
        let short = serde_json::json!({"part": {"mixer": null}});
        assert_eq!(serde_json::from_value::<Step>(short).unwrap(), Step::mixer(Value::Null));
    }
}
