//! Readers of model files that a hostile file cannot hurt.
//!
//! Every count, length, offset, product and sum in a file is checked before it is used, and everything that a file can make a reader
//! do has a stated bound. What cannot be used is refused by one line that names the file, the field and the byte.

#![deny(unsafe_code)]

pub mod config;
pub mod dtype;
pub mod error;
pub mod generation;
pub mod gguf;
pub mod json;
pub mod mapping;
pub mod safetensors;
pub mod shards;
pub mod tensor;
pub mod weights;

pub use config::{Config, Field, Fields};
pub use dtype::Dtype;
pub use error::{Error, Refusal, Result, quoted};
pub use generation::GenerationConfig;
pub use mapping::{Access, FileBytes};
pub use tensor::{TensorInfo, TensorView, Tensors};
pub use weights::{Metadata, Weights};

/// The example of the README, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
