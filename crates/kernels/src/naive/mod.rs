//! The plain twin of every kernel: loops that follow the formula, summing in f64, sharing nothing with the kernels but
//! the types that describe a call. Slow; the tests hold the kernels against them.

pub mod activation;
mod attention;
pub mod delta;
pub mod elementwise;
pub mod embedding;
pub mod gru;
pub mod loss;
pub mod norm;
pub mod optimizer;
mod product;
pub mod quant;
pub mod rope;
pub mod scan;
pub mod selective;

pub use attention::{attention_backward, attention_forward, attention_probs, attention_statistics};
pub use product::{product, product_bf16};
