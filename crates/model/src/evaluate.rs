//! How well a model predicts a text: the likelihood of every token after those before it, window by window.

use crate::decoder::Decoder;
use attendant_core::{Activations, Error, Processor, Result, Tape};
use attendant_mech::{Batch, Order};
use attendant_state::Storage;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows that go through the layers at once.
const CHUNK: usize = 128;
/// Bytes of the logits that are held at once, unless those of one row are more.
const LOGITS: usize = 32 << 20;

/// What a window gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Mean negative log-likelihood of its tokens but the first, in nats.
    pub loss: f64,
    /// Log-likelihood of each of them.
    pub log_probs: Vec<f64>,
}

/// The tokens of each window, each read from an empty cache of `storage`. `each` gets every window as it is done. Once `stop` is set, it
/// ends, and the window under way is given up.
///
/// # Errors
/// If a window has fewer than two tokens, or the model refuses one, or its rows see later ones.
pub fn windows<'a>(
    decoder: &Decoder,
    processor: &Processor,
    activations: Activations,
    storage: Storage,
    windows: impl Iterator<Item = &'a [u32]>,
    stop: &AtomicBool,
    mut each: impl FnMut(Window),
) -> Result<()> {
    if decoder.order() != Order::Causal || decoder.plan().encoder.is_some() {
        return Err(Error::config("model", "got one that does not go from left to right, wanted one that continues a text"));
    }
    let vocab = decoder.plan().vocab_size;
    let most = (LOGITS / (vocab * size_of::<f32>())).max(1);
    let mut tape = Tape::inference(processor.clone()).with_activations(activations);
    for ids in windows {
        if ids.len() < 2 {
            return Err(Error::config("window", format!("got {} tokens, wanted at least 2", ids.len())));
        }
        let mut state = decoder.new_state(storage);
        let mut log_probs = Vec::with_capacity(ids.len() - 1);
        for chunk in ids[..ids.len() - 1].chunks(CHUNK) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            tape.clear();
            let first = state.position();
            let bound = decoder.bind(&mut tape);
            let batch = Batch::new([(chunk.len(), first)]).reaching([ids.len()]);
            let rows: Vec<u32> = (0..chunk.len() as u32).collect();
            let x = decoder.advance(&mut tape, &bound, &batch, chunk, &mut [&mut state])?;
            let targets = &ids[first + 1..first + 1 + chunk.len()];
            for (rows, targets) in rows.chunks(most).zip(targets.chunks(most)) {
                tape.scope(|tape| {
                    let some = tape.embedding(x, rows);
                    let logits = decoder.logits(tape, &bound, some);
                    let rows = tape.value(logits).chunks_exact(vocab);
                    log_probs.extend(rows.zip(targets).map(|(logits, &target)| log_prob(logits, target)));
                    Ok::<_, Error>(x)
                })?;
            }
        }
        let loss = -log_probs.iter().sum::<f64>() / log_probs.len() as f64;
        each(Window { loss, log_probs });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::LogitRows;
    use crate::plan::{Dense, Embedding, Head, Layer, Norm, Plan};
    use attendant_mech::{Size, preset};

    fn decoder(vocab_size: usize) -> Decoder {
        let mixer = preset("gqa", Size { d_model: 8, heads: 2, d_head: 4 }).unwrap().configuration;
        let plan = Plan {
            vocab_size,
            d_model: 8,
            context: 160,
            norm: Norm::rms(1e-5),
            embedding: Embedding::default(),
            layers: vec![Layer::pre(mixer, Dense::swiglu(8).into())],
            head: Head::default(),
            encoder: None,
        };
        Decoder::new(plan, 7).unwrap()
    }

    /// A vocabulary so large that the logits of a chunk are more than are held.
    #[test]
    fn logits_that_are_not_held_at_once_give_the_same_bits() {
        let (decoder, processor) = (decoder(80_001), Processor::new(1));
        let ids: Vec<u32> = (0..CHUNK as u32 + 9).map(|i| i * 7919 % 80_001).collect();
        let storage = Storage::contiguous(ids.len());
        let mut tape = Tape::inference(processor.clone());
        let bound = decoder.bind(&mut tape);
        let (mut state, batch) = (decoder.new_state(storage), Batch::new([(ids.len() - 1, 0)]));
        let rows = decoder.forward(&mut tape, &bound, &batch, &ids[..ids.len() - 1], &mut [&mut state], LogitRows::All).unwrap();
        let rows = tape.value(rows).chunks_exact(80_001);
        let want: Vec<f64> = rows.zip(&ids[1..]).map(|(logits, &target)| log_prob(logits, target)).collect();
        let mut got = Vec::new();
        let (stop, each) = (AtomicBool::new(false), |window: Window| got = window.log_probs);
        windows(&decoder, &processor, Activations::F32, storage, [&ids[..]].into_iter(), &stop, each).unwrap();
        const { assert!(LOGITS / (4 * 80_001) < CHUNK) };
        assert_eq!(got, want);
    }

    #[test]
    fn nothing_is_read_once_it_is_stopped() {
        let (decoder, processor, stop) = (decoder(11), Processor::new(1), AtomicBool::new(false));
        let ids: Vec<u32> = (0..24).map(|i| i % 11).collect();
        let mut done = 0;
        let each = |_: Window| {
            done += 1;
            stop.store(done == 2, Ordering::Relaxed);
        };
        windows(&decoder, &processor, Activations::F32, Storage::contiguous(8), ids.chunks(8), &stop, each).unwrap();
        assert_eq!(done, 2);
    }
}
