//! `attendant logits`

use crate::arguments::Logits;
use crate::command::processor;
use crate::failure::Done;
use crate::model::{Needs, load, resolve};
use attendant_core::Tape;
use attendant_lab::LabError;
use attendant_model::exchange;

pub(crate) fn run(options: &Logits) -> Done {
    let processor = processor(options.threads)?;
    let decoder = load(&resolve(&options.model, Needs::Everything)?, &processor)?;
    let tokens = exchange::read(&options.ids)?;
    let tape = Tape::inference(processor).with_activations(options.activations.into());
    let outputs = exchange::logits(&decoder, tape, &tokens).map_err(|why| LabError::content(&options.ids, why))?;
    Ok(exchange::write(&options.out, &outputs)?)
}
