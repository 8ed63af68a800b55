//! Decoders from a plan of layers, and their checkpoints in the published layouts.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`plan`] | what a model is, as data |
//! | `assembly` | which parameters a plan has, under which published names |
//! | [`decoder`] | the forward |
//! | [`generate`] | the next token, and the next |
//! | [`checkpoint`] | a folder with weights and configuration |
//! | `family` | which published configuration a plan is, and back |

#![forbid(unsafe_code)]

mod assembly;
pub mod checkpoint;
pub mod decoder;
mod family;
pub mod generate;
pub mod plan;

pub use assembly::NamedTensor;
pub use checkpoint::CheckpointError;
pub use decoder::{BoundModel, Decoder, LogitRows};
pub use generate::{Sampler, Session};
pub use plan::{FeedForward, Norm, Plan, Positions};
