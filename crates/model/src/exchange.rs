//! Tokens in, logits out, as files: how engines are compared stage by stage.
//!
//! In: `input_ids` I64 `[B, T]`; where there is padding `attention_mask` `[B, T]`, 1 for what is visible; for models that know kinds
//! of tokens `token_type_ids`; for models with an encoder, whose source the ids are then, `decoder_input_ids` `[B, U]`.
//! Out: `logits` F32 `[B, T, V]`, zeros where there is padding; of the first row `hidden.N`, `cache.L.key` and so on.

use crate::checkpoint::{CheckpointError, content};
use crate::decoder::{Decoder, Inputs, LogitRows};
use crate::generate::Session;
use crate::sampler::Sampler;
use crate::tensor_file::{self, Outgoing};
use crate::trace::{Trace, Traced};
use attendant_core::error::require;
use attendant_core::{Result, Tape};
use attendant_formats::{self as formats, Access, Weights};
use attendant_mech::observer::{NamedRows, Observer};
use attendant_mech::{Batch, Order};
use attendant_state::{PlaneStore, SequenceState, Storage};
use safetensors::tensor::Dtype;
use std::path::Path;

/// One row of tokens, without its padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What is visible.
    pub ids: Vec<u32>,
    /// Where in the padded row it stands.
    pub places: Vec<usize>,
    /// Kinds of the tokens, or none.
    pub types: Vec<u32>,
    /// Tokens of the target, where the ids are a source.
    pub target: Vec<u32>,
}

/// Rows of tokens of one padded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The rows.
    pub rows: Vec<Row>,
    /// The length with padding, T.
    pub length: usize,
}

/// A tensor that goes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it is.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

impl Output {
    /// Values of this shape under a name.
    pub fn new(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Output {
        Output { name: name.into(), shape: shape.to_vec(), values }
    }
}

/// Reads rows of tokens.
///
/// # Errors
/// If the file is missing or damaged, has no `input_ids`, or its tensors are not what they should be.
pub fn read(path: &Path) -> Result<Tokens, CheckpointError> {
    let tensors = Weights::open(path, Access::Mapped)?;
    let table = |name: &str| table(&tensors, name).map_err(|why| content(path, format!("{name}: {why}")));
    let (length, ids) = table("input_ids")?.ok_or_else(|| content(path, "input_ids: got none, wanted I64 of two axes"))?;
    let like_ids = |name: &str| match table(name)? {
        Some((other, values)) if other == length && values.len() == ids.len() => Ok(Some(values)),
        Some(_) => Err(content(path, format!("{name}: got another shape than input_ids, wanted the same"))),
        None => Ok(None),
    };
    let (mask, types, target) = (like_ids("attention_mask")?, like_ids("token_type_ids")?, table("decoder_input_ids")?);
    if let Some(row) = mask.iter().flat_map(|mask| mask.chunks_exact(length)).position(|row| row.iter().all(|&seen| seen == 0)) {
        return Err(content(path, format!("attention_mask: got row {row} without a token, wanted at least one in each")));
    }
    if let Some((width, target)) = target.as_ref().filter(|(width, target)| target.len() / width != ids.len() / length) {
        let [got, wanted] = [target.len() / width, ids.len() / length];
        return Err(content(path, format!("decoder_input_ids: got {got} rows, wanted {wanted}, as many as of input_ids")));
    }
    let rows = ids.chunks_exact(length).enumerate().map(|(row, ids)| {
        let visible = |place: &usize| mask.as_ref().is_none_or(|mask| mask[row * length + place] != 0);
        let places: Vec<usize> = (0..length).filter(visible).collect();
        let of = |values: &[u32]| places.iter().map(|&place| values[place]).collect();
        let types = types.as_ref().map(|types| of(&types[row * length..(row + 1) * length]));
        let target = target.as_ref().map(|(width, target)| target.chunks_exact(*width).nth(row).unwrap_or_default().to_vec());
        Row { ids: of(ids), types: types.unwrap_or_default(), target: target.unwrap_or_default(), places }
    });
    Ok(Tokens { rows: rows.collect(), length })
}

/// The width and the values of a tensor of whole numbers, if there is one of this name.
fn table(tensors: &Weights, name: &str) -> std::result::Result<Option<(usize, Vec<u32>)>, String> {
    let Some(view) = tensors.get(name) else { return Ok(None) };
    let (formats::Dtype::I64, &[_, width]) = (view.dtype, view.shape) else {
        return Err(format!("got {} {:?}, wanted I64 of two axes", view.dtype, view.shape));
    };
    if view.shape.contains(&0) {
        return Err(format!("got shape {:?}, wanted at least one row, and one token in it", view.shape));
    }
    let value = |&bytes: &[u8; 8]| {
        let number = i64::from_le_bytes(bytes);
        u32::try_from(number).map_err(|_| format!("got {number}, which no token has"))
    };
    let values = view.bytes.as_chunks().0.iter().map(value).collect::<std::result::Result<_, _>>()?;
    Ok(Some((width, values)))
}

/// What a model makes of the tokens in one call, on an empty tape: `logits` of every row, and of the first row what goes on inside and what is kept.
///
/// # Errors
/// If the model refuses the tokens.
pub fn logits(decoder: &Decoder, mut tape: Tape, tokens: &Tokens) -> Result<Vec<Output>> {
    let all = |of: fn(&Row) -> &[u32]| -> Vec<u32> { tokens.rows.iter().flat_map(of).copied().collect() };
    let (ids, types, target) = (all(|row| &row.ids), all(|row| &row.types), all(|row| &row.target));
    let bound = decoder.bind(&mut tape);
    let (trace, encoder_trace) = (Trace::default(), Trace::default());
    let mut batch = Batch::new(tokens.rows.iter().map(|row| (row.ids.len(), 0)));
    let mut inputs = Inputs { ids: &ids, types: &types, source: None, trace: Some(&encoder_trace) };
    if decoder.plan().encoder.is_some() {
        require(!target.is_empty(), "decoder_input_ids", || {
            "got none, wanted the target's tokens: the model has an encoder".into()
        })?;
        inputs.source = Some(decoder.encode(&mut tape, &bound, &batch, inputs)?);
        batch = Batch::with_source(tokens.rows.iter().map(|row| (row.target.len(), 0, row.ids.len())));
        inputs = Inputs { ids: &target, types: &[], ..inputs };
    }
    inputs.trace = Some(&trace);
    let mut states: Vec<SequenceState> = match decoder.order() {
        Order::Causal => tokens.rows.iter().map(|_| decoder.new_state(Storage::contiguous(tokens.length))).collect(),
        _ => Vec::new(),
    };
    let mut lent: Vec<&mut SequenceState> = states.iter_mut().collect();
    let logits = decoder.forward(&mut tape, &bound, &batch, inputs, &mut lent, LogitRows::All)?;
    let mut outputs = vec![padded(decoder, tokens, &batch, tape.value(logits))];
    if let Some(row) = tokens.rows.first() {
        outputs.extend(inside(decoder, row, tokens.length, trace.into_inner(), encoder_trace.into_inner(), states.first()));
    }
    Ok(outputs)
}

/// Logits of the rows of a batch, where they stand in the padded rows.
fn padded(decoder: &Decoder, tokens: &Tokens, batch: &Batch, logits: &[f32]) -> Output {
    let vocab = decoder.plan().vocab_size;
    let encodes = decoder.plan().encoder.is_some();
    let length = match encodes {
        true => tokens.rows.first().map_or(0, |row| row.target.len()),
        false => tokens.length,
    };
    let mut values = vec![0.0; tokens.rows.len() * length * vocab];
    for (i, (row, sequence)) in tokens.rows.iter().zip(batch.sequences()).enumerate() {
        let places: Vec<usize> = if encodes { (0..length).collect() } else { row.places.clone() };
        let own = &logits[sequence.rows.start * vocab..sequence.rows.end * vocab];
        spread(&mut values[i * length * vocab..], own, &places, vocab);
    }
    Output::new("logits", &[tokens.rows.len(), length, vocab], values)
}

/// Puts rows of `width` where they belong, as many as there are places.
fn spread(to: &mut [f32], rows: &[f32], places: &[usize], width: usize) {
    for (row, &place) in rows.chunks_exact(width).zip(places) {
        to[place * width..(place + 1) * width].copy_from_slice(row);
    }
}

/// What goes on inside, and what the layers keep, of the first row of a batch.
fn inside(
    decoder: &Decoder,
    row: &Row,
    length: usize,
    trace: Traced,
    encoder_trace: Traced,
    state: Option<&SequenceState>,
) -> Vec<Output> {
    let width = decoder.plan().d_model;
    let mut outputs = Vec::new();
    let mut hidden = |name: &str, rows: &[Vec<f32>], places: &[usize], length: usize| {
        for (n, rows) in rows.iter().enumerate() {
            let mut values = vec![0.0; length * width];
            spread(&mut values, rows, places, width);
            outputs.push(Output::new(format!("{name}.{n}"), &[1, length, width], values));
        }
    };
    let target: Vec<usize> = (0..row.target.len()).collect();
    hidden("encoder_hidden", &encoder_trace.hidden, &row.places, length);
    match decoder.plan().encoder.is_some() {
        true => hidden("hidden", &trace.hidden, &target, target.len()),
        false => hidden("hidden", &trace.hidden, &row.places, length),
    }
    if row.ids.len() == length {
        outputs.extend(maps("encoder_attn", encoder_trace.mixers.iter()));
        let of = |cross: bool| {
            let orders = decoder.orders().map(move |order| (order == Order::Cross) == cross);
            trace.mixers.iter().zip(orders).filter(|(_, wanted)| *wanted).map(|(observer, _)| observer)
        };
        outputs.extend(maps("attn", of(false)));
        outputs.extend(maps("cross_attn", of(true)));
    }
    outputs.extend(latents(&trace.mixers, row.ids.len()));
    outputs.extend(state.iter().flat_map(|state| cache(decoder, state, &trace.mixers)));
    outputs
}

/// The probabilities of each mechanism; those of one that attends more than once, one after the other.
fn maps<'a>(name: &str, mixers: impl Iterator<Item = &'a Observer>) -> Vec<Output> {
    let map = |(n, observer): (usize, &Observer)| {
        let of_first = || observer.maps.iter().filter(|map| map.sequence == 0);
        let first = of_first().next()?;
        let heads = of_first().map(|map| map.heads).sum();
        let values = of_first().flat_map(|map| map.probs.iter().copied()).collect();
        Some(Output::new(format!("{name}.{n}"), &[1, heads, first.rows, first.keys], values))
    };
    mixers.enumerate().filter_map(map).collect()
}

/// Rows that have a name of their own, those of latent attention: the first `count`.
fn latents(mixers: &[Observer], count: usize) -> Vec<Output> {
    let rows = |(layer, observer): (usize, &Observer)| -> Vec<Output> {
        let output = |rows: &NamedRows| {
            let values = rows.values[..count * rows.width].to_vec();
            Output::new(format!("mla.{layer}.{}", rows.name), &[1, count, rows.width], values)
        };
        observer.rows.iter().map(output).collect()
    };
    mixers.iter().enumerate().flat_map(rows).collect()
}

/// What every mechanism keeps, under the names and in the shapes of transformers.
fn cache(decoder: &Decoder, state: &SequenceState, mixers: &[Observer]) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut counts = [0, 0];
    let encodes = decoder.plan().encoder.is_some();
    for (i, order) in decoder.orders().enumerate() {
        let cross = order == Order::Cross;
        let count = &mut counts[usize::from(cross)];
        let place = match (encodes, cross) {
            (false, _) => format!("cache.{count}"),
            (true, false) => format!("cache.self.{count}"),
            (true, true) => format!("cache.cross.{count}"),
        };
        *count += 1;
        let latent = mixers.get(i).and_then(|observer| observer.rows.iter().find(|rows| rows.name == "latent"));
        outputs.extend(state.layer(i).planes().iter().filter_map(|store| kept(&place, store, latent.map(|rows| rows.width))));
    }
    outputs
}

/// What a plane keeps. Of a latent's row the rotated key stays out: transformers has its values in another order.
fn kept(place: &str, store: &PlaneStore, latent: Option<usize>) -> Option<Output> {
    let plane = store.plane();
    let mut rows = Vec::new();
    store.read(&mut rows);
    let count = rows.len() / plane.width;
    let (heads, d) = (plane.heads, plane.width / plane.heads);
    match (plane.name, latent) {
        ("k" | "v", _) => {
            let name = if plane.name == "k" { "key" } else { "value" };
            let values = (0..rows.len()).map(|i| rows[i / d % count * plane.width + i / (d * count) * d + i % d]);
            Some(Output::new(format!("{place}.{name}"), &[1, heads, count, d], values.collect()))
        }
        ("latent", Some(width)) => {
            let values = rows.chunks_exact(plane.width).flat_map(|row| row[..width].iter().copied()).collect();
            Some(Output::new(format!("{place}.key"), &[1, 1, count, width], values))
        }
        ("index", _) => Some(Output::new(format!("{place}.indexer_key"), &[1, count, plane.width], rows)),
        _ => None,
    }
}

/// The likeliest continuation of every row by `count` tokens, each in a session of its own.
///
/// # Errors
/// If the model refuses the tokens, or cannot continue any.
pub fn continued<'a>(tokens: &Tokens, count: usize, new: impl Fn() -> Session<'a>) -> Result<Vec<Vec<u32>>> {
    let greedy = Sampler::default();
    let continued = |row: &Row| {
        let mut session = new();
        session.prompt(&row.ids)?;
        (0..count).map(|_| session.next(&greedy)).collect()
    };
    tokens.rows.iter().map(continued).collect()
}

/// Writes tensors.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, outputs: &[Output]) -> Result<(), CheckpointError> {
    let tensors = outputs.iter().map(|Output { name, shape, values }| Outgoing::floats(name, shape, values));
    tensor_file::write(path, tensors.collect(), None)
}

/// Writes rows of tokens as `ids` I64 `[B, n]`.
///
/// # Errors
/// If the file cannot be written.
pub fn write_ids(path: &Path, rows: &[Vec<u32>]) -> Result<(), CheckpointError> {
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
    tensor_file::write(path, vec![Outgoing::bytes("ids", Dtype::I64, &shape, &bytes)], None)
}
