//! How fast a model decodes, and what its cache holds, by context length: measured on a state that was really filled.

use crate::comparison::DecodePoint;
use crate::error::Result;
use attendant_core::{Processor, Random, Tape};
use attendant_mech::Batch;
use attendant_model::Decoder;
use attendant_model::decoder::LogitRows;
use attendant_state::{SequenceState, Storage};
use std::time::Instant;

/// Rows of one chunk of the filling.
const CHUNK: usize = 256;
/// Seconds to spend on the steps at one context.
const SECONDS: f64 = 0.25;

/// What decoding costs.
#[derive(Clone, Debug)]
pub struct DecodeCost {
    /// Speed by context.
    pub points: Vec<DecodePoint>,
    /// Bytes that one more token adds to the cache, counted from what was allocated.
    pub bytes_per_token: f64,
    /// Bytes allocated before the first token.
    pub constant_bytes: usize,
}

/// Fills a state to each context in turn and decodes from there. Token ids are random: speed does not depend on them.
///
/// # Errors
/// If the model refuses a call.
pub fn measure(decoder: &Decoder, processor: &Processor, contexts: &[usize]) -> Result<DecodeCost> {
    let mut tape = Tape::inference(processor.clone());
    let mut state = decoder.new_state(Storage::paged(Storage::PAGE));
    let mut random = Random::new(0, "decode");
    let constant_bytes = state.allocated_bytes();
    let (mut points, mut held) = (Vec::new(), Vec::new());
    for &context in contexts {
        while state.position() < context {
            let rows = CHUNK.min(context - state.position());
            run(decoder, &mut tape, &mut state, rows, &mut random)?;
        }
        held.push((state.position(), state.allocated_bytes()));
        points.push(point(decoder, &mut tape, &state, &mut random)?);
    }
    let bytes_per_token = match (held.first(), held.last()) {
        (Some(&(short, small)), Some(&(long, large))) if long > short => (large - small) as f64 / (long - short) as f64,
        _ => 0.0,
    };
    Ok(DecodeCost { points, bytes_per_token, constant_bytes })
}

fn run(decoder: &Decoder, tape: &mut Tape, state: &mut SequenceState, rows: usize, random: &mut Random) -> Result<()> {
    let ids: Vec<u32> = (0..rows).map(|_| random.below(decoder.plan().vocab_size) as u32).collect();
    tape.clear();
    let bound = decoder.bind(tape);
    let batch = Batch::new([(rows, state.position())]);
    decoder.forward(tape, &bound, &batch, &ids, &mut [state], LogitRows::Last)?;
    Ok(())
}

/// Steps from a fork, so that the next context is filled from where this one was.
fn point(decoder: &Decoder, tape: &mut Tape, state: &SequenceState, random: &mut Random) -> Result<DecodePoint> {
    let mut fork = state.fork();
    run(decoder, tape, &mut fork, 1, random)?;
    let begin = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < 5 || begin.elapsed().as_secs_f64() < SECONDS && seconds.len() < 200 {
        let start = Instant::now();
        run(decoder, tape, &mut fork, 1, random)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let rate = |at: usize| 1.0 / seconds[at];
    Ok(DecodePoint {
        context: state.position(),
        tokens_per_second: rate(seconds.len() / 2),
        min: rate(seconds.len() - 1),
        max: rate(0),
    })
}
