//! Who runs a kernel's work items: the calling thread, or a pool of threads that spin briefly and then sleep.

mod pool;

pub use pool::Pool;

/// Runs work items, in any order, each exactly once, and returns when all are done.
///
/// # Safety
/// Kernels give every item its own part of the output and every worker its own part of the scratch, without locks. So an
/// implementation must call `task` exactly once for each item, must return only after every call has, and must never let
/// two calls that overlap in time share a worker number, nor hand out one that is not below [`Executor::workers`].
/// (These are promises about the calls that one `run` makes. Two runs at the same time may both have a worker 0: each kernel
/// call has its own scratch.)
pub unsafe trait Executor: Sync {
    /// How many items may run at the same time, at least 1. A kernel's scratch is sized by this.
    fn workers(&self) -> usize;

    /// Calls `task(item, worker)` once for every `item` in `0..items`.
    fn run(&self, items: usize, task: &(dyn Fn(usize, usize) + Sync));
}

/// Runs everything on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

// SAFETY: one loop on one thread.
unsafe impl Executor for Inline {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, items: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        for item in 0..items {
            task(item, 0);
        }
    }
}
