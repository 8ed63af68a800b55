//! What a parallel region costs, in nanoseconds: an empty one of the hot pool, one in which every worker takes part, and threads
//! started for each region.

use attendant_kernels::{Executor, Pool};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    let pool = Pool::new(threads);
    let hot = median(2_000, 100, || pool.run(threads, &|item, _| _ = std::hint::black_box(item)));
    let together = median(2_000, 100, || {
        let entered = AtomicUsize::new(0);
        pool.run(threads, &|_, _| {
            entered.fetch_add(1, Ordering::Relaxed);
            while entered.load(Ordering::Relaxed) < threads {
                std::hint::spin_loop();
            }
        });
    });
    let scoped = median(20, 20, || {
        std::thread::scope(|scope| {
            for item in 1..threads {
                scope.spawn(move || std::hint::black_box(item));
            }
        });
    });
    println!(
        r#"{{"threads": {threads}, "empty_ns": {hot:.0}, "all_workers_ns": {together:.0}, "scoped_threads_ns": {scoped:.0}}}"#
    );
}

/// The median over `rounds` of the mean time of `each` calls.
fn median(rounds: usize, each: usize, call: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            (0..each).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / each as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}
