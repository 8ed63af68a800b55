//! How well a model foretells a text: the likelihood of every token after those before it, window by window.

use crate::decoder::{Decoder, LogitRows};
use attendant_core::{Activations, Error, Processor, Result, Tape};
use attendant_mech::{Batch, Order};
use attendant_state::Storage;

/// Rows whose logits are held at once.
const CHUNK: usize = 128;

/// What a window gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Mean negative log-likelihood of its tokens but the first, in nats.
    pub loss: f64,
    /// Log-likelihood of each of them.
    pub log_probs: Vec<f64>,
}

/// The tokens of each window, each read from an empty cache of `storage`. `each` gets every window as it is done, and says whether to
/// go on.
///
/// # Errors
/// If a window has fewer than two tokens, or the model refuses one, or its rows see later ones.
pub fn windows<'a>(
    decoder: &Decoder,
    processor: &Processor,
    activations: Activations,
    storage: Storage,
    windows: impl Iterator<Item = &'a [u32]>,
    mut each: impl FnMut(Window) -> bool,
) -> Result<()> {
    if decoder.order() != Order::Causal || decoder.plan().encoder.is_some() {
        return Err(Error::config("model", "got one that does not go from left to right, wanted one that continues a text"));
    }
    let mut tape = Tape::inference(processor.clone()).with_activations(activations);
    for ids in windows {
        if ids.len() < 2 {
            return Err(Error::config("window", format!("got {} tokens, wanted at least 2", ids.len())));
        }
        let mut state = decoder.new_state(storage);
        let mut log_probs = Vec::with_capacity(ids.len() - 1);
        for chunk in ids[..ids.len() - 1].chunks(CHUNK) {
            tape.clear();
            let first = state.position();
            let bound = decoder.bind(&mut tape);
            let batch = Batch::new([(chunk.len(), first)]).reaching([ids.len()]);
            let logits = decoder.forward(&mut tape, &bound, &batch, chunk, &mut [&mut state], LogitRows::All)?;
            let rows = tape.value(logits).chunks_exact(decoder.plan().vocab_size);
            let targets = &ids[first + 1..first + 1 + chunk.len()];
            log_probs.extend(rows.zip(targets).map(|(logits, &target)| log_prob(logits, target)));
        }
        let loss = -log_probs.iter().sum::<f64>() / log_probs.len() as f64;
        if !each(Window { loss, log_probs }) {
            break;
        }
    }
    Ok(())
}

/// The logarithm of the probability of a token; minus infinity if there is none of that number.
fn log_prob(logits: &[f32], target: u32) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    let logit = logits.get(target as usize).copied().unwrap_or(f32::NEG_INFINITY);
    f64::from(logit - largest) - sum.ln()
}
