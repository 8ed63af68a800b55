//! `attendant logits`

use crate::arguments::Logits;
use crate::command::processor;
use crate::failure::Done;
use crate::model::{Needs, local};
use attendant_model::{checkpoint, exchange};

pub(crate) fn run(options: &Logits) -> Done {
    let decoder = checkpoint::load(&local(&options.model, Needs::Everything)?)?;
    let tokens = exchange::read(&options.ids)?;
    let outputs = exchange::logits(&decoder, processor(options.threads)?, &tokens)?;
    Ok(exchange::write(&options.out, &outputs)?)
}
