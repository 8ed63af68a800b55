//! A model at work: tokens a second of reading a prompt and of generating, from an empty cache and from a long one.

use super::{Figure, Timing};
use attendant_core::{Activations, Processor, Random, Result};
use attendant_model::{Decoder, Sampler, Session};
use attendant_state::Storage;
use std::time::Instant;

/// Tokens of a prompt, and tokens generated.
const PROMPT: usize = 512;
const GENERATED: usize = 64;

/// How the model is run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How the cache is kept.
    pub storage: Storage,
    /// How rows meet weights of few bits.
    pub activations: Activations,
    /// Measurements of each figure.
    pub repeats: usize,
}

/// Reading and generating after each of `depths` tokens. A token's content does not matter to how long it takes: they are drawn.
///
/// # Errors
/// If the model refuses tokens, as one does that goes not from left to right, or has learned fewer positions.
pub fn figures(
    decoder: &Decoder,
    processor: &Processor,
    setting: Setting,
    depths: &[usize],
    mut each: impl FnMut(Figure),
) -> Result<()> {
    let vocabulary = decoder.plan().vocab_size;
    let mut random = Random::new(1, "tokens");
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.below(vocabulary) as u32).collect() };
    for &depth in depths {
        let (mut reading, mut generating) = (Vec::new(), Vec::new());
        for _ in 0..setting.repeats {
            let new = || Session::new(decoder, processor.clone(), setting.storage).with_activations(setting.activations);
            let mut session = new();
            if depth > 0 {
                session.read(&tokens(depth))?;
            }
            let prompt = tokens(PROMPT);
            let start = Instant::now();
            session.read(&prompt)?;
            reading.push(start.elapsed().as_secs_f64());
            // One cache at a time: a long one takes more than the weights.
            drop(session);
            let mut session = new();
            session.read(&tokens(depth.max(1)))?;
            let start = Instant::now();
            (0..GENERATED).try_for_each(|_| session.next(&Sampler::default()).map(drop))?;
            generating.push(start.elapsed().as_secs_f64());
        }
        for (what, seconds, count) in [("prompt", reading, PROMPT), ("generation", generating, GENERATED)] {
            let figure = Figure::new(processor, what, setting.storage.dtype.name(), Timing::of(seconds));
            let rate = count as f64 / figure.ms * 1e3;
            each(Figure { length: Some(depth), tokens_per_second: Some(rate), ..figure });
        }
    }
    Ok(())
}
