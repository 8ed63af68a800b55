//! Parameters: how many, in which types, and how many of them one token needs.

use crate::assembly::shapes;
use crate::plan::{FeedForward, Layer, Part, Plan};
use crate::source::Names;
use attendant_core::Result;
use attendant_formats::Weights;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a parameter where no file says them.
const ASSUMED: usize = 2;
/// Published counts may leave out buffers that follow from the configuration; more than this is another model.
const SLACK: f64 = 0.01;

/// The parameters of a model.
#[derive(Clone, Debug, Serialize)]
pub struct WeightReport {
    /// As the configuration says.
    pub parameters: usize,
    /// Those that one token goes through: experts that it does not choose are not among them, nor is a table that it reads one
    /// row of.
    pub active: usize,
    /// Bytes of all weights.
    pub bytes: usize,
    /// Bytes of weights that one step of decoding reads: the share of the parameters that is active.
    pub bytes_per_token: f64,
    /// Elements in the files, without tensors that follow from others or serve another purpose; none where there are no files.
    pub in_files: Option<usize>,
    /// The types in the files.
    pub dtypes: Vec<TypeReport>,
}

/// The tensors of one type.
#[derive(Clone, Debug, Serialize)]
pub struct TypeReport {
    /// The type, in the words of its format.
    pub dtype: String,
    /// How many tensors.
    pub tensors: usize,
    /// Their elements.
    pub elements: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl WeightReport {
    /// Of a plan, and of its files if there are any.
    ///
    /// # Errors
    /// If the plan cannot be built.
    pub(super) fn new(plan: &Plan, names: &Names, files: Option<&Weights>) -> Result<WeightReport> {
        let (parameters, active) = parameters(plan)?;
        let dtypes = files.map(types).unwrap_or_default();
        let bytes = if files.is_some() { dtypes.iter().map(|dtype| dtype.bytes).sum() } else { parameters * ASSUMED };
        let needed =
            |files: &Weights| files.iter().filter(|tensor| !names.ignores(tensor.name)).map(|tensor| tensor.elements()).sum();
        Ok(WeightReport {
            parameters,
            active,
            bytes,
            bytes_per_token: bytes as f64 * active as f64 / parameters as f64,
            in_files: files.map(needed),
            dtypes,
        })
    }

    /// What is odd about them.
    pub fn warnings(&self) -> Option<String> {
        let in_files = self.in_files?;
        let apart = (in_files as f64 / self.parameters as f64 - 1.0).abs();
        let why = || format!("the files hold {in_files} elements where the configuration wants {}", self.parameters);
        (apart > SLACK).then(why)
    }
}

/// All parameters of a plan, and those that one token goes through.
pub(super) fn parameters(plan: &Plan) -> Result<(usize, usize)> {
    let (plan, times) = once(plan);
    let (mut all, mut active) = (0, 0.0);
    for (name, shape) in shapes(&plan)? {
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let count = layer.map_or(1, |layer| times[layer]) * shape.iter().product::<usize>();
        all += count;
        active += count as f64 * share(&plan, &name, &shape);
    }
    Ok((all, active.round() as usize))
}

/// The plan with one of each kind of layer, and how many there are of it: a model of experts has tens of thousands of tensors. Plans
/// without experts stay whole, since their layers may share a parameter.
fn once(plan: &Plan) -> (Plan, Vec<usize>) {
    let experts = |layer: &Layer| layer.steps.iter().any(|step| matches!(step.part, Part::FeedForward(FeedForward::Experts(_))));
    if !plan.layers.iter().any(experts) {
        return (plan.clone(), vec![1; plan.layers.len()]);
    }
    let (mut layers, mut times) = (Vec::<Layer>::new(), Vec::new());
    for layer in &plan.layers {
        match layers.iter().position(|known| known == layer) {
            Some(place) => times[place] += 1,
            None => {
                layers.push(layer.clone());
                times.push(1);
            }
        }
    }
    (Plan { layers, ..plan.clone() }, times)
}

/// A sentence about tensors that the plan wants and the files lack.
pub(super) fn missing(plan: &Plan, names: &Names, files: &Weights) -> Result<Option<String>> {
    // Some files leave out the first component, which names the whole model.
    let there = |name: &str| files.get(name).is_some() || name.split_once('.').is_some_and(|(_, rest)| files.get(rest).is_some());
    let mut lacking = Vec::new();
    for (parameter, _) in shapes(plan)? {
        lacking.extend(names.source(&parameter).tensors().into_iter().filter(|name| !there(name)));
    }
    let first = lacking.first();
    Ok(first.map(|first| format!("the files lack {} tensors that the configuration wants, the first {first:?}", lacking.len())))
}

/// The share of a parameter that one token reads.
fn share(plan: &Plan, name: &str, shape: &[usize]) -> f64 {
    let row = 1.0 / shape.first().copied().unwrap_or(1) as f64;
    match name.split('.').collect::<Vec<_>>()[..] {
        ["model", "embed_tokens", ..] if !plan.head.tied => row,
        [_, "embed_positions" | "embed_token_types", ..] => row,
        ["model", "layers", layer, .., "experts", _, _, _] => chosen(plan, layer),
        _ => 1.0,
    }
}

/// The share of the experts of a layer that a row goes through.
fn chosen(plan: &Plan, layer: &str) -> f64 {
    let layer = layer.parse().ok().and_then(|layer: usize| plan.layers.get(layer));
    let experts = layer.into_iter().flat_map(|layer| &layer.steps).find_map(|step| match &step.part {
        Part::FeedForward(FeedForward::Experts(experts)) => Some(experts),
        _ => None,
    });
    experts.map_or(1.0, |experts| experts.routing.chosen as f64 / (experts.count + experts.identities) as f64)
}

/// The tensors of the files by type, the largest part first.
fn types(files: &Weights) -> Vec<TypeReport> {
    let mut types: BTreeMap<&str, TypeReport> = BTreeMap::new();
    for tensor in files.iter() {
        let name = tensor.dtype.name();
        let empty = TypeReport { dtype: name.into(), tensors: 0, elements: 0, bytes: 0 };
        let of = types.entry(name).or_insert(empty);
        of.tensors += 1;
        of.elements += tensor.elements();
        of.bytes += tensor.bytes.len();
    }
    let mut types: Vec<TypeReport> = types.into_values().collect();
    types.sort_by_key(|dtype| std::cmp::Reverse(dtype.bytes));
    types
}
