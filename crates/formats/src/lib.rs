//! Readers of model files that a hostile file cannot hurt.
//!
//! Every count, length, offset, product and sum in a file is checked before it is used, and everything that a file can make a reader
//! do has a stated bound. What cannot be used is refused by one line that names the file, the field and the byte.

#![deny(unsafe_code)]

pub mod error;
pub mod json;

pub use error::{Error, Refusal, Result, quoted};
