//! Training and fair comparison of attention mechanisms.

#![forbid(unsafe_code)]

pub mod comparison;
mod grid;
mod number;
pub mod report;
pub mod sentence;
pub mod table;
