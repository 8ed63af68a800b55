//! Every kernel apart from products and attention against its plain twin, on every instruction set and on one and two threads;
//! gradients also against differences; the recurrences and the optimizer also against values from PyTorch.

mod activation;
#[path = "../check/mod.rs"]
mod check;
mod delta;
mod elementwise;
mod embedding;
mod gru;
mod loss;
mod norm;
mod optimizer;
mod pytorch;
mod rope;
mod scan;
mod selective;
mod support;
