//! The plain twin of every kernel: loops that follow the formula, summing in f64, sharing nothing with the kernels but
//! the types that describe a call. Slow; the tests hold the kernels against them.

mod attention;
mod product;

pub use attention::{attention_backward, attention_forward};
pub use product::product;
