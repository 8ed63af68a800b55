//! What a model keeps and reads, from its configuration and the headers of its files alone.
//!
//! Everything follows from the planes that its layers declare: bytes, formulas, alternatives and what other engines would take. No
//! mechanism is known here by name.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`layer`] | what the layers are: heads, widths, positions, planes |
//! | [`cache`] | bytes after so many tokens, in every type; the longest context that fits |
//! | [`alternative`] | what the same heads would keep as MHA, GQA, MQA and MLA |
//! | [`engine`] | what other engines allocate for the same context |
//! | [`weight`] | parameters: how many, in which types, how many one token reads |
//! | [`known`] | the same for models that were published |

pub mod alternative;
pub mod cache;
pub mod engine;
pub mod known;
pub mod layer;
pub mod weight;

use crate::checkpoint::{CheckpointError, config_beside};
use crate::description::Description;
use crate::family::Published;
use crate::plan::Plan;
use crate::source::Names;
use alternative::Alternative;
use attendant_formats::weights::{INDEX, WHOLE};
use attendant_formats::{Access, Weights};
use attendant_state::{Dtype, Growth, SequenceState, StateLayout, Storage};
use cache::{Cache, Decode};
use engine::Allocation;
use layer::Layers;
use serde::Serialize;
use std::path::{Path, PathBuf};
use weight::WeightReport;

/// Contexts whose bytes are stated, beside the model's own.
pub const CONTEXTS: [usize; 3] = [4096, 32_768, 131_072];

/// What is asked beside the model itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question {
    /// Bytes a second that memory gives.
    pub bandwidth: Option<f64>,
    /// Bytes that weights and cache may take together.
    pub memory: Option<f64>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file or folder.
    pub model: PathBuf,
    /// The family, as its configuration names it.
    pub family: String,
    /// Tokens that it was made for.
    pub context: usize,
    /// Width of the rows.
    pub d_model: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// What its layers are.
    pub layers: Layers,
    /// Bytes of what they keep.
    pub cache: Cache,
    /// What a step of decoding reads.
    pub decode: Vec<Decode>,
    /// What its heads would keep otherwise.
    pub alternatives: Vec<Alternative>,
    /// What other engines allocate, at the model's own context.
    pub engines: Vec<Allocation>,
    /// Parameters.
    pub weights: WeightReport,
    /// What is unusual, or could not be seen.
    pub warnings: Vec<String>,
}

/// Bytes as declared and as allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Tokens that were appended.
    pub tokens: usize,
    /// What the planes say.
    pub declared: usize,
    /// What the store holds.
    pub allocated: usize,
}

/// A model as its files describe it.
#[derive(Debug)]
pub struct Subject {
    path: PathBuf,
    family: String,
    plan: Plan,
    names: Names,
    weights: Option<Weights>,
    warnings: Vec<String>,
}

impl Subject {
    /// Reads headers: of a folder, a .gguf, a .safetensors with its config.json beside it, or a config.json alone.
    ///
    /// # Errors
    /// If a file cannot be read, or its family is not known or not supported.
    pub fn open(path: &Path) -> Result<Subject, CheckpointError> {
        let (config, weights) = files(path)?;
        let description = Description::read(path, config.as_deref(), weights.as_ref())?;
        let Description { family, published: Published { plan, names }, assumed, left_out, .. } = description;
        let mut warnings: Vec<String> = assumed.into_iter().chain(left_out).collect();
        if weights.is_none() {
            warnings.push("no weights here: sizes follow from the configuration, at two bytes a parameter".into());
        }
        Ok(Subject { path: path.into(), family, plan, names, weights, warnings })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Everything that can be said without weights in memory.
    ///
    /// # Errors
    /// If the plan cannot be built.
    pub fn report(&self, question: Question) -> attendant_core::Result<Report> {
        let plan = &self.plan;
        let layers = Layers::of_plan(plan)?;
        let weights = WeightReport::new(plan, &self.names, self.weights.as_ref())?;
        let mut warnings = self.warnings.clone();
        warnings.extend(weights.warnings());
        if let Some(files) = &self.weights {
            warnings.extend(weight::missing(plan, &self.names, files)?);
        }
        let layouts = layers.layouts();
        let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|&context| context != plan.context).collect();
        contexts.push(plan.context);
        contexts.sort_unstable();
        warnings.extend(beyond(&contexts, plan.context));
        warnings.extend(of_source(&layouts));
        let memory = question.memory.map(|memory| memory - weights.bytes as f64);
        let cache = Cache::new(&layouts, &contexts, memory, plan.embedding.positions.learned());
        Ok(Report {
            model: self.path.clone(),
            family: self.family.clone(),
            context: plan.context,
            d_model: plan.d_model,
            vocab_size: plan.vocab_size,
            decode: contexts.iter().map(|&at| Decode::new(&layouts, at, weights.bytes_per_token, question.bandwidth)).collect(),
            alternatives: alternative::all(&layers, plan.context),
            engines: engine::all(&layers, plan.context),
            layers,
            cache,
            weights,
            warnings,
        })
    }

    /// Bytes that a store of this type takes for so many tokens, as the planes say.
    ///
    /// # Errors
    /// If the plan cannot be built.
    pub fn declared(&self, tokens: usize, dtype: Dtype) -> attendant_core::Result<usize> {
        Ok(declared(&Layers::of_plan(&self.plan)?, tokens, dtype))
    }

    /// Appends rows to a store of this type and counts its memory, of which as much as [`Subject::declared`] is needed.
    ///
    /// # Errors
    /// If the plan cannot be built.
    pub fn measure(&self, tokens: usize, dtype: Dtype) -> attendant_core::Result<Measured> {
        Ok(measure(&Layers::of_plan(&self.plan)?, tokens, dtype))
    }
}

/// Appends rows for `tokens` tokens to every plane, a page at a time.
fn measure(layers: &Layers, tokens: usize, dtype: Dtype) -> Measured {
    let mut state = SequenceState::new(&layers.layouts(), Storage::paged(Storage::PAGE).dtype(dtype));
    let mut done = 0;
    while done < tokens {
        let rows = Storage::PAGE.min(tokens - done);
        for layer in 0..state.layers() {
            for index in 0..state.layer(layer).planes().len() {
                let store = state.layer_mut(layer).plane_mut(index);
                let plane = *store.plane();
                store.append(&vec![0.0; cache::new_rows(&plane, done, rows) * plane.width]);
            }
        }
        state.advance(rows);
        done += rows;
    }
    Measured { tokens, declared: declared(layers, tokens, dtype), allocated: state.allocated_bytes() }
}

/// Bytes of the pages that the rows of `tokens` tokens take.
fn declared(layers: &Layers, tokens: usize, dtype: Dtype) -> usize {
    let storage = Storage::paged(Storage::PAGE).dtype(dtype);
    layers.layouts().iter().map(|layout| layout.bytes(tokens, tokens, storage)).sum()
}

/// Where the configuration lies, and the headers of the weights, as far as there are any.
fn files(path: &Path) -> Result<(Option<PathBuf>, Option<Weights>), CheckpointError> {
    let open = |path: &Path| Weights::open(path, Access::Mapped).map_err(CheckpointError::from);
    if path.is_dir() {
        let config = path.join("config.json");
        let weights = [WHOLE, INDEX].iter().any(|name| path.join(name).exists());
        let weights = (weights || !config.exists()).then(|| open(path)).transpose()?;
        return Ok((config.exists().then_some(config), weights));
    }
    if path.extension().is_some_and(|end| end == "json") && !path.to_string_lossy().ends_with(".index.json") {
        return Ok((Some(path.into()), None));
    }
    Ok((config_beside(path), Some(open(path)?)))
}

/// A sentence about contexts that the model was not made for.
fn beyond(contexts: &[usize], own: usize) -> Option<String> {
    contexts
        .iter()
        .any(|&context| context > own)
        .then(|| format!("it was made for {own} tokens; what stands for more is arithmetic"))
}

/// A sentence about rows that follow the source and not the tokens.
fn of_source(layouts: &[StateLayout]) -> Option<String> {
    layouts
        .iter()
        .flat_map(StateLayout::planes)
        .any(|plane| plane.growth == Growth::PerSource)
        .then(|| "bytes at a context are with the rows of a source of equal length; those a token are of the target alone".into())
}
