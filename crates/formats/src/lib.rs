//! Readers of model files that a hostile file cannot hurt.
//!
//! Every count, length, offset, product and sum in a file is checked before it is used, and everything that a file can make a reader
//! do has a stated bound. What cannot be used is refused by one line that names the file, the field and the byte.

#![deny(unsafe_code)]

pub mod error;
mod guard;
pub mod json;
pub mod template;
pub mod tokenizer;

pub use error::{Error, Refusal, Result, quoted};
pub use template::{Chat, ChatTemplate};
pub use tokenizer::Tokenizer;
