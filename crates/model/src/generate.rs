//! Continuing a text: a session holds the state of one sequence.

use crate::decoder::{Decoder, Inputs, LogitRows};
use crate::sampler::Sampler;
use attendant_core::error::require;
use attendant_core::{Activations, Error, Processor, Result, Tape, Var};
use attendant_mech::{Batch, Order};
use attendant_state::{SequenceState, Storage};

/// Rows of one chunk of a prompt, at most.
const CHUNK: usize = 256;

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
}

impl<'a> Session<'a> {
    /// An empty sequence.
    pub fn new(decoder: &'a Decoder, processor: Processor, storage: Storage) -> Session<'a> {
        let (tape, state) = (Tape::inference(processor), decoder.new_state(storage));
        Session { decoder, tape, state, logits: Vec::new(), ids: Vec::new(), source: Vec::new(), most: usize::MAX }
    }

    /// The same, keeping `most` positions at most: what does not fit is refused.
    pub fn keeping(self, most: usize) -> Session<'a> {
        Session { most, ..self }
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

    /// Reads tokens, a prompt or more of it, in chunks.
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
        for chunk in ids.chunks(size) {
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
