//! Rows, the tape that trains, seeded random numbers, exact derivatives.
//!
//! A [`Tape`] holds rows of `f32` and the fused operations that made them. With recording on it can go backward through
//! them; with recording off the same calls compute the same bits and remember nothing, which is how a model runs.

#![forbid(unsafe_code)]

pub mod buffer;
pub mod error;
pub mod ops;
pub mod processor;
pub mod random;
pub mod real;
pub mod rows;
pub mod tape;
pub mod tensor;

pub use attendant_kernels as kernels;
pub use attendant_kernels::Precision;
pub use error::{Error, Result};
pub use processor::Processor;
pub use random::Random;
pub use real::{Dual, Real};
pub use rows::Rows;
pub use tape::{Activations, Tape, Var};
pub use tensor::Tensor;
