//! Models that were published: which attention they use, and what it keeps.
//!
//! The table holds facts alone: a model's configuration as its makers published it, and where. What a layer keeps is computed from
//! that by the same code that reads any config.json; only for families that are not supported are the planes written down.

use super::cache;
use super::layer::{Group, Layers, Mixer, PlaneReport};
use super::weight;
use crate::family;
use crate::plan::Plan;
use attendant_core::{Error, Result};
use attendant_state::{Dtype, Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

const TABLE: &str = include_str!("known.json");

/// A published model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Who made it.
    pub by: String,
    /// When it was published, year and month.
    pub date: String,
    /// Its parameters, as its makers count them.
    #[serde(default)]
    pub parameters: Option<String>,
    /// The keys of its config.json that matter here, for a family that is supported.
    #[serde(default)]
    config: Option<Value>,
    /// What its layers are, for a family that is not.
    #[serde(default)]
    layers: Vec<Given>,
    #[serde(default)]
    context: usize,
    /// The file or the paper that says so.
    pub source: String,
    /// Where a copy of that file was read.
    #[serde(default)]
    pub copy: Option<String>,
}

/// Layers as they are written down.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    count: usize,
    mechanism: String,
    #[serde(default)]
    heads: Option<usize>,
    planes: Vec<GivenPlane>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenPlane {
    name: String,
    #[serde(default = "one")]
    heads: usize,
    width: usize,
    growth: GivenGrowth,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GivenGrowth {
    Token,
    Once,
    Source,
    Window(usize),
    Block(usize),
}

fn one() -> usize {
    1
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The model.
    pub name: String,
    /// Who made it.
    pub by: String,
    /// Year and month.
    pub date: String,
    /// Parameters as its makers count them.
    pub parameters: Option<String>,
    /// Parameters as the configuration gives them, where its family is supported.
    pub counted: Option<usize>,
    /// Whether this program can run it.
    pub supported: bool,
    /// Tokens it was made for.
    pub context: usize,
    /// What its layers do: `5 of 6 layers gqa 32/16 window 1,024; 1 gqa 32/16`.
    pub attention: String,
    /// Values that one more token adds before any window is full.
    pub values_per_token: f64,
    /// Values that one more token adds later.
    pub values_per_token_later: f64,
    /// Bytes in bf16 after 32,768 tokens.
    pub bytes_at_32k: usize,
    /// Its layers.
    pub layers: Vec<Group>,
    /// The file or the paper that says so.
    pub source: String,
    /// Where a copy of that file was read.
    pub copy: Option<String>,
}

/// Every model of the table, oldest first.
///
/// # Panics
/// If the table is not what this crate was tested with.
pub fn known() -> Vec<Known> {
    serde_json::from_str(TABLE).expect("the table is part of the program")
}

impl Known {
    /// Its plan, if its family is supported.
    fn plan(&self) -> Result<Option<Plan>> {
        self.config.as_ref().map(|config| family::read(config).map(|published| published.plan)).transpose()
    }

    /// What it keeps.
    ///
    /// # Errors
    /// If its configuration cannot be read.
    pub fn row(&self) -> Result<Row> {
        let named = |why: Error| Error::config(&self.name, why.to_string());
        let plan = self.plan().map_err(named)?;
        let layers = match &plan {
            Some(plan) => Layers::of_plan(plan)?,
            None => self.given(),
        };
        let layouts = layers.layouts();
        let sizes = cache::Cache::new(&layouts, &[], None, None);
        Ok(Row {
            name: self.name.clone(),
            by: self.by.clone(),
            date: self.date.clone(),
            parameters: self.parameters.clone(),
            counted: plan.as_ref().map(weight::parameters).transpose()?.map(|(all, _)| all),
            supported: plan.is_some(),
            context: plan.as_ref().map_or(self.context, |plan| plan.context),
            attention: attention(&layers),
            values_per_token: sizes.values_per_token,
            values_per_token_later: sizes.values_per_token_later,
            bytes_at_32k: cache::bytes(&layouts, 32_768, Dtype::Bf16),
            layers: layers.groups,
            source: self.source.clone(),
            copy: self.copy.clone(),
        })
    }

    fn given(&self) -> Layers {
        let mut layers = Layers::default();
        for given in &self.layers {
            let first = layers.count();
            (first..first + given.count).for_each(|place| layers.push(place, vec![given.mixer()]));
        }
        layers
    }
}

impl Given {
    fn mixer(&self) -> Mixer {
        // A layout names its planes by constants; the names that are shown are the table's.
        const NAMES: [&str; 6] = ["0", "1", "2", "3", "4", "5"];
        let planes = self.planes.iter().zip(NAMES).map(|(given, name)| given.plane(name)).collect::<Vec<_>>();
        let reports = self.planes.iter().zip(&planes).map(|(given, plane)| PlaneReport::new(&given.name, plane)).collect();
        Mixer {
            mechanism: self.mechanism.clone(),
            heads: self.heads,
            kv_heads: planes.first().map(|plane| plane.heads).filter(|_| self.planes.iter().any(|plane| plane.name == "k")),
            d_qk: None,
            d_v: None,
            positions: String::new(),
            sees: String::new(),
            planes: reports,
            layout: StateLayout::new(planes),
        }
    }
}

impl GivenPlane {
    fn plane(&self, name: &'static str) -> Plane {
        let growth = match self.growth {
            GivenGrowth::Token => Growth::PerToken,
            GivenGrowth::Once => Growth::Constant,
            GivenGrowth::Source => Growth::PerSource,
            GivenGrowth::Window(window) => Growth::Ring { window, keep: 0 },
            GivenGrowth::Block(tokens) => Growth::PerBlock { tokens },
        };
        Plane::new(name, self.width, growth).heads(self.heads)
    }
}

/// What the models of one year use.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Year {
    /// The year.
    pub year: String,
    /// How many models of it there are.
    pub models: usize,
    /// How many keep rows of each kind; those whose layers keep no rows are `none`.
    pub keeps: BTreeMap<String, usize>,
    /// How many have layers that see a window or a chunk.
    pub windows: usize,
    /// How many have layers whose state does not grow.
    pub states: usize,
}

/// The answer to which attention models use, year by year.
pub fn years(rows: &[Row]) -> Vec<Year> {
    let mut years: Vec<Year> = Vec::new();
    for row in rows {
        let year = row.date.split('-').next().unwrap_or_default();
        if years.last().is_none_or(|last| last.year != year) {
            years.push(Year { year: year.into(), ..Year::default() });
        }
        let Some(of) = years.last_mut() else { continue };
        let mixers = || row.layers.iter().flat_map(|group| &group.mixers);
        let has =
            |wanted: fn(&Growth) -> bool| mixers().flat_map(|mixer| mixer.layout.planes()).any(|plane| wanted(&plane.growth));
        of.models += 1;
        *of.keeps.entry(rows_of(mixers())).or_default() += 1;
        of.windows += usize::from(has(|growth| matches!(growth, Growth::Ring { .. })));
        of.states += usize::from(has(|growth| *growth == Growth::Constant));
    }
    years
}

/// The kind of the mechanism that keeps the most rows.
fn rows_of<'a>(mixers: impl Iterator<Item = &'a Mixer>) -> String {
    let rank = |mixer: &&Mixer| {
        let rank = |plane: &Plane| match plane.growth {
            Growth::PerToken => 3,
            Growth::PerBlock { .. } => 2,
            Growth::Ring { .. } => 1,
            Growth::Constant | Growth::PerSource => 0,
        };
        mixer.layout.planes().iter().map(rank).max().unwrap_or(0)
    };
    let most = mixers.max_by_key(rank).filter(|mixer| rank(mixer) > 0);
    most.map_or("none".into(), |mixer| mixer.mechanism.split([',', ' ']).next().unwrap_or_default().into())
}

/// What layers do, in few words: each kind with its heads, its window and the number of layers that have it.
pub fn attention(layers: &Layers) -> String {
    let all = layers.count();
    // Layers that differ in positions alone are one kind here.
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for group in &layers.groups {
        let name = group.mixers.iter().map(in_words).collect::<Vec<_>>().join(" and ");
        match kinds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += group.places.len(),
            None => kinds.push((name, group.places.len())),
        }
    }
    let words = kinds.iter().map(|(name, count)| if *count == all { name.clone() } else { format!("{count} {name}") });
    words.collect::<Vec<_>>().join(", ")
}

fn in_words(mixer: &Mixer) -> String {
    let (name, rest) = mixer.mechanism.split_once(',').map_or((mixer.mechanism.as_str(), ""), |(name, rest)| (name, rest));
    let mut words = match (mixer.heads, mixer.kv_heads) {
        (Some(heads), Some(kv_heads)) => format!("{name} {heads}/{kv_heads}"),
        (Some(heads), None) => format!("{name} {heads}"),
        _ => name.to_owned(),
    };
    if mixer.sees.starts_with("chunks") {
        words = format!("{words} {}", mixer.sees);
    } else if let Some(window) = mixer.window() {
        words += &format!(" window {window}");
    }
    if rest.is_empty() { words } else { format!("{words},{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        known().iter().map(|known| known.row().unwrap()).collect()
    }

    fn row(name: &str) -> Row {
        rows().into_iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// `6.7B`, `135M`, `1.03T`.
    fn count(text: &str) -> f64 {
        let (digits, unit) = text.split_at(text.len() - 1);
        let unit = match unit {
            "M" => 1e6,
            "B" => 1e9,
            "T" => 1e12,
            other => panic!("{other} in {text}"),
        };
        digits.parse::<f64>().unwrap() * unit
    }

    /// A width, a layer or an expert that was copied wrong would show here.
    #[test]
    fn configurations_have_as_many_parameters_as_their_makers_say() {
        for row in rows() {
            if let (Some(counted), Some(said)) = (row.counted, &row.parameters) {
                let apart = counted as f64 / count(said) - 1.0;
                assert!(apart.abs() < 0.04, "{}: counted {counted}, published {said}", row.name);
            }
        }
    }

    #[test]
    fn every_model_has_layers_and_a_source_and_stands_once() {
        let rows = rows();
        assert!(rows.len() >= 60);
        for (i, row) in rows.iter().enumerate() {
            let complete = !row.layers.is_empty() && row.context > 0 && !row.source.is_empty() && row.date.len() >= 4;
            assert!(complete, "{}", row.name);
            assert!(rows[..i].iter().all(|other| other.name != row.name), "{} twice", row.name);
            assert!(i == 0 || rows[i - 1].date <= row.date || row.date.len() == 4, "{} is out of order", row.name);
        }
    }

    /// Figures that the papers and the makers state themselves.
    #[test]
    fn values_a_token_of_models_whose_makers_state_them() {
        for (name, values) in [
            ("Llama 2 7B", 262_144.0),
            ("Llama 3 8B", 65_536.0),
            ("Falcon 7B", 4096.0),
            ("DeepSeek V3", 61.0 * 576.0),
            ("DeepSeek V2", 34_560.0),
            ("DeepSeek V2 Lite", 27.0 * 576.0),
        ] {
            assert_eq!(row(name).values_per_token, values, "{name}");
        }
    }

    #[test]
    fn layers_are_told_in_few_words() {
        assert_eq!(row("BERT base").values_per_token, 0.0);
        assert_eq!(row("T5 small").attention, "mha 8/8 and cross 8/8");
        assert_eq!(row("Llama 3 8B").attention, "gqa 32/8");
        assert_eq!(row("Gemma 3 27B").attention, "52 gqa 32/16 window 1024, 10 gqa 32/16");
        assert_eq!(row("Kimi Linear 48B A3B").attention, "20 kimi delta attention 32, 7 mla 32, no positions");
    }

    #[test]
    fn every_year_counts_its_models_once() {
        let rows = rows();
        let years = years(&rows);
        assert_eq!(years.iter().map(|year| year.models).sum::<usize>(), rows.len());
        for year in &years {
            assert_eq!(year.keeps.values().sum::<usize>(), year.models, "{}", year.year);
        }
    }
}
