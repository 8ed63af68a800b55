//! Training and fair comparison of attention mechanisms.

#![forbid(unsafe_code)]

pub mod batches;
pub mod bench;
pub mod checkpoint;
pub mod compare;
pub mod comparison;
pub mod config;
pub mod corpus;
pub mod decode;
pub mod environment;
pub mod error;
pub mod events;
mod field;
mod grid;
pub mod hold;
pub mod interval;
pub mod number;
pub mod optimizer;
pub mod recall;
pub mod report;
pub mod run;
pub mod sentence;
pub mod table;
pub mod task;
pub mod trainer;
pub mod vocabulary;

pub use error::{LabError, Result};
