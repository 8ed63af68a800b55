//! One file for each command.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod compare;
pub(crate) mod docs;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod logits;
pub(crate) mod mechanisms;
pub(crate) mod sweep;
pub(crate) mod train;

use crate::failure::Failure;
use attendant_core::Processor;
use attendant_core::kernels::Isa;

/// The threads and instruction set to use.
fn processor(threads: Option<usize>) -> Result<Processor, Failure> {
    Isa::from_environment().map_err(Failure::Refused)?;
    Ok(threads.map_or_else(Processor::all, Processor::new))
}
