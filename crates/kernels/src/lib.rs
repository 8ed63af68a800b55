//! Attention and the operations around it, as functions over slices.
//!
//! Slices in, slices out. Kernels do not allocate, read the environment or start threads: scratch comes from the caller (each
//! kernel that needs it has a `*_scratch` function that says how much), and parallel work goes to the [`Executor`] in the
//! [`Machine`] that every kernel takes first. [`Pool`] is an executor to use; [`Inline`] runs on the calling thread.
//! [`memory::Memory`], [`quant::Matrix`], [`product::bf16::Packed`] and [`Pool`] own memory, and [`Isa::best`] reads
//! `ATTENDANT_ISA` once.
//!
//! Every kernel has a plain twin of the same signature in [`naive`], which the tests hold it against.
//!
//! Results are the same bits whatever the number of threads, and a row's result does not depend on which other rows
//! share the call: work is cut by shape, never by the number of workers.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod activation;
pub mod attention;
pub mod delta;
mod disjoint;
mod dots;
mod element;
pub mod elementwise;
pub mod embedding;
pub mod executor;
mod expect;
pub mod gru;
pub mod int4;
pub mod isa;
pub mod limits;
pub mod loss;
pub mod memory;
pub mod naive;
pub mod norm;
pub mod optimizer;
mod pairs;
mod precision;
pub mod product;
pub mod quant;
pub mod rope;
pub mod scan;
pub mod selective;
mod simd;
mod tile;
mod vector;

pub use executor::{Executor, Inline, Pool};
pub use isa::Isa;
pub use precision::Precision;

/// What a kernel runs on: an instruction set and something that runs its work items.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The instruction set to use.
    pub isa: Isa,
    /// Who runs the work items.
    pub executor: &'a dyn Executor,
}

impl Machine<'_> {
    /// How many workers there are, which scratch is for.
    pub fn workers(&self) -> usize {
        self.executor.workers()
    }
}

impl Machine<'static> {
    /// The best instruction set of this processor, on the calling thread alone.
    pub fn inline() -> Self {
        Machine { isa: Isa::best(), executor: &Inline }
    }
}
