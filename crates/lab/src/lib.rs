//! Training and fair comparison of attention mechanisms.

pub mod comparison;
mod grid;
mod number;
pub mod report;
pub mod sentence;
pub mod table;
