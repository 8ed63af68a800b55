//! Models from a plan of layers, and their checkpoints in the published layouts.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`plan`] | what a model is, as data |
//! | `assembly` | which parameters a plan has, under which names |
//! | [`decoder`] | the forward: embedding and head |
//! | `stack` | the layers, step by step |
//! | `feed_forward`, `experts` | the parts of a layer that look at each row alone |
//! | [`generate`], [`sampler`] | the next token, and the next |
//! | [`language`] | texts to tokens and back, conversations |
//! | [`embed`] | texts to vectors |
//! | [`evaluate`] | how well a model predicts a text |
//! | [`exchange`] | tokens in, logits out, as files |
//! | [`checkpoint`] | a folder with weights and configuration |
//! | [`layout`] | a published model to be trained further, and its files written again |
//! | [`tensor_file`] | tensors written one after the other |
//! | `weights`, `source` | its tensors, and which of them a parameter comes from |
//! | `family` | which plan a published configuration is, and back |
//! | `description` | the same of the files of a model, whatever their format |
//! | [`gguf`] | which published configuration the metadata of a GGUF file is |
//! | [`inspect`] | what a model keeps and reads, from headers alone |

#![forbid(unsafe_code)]

mod assembly;
pub mod checkpoint;
pub mod decoder;
mod description;
pub mod embed;
pub mod evaluate;
pub mod exchange;
mod experts;
mod family;
mod feed_forward;
pub mod generate;
pub mod gguf;
pub mod inspect;
pub mod language;
pub mod layout;
pub mod plan;
pub mod sampler;
mod source;
mod stack;
pub mod tensor_file;
mod trace;
mod weights;

pub use assembly::NamedTensor;
pub use checkpoint::CheckpointError;
pub use decoder::{BoundModel, Decoder, Inputs, LogitRows};
pub use generate::Session;
pub use language::Language;
pub use layout::Layout;
pub use plan::{Activation, Dense, Embedding, Experts, FeedForward, Form, Head, Layer, Norm, Plan, Positions, Step};
pub use sampler::Sampler;
pub use trace::{Trace, Traced};
