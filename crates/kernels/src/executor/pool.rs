//! The thread pool: one gate word that says whether a region is open and how many workers are inside.
//!
//! A region is opened by the caller, who then works on it like everybody else. A worker that sees the open gate enters by
//! counting itself in, takes items from a shared counter until none is left, and counts itself out. When the caller finds
//! no item left it closes the gate and waits only for those inside: a worker that is asleep, or that the operating system
//! keeps off its core, delays nobody.

use super::Executor;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Pauses a worker makes while it waits for the next region before it sleeps: about 30 microseconds (Zen 3, 2026-11-24),
/// longer than the gap between two kernels of one layer.
const SPINS: u32 = 2048;

/// The gate: workers inside in the low bits, then the open bit, then the number of the region.
const INSIDE: u64 = (1 << 15) - 1;
const OPEN: u64 = 1 << 15;
const NEXT_REGION: u64 = 1 << 16;

type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Threads that wait for work by spinning briefly, then sleep. The caller of [`Executor::run`] is worker 0.
///
/// One region is open at a time. A run that finds the pool taken, because it was called from inside a task or from a second
/// thread, does all its items on the thread that called it, as worker 0 of its own run: it cannot deadlock, and its
/// results are the same.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    taken: AtomicBool,
}

struct Shared {
    gate: Line<AtomicU64>,
    next: Line<AtomicUsize>,
    region: UnsafeCell<Option<Region>>,
    /// Worker `i + 1` sleeps, or is about to.
    asleep: Vec<Line<AtomicBool>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Region {
    task: &'static Task<'static>,
    items: usize,
}

/// A value with its cache line to itself (two, since the prefetcher of x86 fetches pairs).
#[repr(align(128))]
struct Line<T>(T);

// SAFETY: everything but `region` is Sync by itself. `region` is written only by the caller that has taken the pool, while
// the gate is closed and nobody inside, and read only by workers inside; entering reads (Acquire) the gate that the
// caller wrote (Release) after `region`, and the caller has seen (Acquire) every earlier worker leave (Release).
unsafe impl Sync for Shared {}
// SAFETY: as above; the task that `region` refers to is Sync, so it may be called from any thread.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` workers, of which the caller of each run is one.
    ///
    /// # Panics
    /// If `threads` is 0 or above 16,384, or if the operating system starts no more threads.
    pub fn new(threads: usize) -> Pool {
        assert!((1..=1 << 14).contains(&threads), "threads of a pool: want 1..=16384, got {threads}");
        let shared = Arc::new(Shared {
            gate: Line(AtomicU64::new(0)),
            next: Line(AtomicUsize::new(0)),
            region: UnsafeCell::new(None),
            asleep: (1..threads).map(|_| Line(AtomicBool::new(false))).collect(),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let mut pool = Pool { threads: Vec::new(), taken: AtomicBool::new(false), shared };
        for worker in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name(format!("worker-{worker}"));
            // If there are no more, the pool is dropped, which ends those that there are.
            pool.threads.push(thread.spawn(move || shared.serve(worker)).expect("the operating system starts a thread"));
        }
        pool
    }

    fn run_together(&self, items: usize, task: &Task<'_>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. `task` is used by workers inside the gate and by this call; the call closes
        // the gate and waits until nobody is inside before it returns, and it returns by no other way: panics of
        // tasks are caught in `Shared::work`.
        let task = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        let region = Region { task, items };
        // SAFETY: this call has taken the pool, and the run before it left the gate closed with nobody inside.
        unsafe { *shared.region.get() = Some(region) };
        shared.next.0.store(0, Ordering::Relaxed);
        let closed = shared.gate.0.load(Ordering::Relaxed);
        // Sequentially consistent, like the sleeper's flag: either the sleeper sees this, or this call sees the sleeper.
        shared.gate.0.store(closed.wrapping_add(NEXT_REGION) | OPEN, Ordering::SeqCst);
        // No more helpers than items beyond the caller's first.
        for (asleep, thread) in shared.asleep.iter().zip(&self.threads).take(items - 1) {
            if asleep.0.load(Ordering::SeqCst) && asleep.0.swap(false, Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
        shared.work(region, 0);
        shared.gate.0.fetch_and(!OPEN, Ordering::Relaxed);
        shared.await_empty();
    }
}

// SAFETY: `Shared::next` gives each number below `items` to exactly one worker; the thread of `Pool::threads[i]` is always
// worker `i + 1` and the thread that took the pool is worker 0; `run_together` waits for all. A run on the calling thread
// alone is one loop as worker 0.
unsafe impl Executor for Pool {
    fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, items: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        if items <= 1 || self.threads.is_empty() || self.taken.swap(true, Ordering::Acquire) {
            return super::Inline.run(items, task);
        }
        self.run_together(items, task);
        let panic = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.taken.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A worker catches what its tasks throw, so it ends without a panic of its own.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of a worker.
    fn serve(&self, worker: usize) {
        let mut last = 0;
        while let Some(open) = self.await_region(worker, last) {
            last = open / NEXT_REGION;
            if self.enter(last) {
                // SAFETY: this worker is inside, so `region` is not written; see `Sync`.
                let region = unsafe { *self.region.get() };
                self.work(region.expect("an open gate has a region"), worker);
                self.gate.0.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// Waits for a region other than `last` to be open and gives the gate's word, or nothing when the pool ends.
    fn await_region(&self, worker: usize, last: u64) -> Option<u64> {
        let open = || {
            let gate = self.gate.0.load(Ordering::SeqCst);
            (gate & OPEN != 0 && gate / NEXT_REGION != last).then_some(gate)
        };
        let mut spins = 0;
        while !self.stop.load(Ordering::SeqCst) {
            if let Some(gate) = open() {
                return Some(gate);
            }
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
                continue;
            }
            let asleep = &self.asleep[worker - 1].0;
            asleep.store(true, Ordering::SeqCst);
            if open().is_none() && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
        }
        None
    }

    /// Counts a worker in, unless `region` has closed.
    fn enter(&self, region: u64) -> bool {
        let count_in = |gate: u64| (gate & OPEN != 0 && gate / NEXT_REGION == region).then_some(gate + 1);
        self.gate.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, count_in).is_ok()
    }

    /// Waits until nobody is inside: spins, and after a while lets other threads have the core between looks.
    fn await_empty(&self) {
        let mut looks = 0;
        while self.gate.0.load(Ordering::Acquire) & INSIDE != 0 {
            if looks < SPINS {
                looks += 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    /// Takes items until none is left. A panic is kept for the caller, and the other items still run.
    fn work(&self, region: Region, worker: usize) {
        loop {
            let item = self.next.0.fetch_add(1, Ordering::Relaxed);
            if item >= region.items {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (region.task)(item, worker))) {
                let mut kept = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                // The others' are not dropped: what a panic carries may panic when it is, here, where nothing would catch it.
                if kept.is_none() { *kept = Some(panic) } else { std::mem::forget(panic) }
            }
        }
    }
}
