//! What computes: threads and an instruction set.

use attendant_kernels::{Isa, Machine, Pool};
use std::sync::Arc;

/// A pool of threads and the instruction set they use. Clones share the pool.
#[derive(Clone)]
pub struct Processor {
    pool: Arc<Pool>,
    isa: Isa,
}

impl Processor {
    /// The most threads that one has.
    pub const MOST_THREADS: usize = 1024;

    /// `threads` threads, at least one and at most [`MOST_THREADS`](Self::MOST_THREADS), with the best instruction set of this machine (or what `ATTENDANT_ISA` says).
    pub fn new(threads: usize) -> Processor {
        Processor::with_isa(threads, Isa::best())
    }

    /// `threads` threads, at least one and at most [`MOST_THREADS`](Self::MOST_THREADS), with a given instruction set.
    pub fn with_isa(threads: usize, isa: Isa) -> Processor {
        Processor { pool: Arc::new(Pool::new(threads.clamp(1, Self::MOST_THREADS))), isa }
    }

    /// As many threads as this machine has processors, if those are not too many.
    pub fn all() -> Processor {
        Processor::new(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }

    /// What the kernels take.
    pub fn machine(&self) -> Machine<'_> {
        Machine { isa: self.isa, executor: &*self.pool }
    }

    /// Threads that may work at once.
    pub fn threads(&self) -> usize {
        self.machine().executor.workers()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
