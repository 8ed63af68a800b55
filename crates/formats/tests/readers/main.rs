//! Files that a reader must refuse, files that it must take, and files that nobody made on purpose.

#![forbid(unsafe_code)]

mod clock;
mod config;
mod gguf;
mod hostile;
mod mutation;
mod parts;
mod safetensors;
mod shards;
mod sound;
mod template;
mod valid;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts what is allocated, so that a test can say what a reader took.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Memory is counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
