//! Attention, forward and backward, against its plain twin, against PyTorch, and against itself cut and stored in other ways.

#[path = "../check/mod.rs"]
mod check;

mod backward;
mod bf16;
mod case;
mod forward;
mod invariance;
mod oracle;
mod refusal;
mod statistics;
