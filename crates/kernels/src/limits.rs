//! What the processor itself allows: loops that do nothing else, for a kernel's rate to be a share of.

use crate::Machine;
use crate::disjoint::run;
use crate::simd::{Kernel, Lines, SQUARE, Simd};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Chains of multiply-adds: enough to hide the latency of one, and few enough for the registers of every instruction set.
const CHAINS: usize = 12;

/// Multiply-adds in a chain between two looks at the clock.
const ROUNDS: usize = 1 << 20;

/// Multiply-adds of f32 in registers, by every worker. Gives how many operations that were, two for each lane of each.
pub fn multiply_adds(machine: Machine<'_>) -> f64 {
    let workers = machine.executor.workers();
    run(machine, workers, &|_, _| {
        black_box(machine.isa.run(MultiplyAdds));
    });
    let lanes = machine.isa.run(Lanes);
    (2 * workers * ROUNDS * CHAINS * lanes) as f64
}

/// Products of pairs of bf16 in registers, by every worker, two operations for each product. Without instructions for it they are
/// products of f32, of operands that were widened before; with AMX they are products of squares, of operands in the first-level cache.
pub fn bf16_multiply_adds(machine: Machine<'_>) -> f64 {
    let operations = AtomicU64::new(0);
    run(machine, machine.executor.workers(), &|_, _| {
        let (count, result) = machine.isa.run_pairs(Dots);
        operations.fetch_add(count, Relaxed);
        black_box(result);
    });
    operations.into_inner() as f64
}

/// Reads every value once, by every worker.
pub fn read(machine: Machine<'_>, values: &[f32]) {
    let part = values.len().div_ceil(machine.executor.workers()).max(1);
    run(machine, values.len().div_ceil(part), &|item, _| {
        let values = &values[item * part..((item + 1) * part).min(values.len())];
        black_box(machine.isa.run(Read { values }));
    });
}

struct Lanes;

impl Kernel for Lanes {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> usize {
        S::LANES
    }
}

struct MultiplyAdds;

impl Kernel for MultiplyAdds {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        // Behind a black box, or the compiler knows what they come to.
        let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(1e-3)));
        let mut chains = [simd.splat(1.0); CHAINS];
        for _ in 0..ROUNDS {
            for chain in &mut chains {
                *chain = simd.fma(*chain, a, b);
            }
        }
        chains.into_iter().map(|chain| simd.reduce_add(chain)).sum()
    }
}

/// Gives how many operations, and something that depends on all of them.
struct Dots;

impl Kernel for Dots {
    type Output = (u64, f32);
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (u64, f32) {
        if simd.has_squares() {
            return dot_squares(simd);
        }
        let one = simd.pair(simd.splat(1.0), simd.splat(1.0));
        let (a, mut b) = (black_box(one), simd.pair(simd.splat(1e-3), simd.splat(1e-3)));
        let mut chains = [simd.splat(1.0); CHAINS];
        for _ in 0..ROUNDS {
            // Anew each time, or where products and sums are two instructions only the sums would stay in the loop.
            b = black_box(b);
            for chain in &mut chains {
                *chain = simd.dot(a, b, *chain);
            }
        }
        ((4 * ROUNDS * CHAINS * S::LANES) as u64, chains.into_iter().map(|chain| simd.reduce_add(chain)).sum())
    }
}

/// Steps of two by two squares, the same operands over and over.
#[inline(always)]
fn dot_squares<S: Simd>(simd: S) -> (u64, f32) {
    const STEPS: usize = ROUNDS / 4;
    let mut values = Lines([0.0; 4 * SQUARE * SQUARE]);
    let operand = values.0.as_ptr();
    let lower = operand.wrapping_add(SQUARE * SQUARE);
    // SAFETY: there are squares (the caller has seen it); the array holds two by two of them, with either stride.
    unsafe {
        simd.load_squares::<2, 2>(None, 0);
        for _ in 0..STEPS {
            simd.multiply_squares::<2, 2, false>([operand, lower], SQUARE, operand, 2 * SQUARE, 1);
        }
        simd.store_squares::<2, 2>(values.0.as_mut_ptr(), 2 * SQUARE);
    }
    ((2 * STEPS * (2 * SQUARE) * (2 * SQUARE) * (2 * SQUARE)) as u64, values.0.iter().sum())
}

struct Read<'a> {
    values: &'a [f32],
}

impl Kernel for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 8];
        for chunk in self.values.chunks_exact(8 * S::LANES) {
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has 8 vectors.
                *sum = simd.add(*sum, unsafe { simd.load(chunk.as_ptr().add(j * S::LANES)) });
            }
        }
        sums.into_iter().map(|sum| simd.reduce_add(sum)).sum()
    }
}
