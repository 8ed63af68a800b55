//! What the layers of a model are, equal ones together.

use crate::plan::{Plan, Positions};
use attendant_core::Result;
use attendant_mech::{Mechanism, Order, build};
use attendant_state::{Growth, Plane, StateLayout};
use serde::Serialize;
use serde_json::Value;

/// The layers of a model: groups of equal ones.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Layers {
    /// The groups, in the order of their first layers.
    pub groups: Vec<Group>,
}

/// Layers that are equal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Which layers, counted from 0.
    pub places: Vec<usize>,
    /// What exchanges information between rows in each of them.
    pub mixers: Vec<Mixer>,
}

/// One mechanism of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mixer {
    /// What it is called: a mechanism of this program, or its own name where it is none.
    pub mechanism: String,
    /// Query heads.
    pub heads: Option<usize>,
    /// Key heads, where they are counted.
    pub kv_heads: Option<usize>,
    /// Values of a query or a key of one head.
    pub d_qk: Option<usize>,
    /// Values of a value of one head.
    pub d_v: Option<usize>,
    /// How positions enter.
    pub positions: String,
    /// Which keys a query sees.
    pub sees: String,
    /// What it keeps.
    pub planes: Vec<PlaneReport>,
    /// The same, to count with.
    #[serde(skip)]
    pub layout: StateLayout,
}

/// A plane as text and numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaneReport {
    /// Its name.
    pub name: String,
    /// Parts of a row.
    pub heads: usize,
    /// Values of a row.
    pub width: usize,
    /// When rows are added, and which stay.
    pub growth: String,
}

impl PlaneReport {
    pub(super) fn new(name: &str, plane: &Plane) -> PlaneReport {
        PlaneReport { name: name.into(), heads: plane.heads, width: plane.width, growth: growth(plane.growth) }
    }
}

/// When rows are added, and which stay.
fn growth(growth: Growth) -> String {
    match growth {
        Growth::PerToken => "per token".into(),
        Growth::PerBlock { tokens } => format!("per {tokens} tokens"),
        Growth::Ring { window, keep: 0 } => format!("per token, the last {window}"),
        Growth::Ring { window, keep } => format!("per token, the last {window} and the first {keep}"),
        Growth::Constant => "once".into(),
        Growth::PerSource => "per source row".into(),
    }
}

impl Layers {
    /// Those of a plan.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn of_plan(plan: &Plan) -> Result<Layers> {
        plan.check()?;
        let mut layers = Layers::default();
        for (place, layer) in plan.layers.iter().enumerate() {
            let mixers = layer.mixers().map(|config| Ok(Mixer::new(plan, config, &*build(config)?)));
            layers.push(place, mixers.collect::<Result<_>>()?);
        }
        Ok(layers)
    }

    /// Adds a layer to the group of its equals.
    pub(super) fn push(&mut self, place: usize, mixers: Vec<Mixer>) {
        match self.groups.iter_mut().find(|group| group.mixers == mixers) {
            Some(group) => group.places.push(place),
            None => self.groups.push(Group { places: vec![place], mixers }),
        }
    }

    /// How many layers there are.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.places.len()).sum()
    }

    /// What every mechanism of every layer keeps.
    pub fn layouts(&self) -> Vec<StateLayout> {
        self.counted().flat_map(|(count, mixer)| std::iter::repeat_n(mixer.layout.clone(), count)).collect()
    }

    /// The mechanisms, each with the number of layers that have it.
    pub fn counted(&self) -> impl Iterator<Item = (usize, &Mixer)> {
        self.groups.iter().flat_map(|group| group.mixers.iter().map(|mixer| (group.places.len(), mixer)))
    }
}

impl Mixer {
    fn new(plan: &Plan, config: &Value, mechanism: &dyn Mechanism) -> Mixer {
        let size = |name: &str| config.get(name).and_then(Value::as_u64).map(|size| size as usize);
        // What sees everything is given everything at once: nothing has to stay.
        let layout = if mechanism.order() == Order::Bidirectional { StateLayout::default() } else { mechanism.state() };
        let (heads, kv_heads) = (size("heads"), size("kv_heads"));
        let nope = size("d_nope").zip(size("d_rope")).map(|(nope, rope)| nope + rope);
        let kind = config.get("kind").and_then(Value::as_str).unwrap_or_default();
        let sharing = shared(heads, kv_heads).filter(|_| mechanism.order() != Order::Cross);
        Mixer {
            mechanism: sharing.unwrap_or(kind).into(),
            heads,
            kv_heads,
            d_qk: size("d_head").or(nope),
            d_v: size("d_head").or(size("d_v")),
            positions: positions(plan, config),
            sees: sees(config, mechanism.order(), &layout),
            planes: layout.planes().iter().map(|plane| PlaneReport::new(plane.name, plane)).collect(),
            layout,
        }
    }

    /// What one more token adds, as a sum of products: `k 8 x 128 + v 8 x 128`.
    pub fn formula(&self) -> String {
        let terms = self.layout.planes().iter().zip(&self.planes).map(|(plane, named)| {
            let row = match plane.heads {
                1 => format!("{} {}", named.name, plane.width),
                heads => format!("{} {heads} x {}", named.name, plane.width / heads),
            };
            match plane.growth {
                Growth::PerToken | Growth::Ring { .. } => row,
                Growth::PerBlock { tokens } => format!("{row} / {tokens}"),
                Growth::Constant => format!("{row} once"),
                Growth::PerSource => format!("{row} per source row"),
            }
        });
        terms.collect::<Vec<_>>().join(" + ")
    }

    /// The rows that stay of a plane that forgets, counting the row that a query adds itself.
    pub fn window(&self) -> Option<usize> {
        self.layout.planes().iter().find_map(|plane| match plane.growth {
            Growth::Ring { window, keep } => Some(window + keep + 1),
            _ => None,
        })
    }
}

/// What sharing of key heads is called.
pub(super) fn shared(heads: Option<usize>, kv_heads: Option<usize>) -> Option<&'static str> {
    match (heads?, kv_heads?) {
        (heads, kv_heads) if heads == kv_heads => Some("mha"),
        (_, 1) => Some("mqa"),
        _ => Some("gqa"),
    }
}

fn positions(plan: &Plan, config: &Value) -> String {
    let rotary = config.get("rotary");
    // Latent attention says its rotation without an object of its own.
    let base = rotary.and_then(|rotary| rotary.get("base")).or(config.get("base")).and_then(Value::as_f64);
    let width = rotary.and_then(|rotary| rotary.get("width")).or(config.get("d_rope")).and_then(Value::as_u64);
    if let Some((base, width)) = base.zip(width) {
        let scaling = rotary.and_then(|rotary| rotary.get("scaling")).or(config.get("scaling"));
        let scaling = match scaling {
            Some(Value::String(kind)) => Some(kind.as_str()),
            Some(Value::Object(kinds)) => kinds.keys().next().map(String::as_str),
            _ => None,
        };
        let scaling = scaling.filter(|kind| *kind != "none").map_or_else(String::new, |kind| format!(", {kind}"));
        return format!("rotary {width}, base {base}{scaling}");
    }
    match config.get("pattern").and_then(|pattern| pattern.get("bias")) {
        Some(Value::String(kind)) => return kind.clone(),
        Some(Value::Object(kinds)) => return kinds.keys().next().cloned().unwrap_or_default(),
        _ => {}
    }
    match plan.embedding.positions {
        Positions::None => "none",
        Positions::Learned { .. } | Positions::Counted { .. } => "learned",
        Positions::Sinusoidal => "sinusoidal",
    }
    .into()
}

fn sees(config: &Value, order: Order, layout: &StateLayout) -> String {
    let ring = layout.planes().iter().find_map(|plane| match plane.growth {
        Growth::Ring { window, keep } => Some((window + 1, keep)),
        _ => None,
    });
    let kind = config.get("pattern").and_then(|pattern| pattern.get("see")).and_then(Value::as_object);
    match (ring, kind.and_then(|kinds| kinds.iter().next())) {
        (_, Some((kind, size))) => match kind.as_str() {
            "chunk" => format!("chunks of {size}"),
            "prefix" => format!("a prefix of {size}, and what came before"),
            _ => format!("{kind} {size}"),
        },
        (Some((window, 0)), None) => format!("a window of {window}"),
        (Some((window, keep)), None) => format!("a window of {window} and the first {keep}"),
        (None, None) => match order {
            Order::Causal => "all before",
            Order::Bidirectional => "all",
            Order::Cross => "the source",
        }
        .into(),
    }
}

/// Numbers of layers as ranges, the middle ones left out of more than four: `0-4, 6-10, ... 30-34`.
pub fn places(places: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &place in places {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == place => *end = place,
            _ => ranges.push((place, place)),
        }
    }
    let shown = ranges.iter().map(|(start, end)| if start == end { start.to_string() } else { format!("{start}-{end}") });
    let shown: Vec<String> = shown.collect();
    match shown.as_slice() {
        [first, second, .., last] if shown.len() > 4 => format!("{first}, {second}, ... {last}"),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ranges_and_steps() {
        assert_eq!(places(&[0, 1, 2, 3]), "0-3");
        assert_eq!(places(&[7]), "7");
        assert_eq!(places(&[0, 2, 4, 6]), "0, 2, 4, 6");
        assert_eq!(places(&[0, 2, 4, 6, 8]), "0, 2, ... 8");
        assert_eq!(places(&[0, 1, 2, 4, 5, 6, 8]), "0-2, 4-6, 8");
        let sliding: Vec<usize> = (0..36).filter(|layer| (layer + 1) % 6 != 0).collect();
        assert_eq!(places(&sliding), "0-4, 6-10, ... 30-34");
    }
}
