//! A published model to be trained further: its parameters in 32 bits, and how its files are written again.
//!
//! A family's rules say which values of which tensor a parameter is. Going back, each value returns to the place it came from; what no
//! parameter needs stays as it was. So what is written has the tensors, the names and the configuration of what was read.

use crate::assembly::NamedTensor;
use crate::checkpoint::{self, CheckpointError, WIDENED, content, write};
use crate::decoder::Decoder;
use crate::description::Description;
use crate::family::{self, Published};
use crate::gguf;
use crate::language::Language;
use crate::source::{Names, Source};
use crate::tensor_file::Outgoing;
use crate::weights::Weights;
use attendant_core::Processor;
use attendant_formats::mapping;
use attendant_formats::weights::WHOLE;
use attendant_mech::Order;
use safetensors::tensor::Dtype;
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

/// Files beside the weights that go along as they are.
const BESIDE: [&str; 10] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];
/// The longest of them, in bytes.
const LONGEST_BESIDE: usize = 64 << 20;

/// How a published model lies in its files.
#[derive(Debug)]
pub struct Layout {
    config: Value,
    names: Names,
    tensors: Vec<Stored>,
    /// Files that go along, by name.
    beside: Vec<(String, Vec<u8>)>,
    notes: Vec<String>,
}

/// A tensor of the files.
#[derive(Debug)]
struct Stored {
    name: String,
    shape: Vec<usize>,
    rest: Rest,
}

/// What of a tensor no parameter holds.
#[derive(Debug)]
enum Rest {
    /// Nothing.
    None,
    /// Some of these values: all as they were read.
    Some(Vec<f32>),
    /// All of it.
    All(Dtype, Vec<u8>),
}

impl Layout {
    /// Reads a model with the values of all its parameters, from the folder of a published one or a GGUF file.
    ///
    /// # Errors
    /// As [`checkpoint::load`], or if the model cannot be trained, or not be written again.
    pub fn open(path: &Path) -> Result<(Decoder, Layout)> {
        let (decoder, layout) = if path.is_dir() { Layout::of_folder(path) } else { Layout::of_gguf(path) }?;
        let plan = decoder.plan();
        let cannot = match decoder.order() {
            _ if plan.encoder.is_some() => Some("it makes a target of a source"),
            Order::Causal => None,
            _ => Some("its rows see later ones, and it would find the next token there"),
        };
        match cannot {
            Some(why) => Err(content(path, format!("cannot be trained to predict a text: {why}"))),
            None => Ok((decoder, layout)),
        }
    }

    fn of_folder(folder: &Path) -> Result<(Decoder, Layout)> {
        let place = folder.join("config.json");
        let weights = Weights::open(folder, Processor::new(1))?;
        let Description { config, published, left_out, .. } = Description::read(folder, Some(&place), Some(weights.files()))?;
        let (decoder, names) = checkpoint::assemble(published, &place, &weights, WIDENED)?;
        let tensors = stored(&weights, &names, decoder.parameters())?;
        let there = BESIDE.into_iter().filter(|name| folder.join(name).exists());
        let read = |name: &str| Ok((name.to_owned(), mapping::read(&folder.join(name), LONGEST_BESIDE)?));
        let beside = there.map(read).collect::<Result<_>>()?;
        let notes = left_out.into_iter().chain(widened(&weights, &decoder)).collect();
        Ok((decoder, Layout { config, names, tensors, beside, notes }))
    }

    /// The folder that a GGUF file would be, had it been published as one.
    fn of_gguf(path: &Path) -> Result<(Decoder, Layout)> {
        let weights = Weights::open(path, Processor::new(1))?;
        let metadata = weights.gguf().ok_or_else(|| content(path, "got weights without a configuration, wanted their folder"))?;
        let mapped = gguf::configuration(metadata, weights.files()).map_err(|why| content(path, why))?;
        let unpaired = mapped.unpaired().map_err(|why| content(path, why))?;
        let (decoder, _) = checkpoint::assemble(unpaired, path, &weights, WIDENED)?;
        let Published { names, .. } = family::read(&mapped.config).map_err(|why| content(path, why))?;
        let tensor = |parameter: &NamedTensor| {
            let source = names.source(&parameter.name);
            let less = || parameter.tensor.data().iter().map(|x| x - 1.0).collect();
            let rest = if source.adds_one() { Rest::Some(less()) } else { Rest::None };
            match source.is_whole() {
                true => Ok(Stored { name: source.tensor, shape: parameter.tensor.shape().to_vec(), rest }),
                false => Err(content(path, format!("cannot be written as published: {} is a part there", source.tensor))),
            }
        };
        let mut tensors = decoder.parameters().iter().map(tensor).collect::<Result<Vec<_>>>()?;
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let beside = Language::open(path)?.files(metadata)?;
        let written = "checkpoints are folders of the published form, with model.safetensors in f32, and no GGUF files";
        let notes = widened(&weights, &decoder).into_iter().chain([written.into()]).collect();
        Ok((decoder, Layout { config: mapped.config, names, tensors, beside, notes }))
    }

    /// Sentences about what of the model is not read, what is made of its weights, and what is written, where that is not as usual.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Writes the model as it was published, with its parameters as they are now, in 32 bits.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, decoder: &Decoder, folder: &Path) -> Result<()> {
        let path = folder.join(WHOLE);
        let mut readers: Vec<Vec<&NamedTensor>> = self.tensors.iter().map(|_| Vec::new()).collect();
        for parameter in decoder.parameters() {
            parts(&self.tensors, &self.names.source(&parameter.name)).into_iter().for_each(|part| readers[part].push(parameter));
        }
        let outgoing = self.tensors.iter().zip(readers).enumerate().map(|(i, (Stored { name, shape, rest }, readers))| {
            match (rest, &readers[..]) {
                (Rest::All(dtype, bytes), _) => Outgoing::bytes(name, *dtype, shape, bytes),
                (Rest::None, [only]) if self.names.source(&only.name).is_whole() => {
                    Outgoing::floats(name, shape, only.tensor.data())
                }
                _ => Outgoing::made(name, shape, move || self.values(i, &readers)),
            }
        });
        checkpoint::write_tensors(&path, outgoing.collect())?;
        let path = folder.join("config.json");
        write(&path, &serde_json::to_vec_pretty(&self.written()).map_err(|why| content(&path, why))?)?;
        self.beside.iter().try_for_each(|(name, bytes)| write(&folder.join(name), bytes))
    }

    /// The values of a tensor that these parameters come from, with theirs as they are now.
    fn values(&self, tensor: usize, readers: &[&NamedTensor]) -> std::result::Result<Vec<f32>, String> {
        let Stored { shape, rest, .. } = &self.tensors[tensor];
        let mut values = match rest {
            Rest::Some(values) => values.clone(),
            Rest::None | Rest::All(..) => vec![0.0; shape.iter().product()],
        };
        for parameter in readers {
            let source = self.names.source(&parameter.name);
            let one = source.adds_one();
            // A value that has not moved is written as it was read: with one added and taken away it may be another.
            let set = |to: &mut f32, now: f32| match one {
                true if *to + 1.0 == now => {}
                true => *to = now - 1.0,
                false => *to = now,
            };
            let now = parameter.tensor.data();
            match source.is_whole() {
                true => values.iter_mut().zip(now).for_each(|(to, &now)| set(to, now)),
                false => {
                    let parts = parts(&self.tensors, &source);
                    let places = places(&self.tensors, &source, parameter)?.into_iter().zip(now);
                    let here = places.filter(|((part, _), _)| parts[*part] == tensor);
                    here.for_each(|((_, at), &now)| set(&mut values[at], now));
                }
            }
        }
        Ok(values)
    }

    /// The configuration, of weights in 32 bits.
    fn written(&self) -> Value {
        let mut config = self.config.clone();
        let older = config.get("torch_dtype").is_some().then_some("torch_dtype");
        for key in ["dtype"].into_iter().chain(older) {
            config[key] = "float32".into();
        }
        config
    }

    /// Parameters with values that do not come back from the files with all their bits: such as lack a one there, and are small with it.
    pub fn inexact<'a>(&self, decoder: &'a Decoder) -> Vec<&'a NamedTensor> {
        let lacks = |parameter: &&NamedTensor| self.names.source(&parameter.name).adds_one();
        let moves = |parameter: &&NamedTensor| parameter.tensor.data().iter().any(|x| x - 1.0 + 1.0 != *x);
        decoder.parameters().iter().filter(lacks).filter(moves).collect()
    }
}

/// A sentence about weights of few bits, if there are any.
fn widened(weights: &Weights, decoder: &Decoder) -> Option<String> {
    let few = weights.tensors().filter(|tensor| tensor.dtype.block_elements() > 1);
    let types: Vec<&str> = few.map(|tensor| tensor.dtype.name()).collect::<BTreeSet<_>>().into_iter().collect();
    // Parameters, gradients and the two moments of AdamW.
    let gigabytes = 4.0 * size_of::<f32>() as f64 * decoder.parameter_count() as f64 / 1e9;
    let sentence = || format!("weights of {} become f32, with gradients and moments {gigabytes:.2} GB", types.join(", "));
    (!types.is_empty()).then(sentence)
}

/// The tensors of a checkpoint, and what of them no parameter holds.
fn stored(weights: &Weights, names: &Names, parameters: &[NamedTensor]) -> Result<Vec<Stored>> {
    let refuse = |name: &str, why: &str| content(&weights.path, format!("tensor {name}: {why}"));
    let views = weights.tensors().filter(|tensor| !names.repeats(tensor.name));
    let mut tensors: Vec<Stored> =
        views.map(|view| Stored { name: view.name.into(), shape: view.shape.to_vec(), rest: Rest::None }).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    // How often each value is read.
    let mut reads: Vec<Vec<u8>> = tensors.iter().map(|tensor| vec![0; tensor.shape.iter().product()]).collect();
    let mut lacking = HashSet::new();
    for parameter in parameters {
        let source = names.source(&parameter.name);
        let parts = parts(&tensors, &source);
        let count = |reads: &mut u8| *reads = reads.saturating_add(1);
        match parts[..] {
            [part] if source.is_whole() => reads[part].iter_mut().for_each(count),
            _ => {
                let places = places(&tensors, &source, parameter).map_err(|why| refuse(&source.tensor, &why))?;
                places.into_iter().for_each(|(part, at)| count(&mut reads[parts[part]][at]));
            }
        }
        if source.adds_one() {
            lacking.extend(parts);
        }
    }
    for (i, (tensor, reads)) in tensors.iter_mut().zip(&reads).enumerate() {
        let name = tensor.name.clone();
        tensor.rest = match (reads.iter().min(), reads.iter().max()) {
            (_, Some(2..)) => return Err(refuse(&name, "cannot be trained: several parameters are one there, and would part")),
            (Some(1), _) if !lacking.contains(&i) => Rest::None,
            (_, Some(0) | None) => {
                let view = weights.stored(&name).map_err(|why| refuse(&name, &why))?;
                let dtype = serde_json::from_value(view.dtype.name().into()).map_err(|why| refuse(&name, &why.to_string()))?;
                Rest::All(dtype, view.bytes.to_vec())
            }
            _ => Rest::Some(weights.values(&name).map_err(|why| refuse(&name, &why))?),
        };
    }
    Ok(tensors)
}

/// Which tensors, of all in the order of their names, a parameter comes from.
fn parts(tensors: &[Stored], source: &Source<'_>) -> Vec<usize> {
    let of = |name: &str| tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok();
    let short = |name: &str| name.split_once('.').and_then(|(_, rest)| of(rest));
    source.tensors().iter().filter_map(|name| of(name).or_else(|| short(name))).collect()
}

/// Where the values of a parameter lie: in which of its tensors, and where in it.
fn places(tensors: &[Stored], source: &Source<'_>, parameter: &NamedTensor) -> std::result::Result<Vec<(usize, usize)>, String> {
    let shapes: Vec<&[usize]> = parts(tensors, source).into_iter().map(|part| &tensors[part].shape[..]).collect();
    source.places(&shapes, parameter.tensor.shape())
}
