//! Continuing a text: a session holds the state of one sequence.

use crate::decoder::{Decoder, Inputs, LogitRows};
use crate::sampler::Sampler;
use attendant_core::error::require;
use attendant_core::{Activations, Error, Processor, Result, Tape, Var};
use attendant_mech::{Batch, Order};
use attendant_state::{SequenceState, Storage};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of one chunk of a prompt, at most: each takes weights of few bits apart and packs the keys of its past anew.
const CHUNK: usize = 512;

/// One sequence under way.
pub struct Session<'a> {
    decoder: &'a Decoder,
    tape: Tape,
    state: SequenceState,
    logits: Vec<f32>,
    /// What was read, of the text that is continued.
    ids: Vec<u32>,
    /// Rows of the source that the state does not hold yet.
    source: Vec<f32>,
    /// Positions that may be kept.
    most: usize,
    /// Set when nothing more is to be read.
    stop: Option<&'a AtomicBool>,
}

impl<'a> Session<'a> {
    /// An empty sequence.
    pub fn new(decoder: &'a Decoder, processor: Processor, storage: Storage) -> Session<'a> {
        let (tape, state) = (Tape::inference(processor), decoder.new_state(storage));
        let (logits, ids, source) = (Vec::new(), Vec::new(), Vec::new());
        Session { decoder, tape, state, logits, ids, source, most: usize::MAX, stop: None }
    }

    /// The same, keeping `most` positions at most: what does not fit is refused.
    pub fn keeping(self, most: usize) -> Session<'a> {
        Session { most, ..self }
    }

    /// The same, reading no further chunk of a prompt once `stop` is set.
    pub fn stopped_by(self, stop: &'a AtomicBool) -> Session<'a> {
        Session { stop: Some(stop), ..self }
    }

    /// The same, with rows that meet weights of few bits taken so.
    pub fn with_activations(self, activations: Activations) -> Session<'a> {
        Session { tape: self.tape.with_activations(activations), ..self }
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
        self.fits(ids.len())?;
        self.tape.clear();
        let bound = self.decoder.bind(&mut self.tape);
        let rows = self.decoder.encode(&mut self.tape, &bound, &Batch::new([(ids.len(), 0)]), ids)?;
        self.source.extend_from_slice(self.tape.value(rows));
        Ok(())
    }

    /// Reads tokens, a prompt or more of it, in chunks. Between two of them it ends where it was stopped: [`Session::ids`] are
    /// those that were read.
    ///
    /// # Errors
    /// If there are none, or more than may be kept, or the model refuses them, or its rows see later ones. Chunks before the one
    /// refused were read.
    pub fn read(&mut self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::config("prompt", "got no tokens, wanted at least one"));
        }
        if self.decoder.order() != Order::Causal {
            return Err(Error::config("model", "got one whose rows see later ones, wanted one that continues a text"));
        }
        let length = self.state.position() + ids.len();
        self.fits(length)?;
        // Chunks of one size take the same buffers.
        let size = ids.len().div_ceil(ids.len().div_ceil(CHUNK));
        for (at, chunk) in ids.chunks(size).enumerate() {
            if at > 0 && self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                break;
            }
            self.tape.clear();
            let bound = self.decoder.bind(&mut self.tape);
            let (source, rows) = self.new_source();
            let batch = Batch::with_source([(chunk.len(), self.state.position(), rows)]).reaching([length]);
            let states = &mut [&mut self.state];
            let inputs = Inputs { source, ..chunk.into() };
            let logits = self.decoder.forward(&mut self.tape, &bound, &batch, inputs, states, LogitRows::Last)?;
            self.source.clear();
            self.ids.extend(chunk);
            self.logits.clear();
            self.logits.extend_from_slice(self.tape.value(logits));
        }
        Ok(())
    }

    fn fits(&self, length: usize) -> Result<()> {
        let most = self.most;
        require(length <= most, "prompt", || format!("got {length} tokens, wanted at most the {most} that are kept"))
    }

    /// Whether no further position may be kept.
    pub fn is_full(&self) -> bool {
        self.state.position() >= self.most
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

    /// Tokens that the model was made for.
    pub fn context(&self) -> usize {
        self.decoder.plan().context
    }

    /// The tokens that were read.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The state.
    pub fn state(&self) -> &SequenceState {
        &self.state
    }

    /// Chooses the next token and reads it.
    ///
    /// # Errors
    /// If the logits are not finite, nothing was read yet, or no further position may be kept.
    pub fn next(&mut self, sampler: &Sampler) -> Result<u32> {
        let id = sampler.choose(&self.logits, &self.ids, self.state.position())?;
        self.read(&[id])?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Dense, Embedding, Head, Layer, Norm, Plan};
    use attendant_mech::{Size, preset};

    #[test]
    fn a_prompt_ends_between_two_chunks_where_it_is_stopped() {
        let mixer = preset("gqa", Size { d_model: 8, heads: 2, d_head: 4 }).unwrap().configuration;
        let plan = Plan {
            vocab_size: 11,
            d_model: 8,
            context: 1024,
            norm: Norm::rms(1e-5),
            embedding: Embedding::default(),
            layers: vec![Layer::pre(mixer, Dense::swiglu(8).into())],
            head: Head::default(),
            encoder: None,
        };
        let (decoder, stop) = (Decoder::new(plan, 7).unwrap(), AtomicBool::new(true));
        let ids: Vec<u32> = (0..2 * CHUNK as u32).map(|i| i % 11).collect();
        let mut session = Session::new(&decoder, Processor::new(1), Storage::contiguous(1024)).stopped_by(&stop);
        session.prompt(&ids).unwrap();
        assert_eq!(session.ids(), &ids[..CHUNK]);
        stop.store(false, Ordering::Relaxed);
        session.read(&ids[CHUNK..]).unwrap();
        assert_eq!(session.ids(), ids);
    }
}
