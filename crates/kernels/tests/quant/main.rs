//! Quantised weights: formats against the published ones, products against their plain twins and against exact products.

#[path = "../check/mod.rs"]
mod check;
mod published;
mod refusal;
mod twin;
mod weights;
