//! Continuing a text: a session holds the state of one sequence, a sampler chooses among logits.

use crate::decoder::{Decoder, Inputs, LogitRows};
use attendant_core::{Error, Processor, Random, Result, Tape, Var};
use attendant_mech::{Batch, Order};
use attendant_state::{SequenceState, Storage};

/// Rows of one chunk of a prompt.
const CHUNK: usize = 256;

/// One sequence under way.
pub struct Session<'a> {
    decoder: &'a Decoder,
    tape: Tape,
    state: SequenceState,
    logits: Vec<f32>,
    /// Rows of the source that the state does not hold yet.
    source: Vec<f32>,
}

impl<'a> Session<'a> {
    /// An empty sequence.
    pub fn new(decoder: &'a Decoder, processor: Processor, storage: Storage) -> Session<'a> {
        let state = decoder.new_state(storage);
        Session { decoder, tape: Tape::inference(processor), state, logits: Vec::new(), source: Vec::new() }
    }

    /// Reads what is to be continued, or, where the model has an encoder, what its output is to follow from.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn prompt(&mut self, ids: &[u32]) -> Result<()> {
        match &self.decoder.plan().encoder {
            Some(encoder) => {
                self.read_source(ids)?;
                self.read(&[encoder.start])
            }
            None => self.read(ids),
        }
    }

    fn read_source(&mut self, ids: &[u32]) -> Result<()> {
        self.tape.clear();
        let bound = self.decoder.bind(&mut self.tape);
        let rows = self.decoder.encode(&mut self.tape, &bound, &Batch::new([(ids.len(), 0)]), ids)?;
        self.source.extend_from_slice(self.tape.value(rows));
        Ok(())
    }

    /// Reads tokens, a prompt or more of it, in chunks.
    ///
    /// # Errors
    /// If there are none, or the model refuses them, or its rows see later ones. Chunks before the one refused were read.
    pub fn read(&mut self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::config("prompt", "got no tokens, wanted at least one"));
        }
        if self.decoder.order() != Order::Causal {
            return Err(Error::config("model", "got one whose rows see later ones, wanted one that continues a text"));
        }
        let length = self.state.position() + ids.len();
        for chunk in ids.chunks(CHUNK) {
            self.tape.clear();
            let bound = self.decoder.bind(&mut self.tape);
            let (source, rows) = self.new_source();
            let batch = Batch::with_source([(chunk.len(), self.state.position(), rows)]).reaching([length]);
            let states = &mut [&mut self.state];
            let inputs = Inputs { source, ..chunk.into() };
            let logits = self.decoder.forward(&mut self.tape, &bound, &batch, inputs, states, LogitRows::Last)?;
            self.source.clear();
            self.logits.clear();
            self.logits.extend_from_slice(self.tape.value(logits));
        }
        Ok(())
    }

    /// Rows of the source that the state does not hold yet, in a model that has an encoder, and how many.
    fn new_source(&mut self) -> (Option<Var>, usize) {
        let width = self.decoder.plan().d_model;
        let rows = self.source.len() / width;
        let encodes = self.decoder.plan().encoder.is_some();
        (encodes.then(|| self.tape.constant(rows, width, &self.source)), rows)
    }

    /// Logits after the last token read.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The state.
    pub fn state(&self) -> &SequenceState {
        &self.state
    }

    /// Chooses the next token and reads it.
    ///
    /// # Errors
    /// If the logits are not finite, or nothing was read yet.
    pub fn next(&mut self, sampler: &Sampler) -> Result<u32> {
        let id = sampler.choose(&self.logits, self.state.position())?;
        self.read(&[id])?;
        Ok(id)
    }
}

/// How the next token is chosen. Equal seeds and positions choose equally.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Choose among the likeliest so many.
    pub top_k: Option<usize>,
    /// Choose among the likeliest that together have this probability.
    pub top_p: Option<f64>,
    /// Seed of the choices.
    pub seed: u64,
}

impl Sampler {
    /// Whether it can be used.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::config("temperature", format!("got {}, wanted 0 or more", self.temperature)));
        }
        if self.top_k == Some(0) {
            return Err(Error::config("top_k", "got 0, wanted at least 1"));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => Err(Error::config("top_p", format!("got {p}, wanted above 0 and up to 1"))),
            _ => Ok(()),
        }
    }

    /// The token to follow position `position - 1`.
    ///
    /// # Errors
    /// If there are no logits, one is NaN or infinite upwards, or none is a number that can be chosen; or if the sampler
    /// cannot be used.
    pub fn choose(&self, logits: &[f32], position: usize) -> Result<u32> {
        self.check()?;
        if let Some(id) = logits.iter().position(|&logit| logit.is_nan() || logit == f32::INFINITY) {
            return Err(Error::config("logits", format!("got {} for token {id}, wanted numbers", logits[id])));
        }
        if logits.iter().all(|&logit| logit == f32::NEG_INFINITY) {
            return Err(Error::config(
                "logits",
                format!("got {} that allow no token, wanted at least one that does", logits.len()),
            ));
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |id: u32| f64::from(logits[id as usize]);
        // Ties go to the smaller id, so that the order is the same everywhere.
        order.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
        if self.temperature == 0.0 {
            return Ok(order[0]);
        }
        order.truncate(self.top_k.unwrap_or(order.len()));
        let weights: Vec<f64> = order.iter().map(|&id| ((logit(id) - logit(order[0])) / self.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0.0;
        let enough = weights.iter().position(|weight| {
            kept += weight / total;
            kept >= self.top_p.unwrap_or(1.0)
        });
        let count = enough.map_or(order.len(), |last| last + 1);
        let kept: f64 = weights[..count].iter().sum();
        let mut left = Random::at(self.seed, "sample", position as u64).uniform() * kept;
        for (&id, weight) in order[..count].iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return Ok(id);
            }
        }
        Ok(order[count - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, 3.0];

    #[test]
    fn zero_temperature_takes_the_likeliest_and_of_equals_the_first() {
        let greedy = Sampler { temperature: 0.0, top_k: None, top_p: None, seed: 1 };
        assert_eq!(greedy.choose(&LOGITS, 5), Ok(1));
    }

    #[test]
    fn frequencies_follow_the_probabilities_that_are_left() {
        let sampler = Sampler { temperature: 1.0, top_k: Some(3), top_p: Some(0.8), seed: 3 };
        let mut counts = [0u32; 4];
        (0..4000).for_each(|position| counts[sampler.choose(&LOGITS, position).unwrap() as usize] += 1);
        // Of ids 1, 3, 2 (0.42, 0.42, 0.16) the first two reach 0.8.
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!(counts[1].abs_diff(counts[3]) < 250, "{counts:?}");
    }

    #[test]
    fn a_choice_depends_on_seed_and_position_only() {
        let sampler = |seed| Sampler { temperature: 2.0, top_k: None, top_p: None, seed };
        let choices = |seed| -> Vec<u32> { (0..64).map(|position| sampler(seed).choose(&LOGITS, position).unwrap()).collect() };
        let backward: Vec<u32> = (0..64).rev().map(|position| sampler(1).choose(&LOGITS, position).unwrap()).collect();
        assert!(choices(1).iter().eq(backward.iter().rev()));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn not_a_number_is_refused() {
        let sampler = Sampler { temperature: 1.0, top_k: None, top_p: None, seed: 3 };
        for logits in [&[f32::NAN, 1.0][..], &[1.0, f32::INFINITY], &[f32::NEG_INFINITY; 2], &[]] {
            assert!(sampler.choose(logits, 0).is_err(), "{logits:?}");
        }
        assert!(Sampler { temperature: f64::NAN, ..sampler }.choose(&LOGITS, 0).is_err());
    }
}
