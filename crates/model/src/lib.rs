//! Decoders from a plan of layers, and their checkpoints in the published layouts.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod decoder;
mod export;
pub mod generate;
pub mod plan;

pub use checkpoint::CheckpointError;
pub use decoder::{BoundModel, Decoder, LogitRows, NamedTensor};
pub use generate::{Sampler, Session};
pub use plan::Plan;
