//! The pool: every item once, no two at a time with one worker number, panics, callers inside and beside each other.

use attendant_kernels::{Executor, Inline, Pool};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How often something is repeated: Miri, which is some thousand times slower, needs few repetitions to see a race.
const fn times(natively: usize) -> usize {
    if cfg!(miri) { natively.div_ceil(400) } else { natively }
}

/// Runs a region and checks the promises of [`Executor`].
fn check_region(executor: &dyn Executor, items: usize, work: impl Fn(usize) + Sync) {
    let times: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
    let busy: Vec<_> = (0..executor.workers()).map(|_| AtomicBool::new(false)).collect();
    executor.run(items, &|item, worker| {
        assert!(!busy[worker].swap(true, Ordering::Relaxed), "two items at a time on worker {worker}");
        work(item);
        times[item].fetch_add(1, Ordering::Relaxed);
        busy[worker].store(false, Ordering::Relaxed);
    });
    assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1), "an item did not run exactly once");
}

#[test]
fn many_tiny_regions() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads);
        assert_eq!(pool.workers(), threads);
        for region in 0..times(20_000) {
            check_region(&pool, region % 7, |_| {});
        }
    }
}

#[test]
fn workers_that_fell_asleep_are_woken() {
    let pool = Pool::new(2);
    for _ in 0..times(10) {
        thread::sleep(Duration::from_millis(5));
        let others = AtomicUsize::new(0);
        // The caller's item waits for one that another worker took.
        pool.run(2, &|_, worker| {
            if worker > 0 {
                others.fetch_add(1, Ordering::Relaxed);
            }
            while others.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
        });
    }
}

#[test]
fn results_are_seen_by_the_caller() {
    let pool = Pool::new(4);
    for region in 0..times(5_000) {
        let mut values = [0; 64];
        let places = values.each_mut().map(std::sync::Mutex::new);
        pool.run(64, &|item, _| **places[item].lock().unwrap() = item + region);
        assert!(values.iter().enumerate().all(|(i, &value)| value == i + region));
    }
}

#[test]
fn a_panic_reaches_the_caller_after_every_item_and_the_pool_lives_on() {
    let pool = Pool::new(3);
    for round in 0..times(200) {
        let done = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(20, &|item, _| {
                done.fetch_add(1, Ordering::Relaxed);
                assert!(item != 7, "item seven of round {round}");
            });
        }));
        let message = caught.expect_err("the panic propagates");
        assert_eq!(message.downcast_ref::<String>(), Some(&format!("item seven of round {round}")));
        assert_eq!(done.load(Ordering::Relaxed), 20);
        check_region(&pool, 20, |_| {});
    }
}

#[test]
fn a_region_inside_a_task_runs_on_its_thread() {
    let pool = Pool::new(2);
    for _ in 0..times(200) {
        check_region(&pool, 8, |_| {
            let caller = thread::current().id();
            check_region(&pool, 5, |_| assert_eq!(thread::current().id(), caller));
        });
    }
}

#[test]
fn a_pool_inside_a_task_of_another() {
    let (outer, inner) = (Pool::new(2), Pool::new(2));
    for _ in 0..times(200) {
        check_region(&outer, 4, |_| check_region(&inner, 6, |_| {}));
    }
}

#[test]
fn two_threads_share_a_pool() {
    let pool = Pool::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for region in 0..times(5_000) {
                    check_region(&pool, region % 5, |_| {});
                }
            });
        }
    });
}

#[test]
fn dropping_a_pool_ends_its_threads() {
    for threads in 1..=4 {
        for wait in [0, 2] {
            let pool = Pool::new(threads);
            check_region(&pool, 3, |_| {});
            thread::sleep(Duration::from_millis(wait));
        }
    }
}

#[test]
fn the_calling_thread_alone_keeps_the_promises_too() {
    check_region(&Inline, 9, |_| {});
}

/// What a panic carries may itself panic when it is dropped, which only the caller may meet with.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_panic_that_panics_when_it_is_dropped_reaches_the_caller_alone() {
    let pool = Pool::new(2);
    let caught = catch_unwind(AssertUnwindSafe(|| pool.run(6, &|_, _| panic_any(Bomb))));
    std::mem::forget(caught.expect_err("items panic"));
    check_region(&pool, 4, |_| {});
}

#[test]
#[should_panic(expected = "threads of a pool: want 1..=16384, got 0")]
fn a_pool_without_threads_is_refused() {
    Pool::new(0);
}
