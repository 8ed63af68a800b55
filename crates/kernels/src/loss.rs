//! Cross entropy over a vocabulary.

use crate::Machine;
use crate::disjoint::each_part;
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, Term, apply, max, rows, rows_per_item, sum};

/// A target that is none: the row's loss is 0 and it gives no gradient.
pub const IGNORE: u32 = u32::MAX;

/// `losses [n] = lse - logits[target]` and `lse [n] = ln(sum(exp(logits)))` for each row of `logits [n, vocab]`.
///
/// # Panics
/// If a length does not fit, or a target is neither below `vocab` nor [`IGNORE`].
pub fn cross_entropy(machine: Machine<'_>, losses: &mut [f32], lse: &mut [f32], logits: &[f32], targets: &[u32], vocab: usize) {
    let n = rows(logits.len(), vocab);
    assert_eq!([losses.len(), lse.len(), targets.len()], [n; 3], "losses, lse and targets of {n} rows");
    check_targets(targets, vocab);
    let per_item = rows_per_item(vocab);
    each_part(machine, n.div_ceil(per_item), [(losses, per_item), (lse, per_item)], |item, [losses, lse]| {
        let first = item * per_item;
        for (i, (loss, lse)) in losses.iter_mut().zip(lse).enumerate() {
            let logits = &logits[(first + i) * vocab..(first + i + 1) * vocab];
            let (largest, sum) = machine.isa.run(LogSumExp { logits });
            let ln_sum = f64::from(sum).ln();
            *lse = (f64::from(largest) + ln_sum) as f32;
            *loss = match targets[first + i] {
                IGNORE => 0.0,
                target => (f64::from(largest) - f64::from(logits[target as usize]) + ln_sum) as f32,
            };
        }
    });
}

/// Gradient of [`cross_entropy`]: `d_logits [n, vocab] += d_losses [n] (probs - onehot(target))`, with the `lse [n]` that it
/// gave.
///
/// # Panics
/// As [`cross_entropy`].
pub fn cross_entropy_backward(
    machine: Machine<'_>,
    d_logits: &mut [f32],
    logits: &[f32],
    lse: &[f32],
    targets: &[u32],
    d_losses: &[f32],
    vocab: usize,
) {
    let n = rows(logits.len(), vocab);
    assert_eq!(d_logits.len(), logits.len(), "d_logits and logits");
    assert_eq!([lse.len(), targets.len(), d_losses.len()], [n; 3], "lse, targets and d_losses of {n} rows");
    check_targets(targets, vocab);
    let per_item = rows_per_item(vocab);
    each_part(machine, n.div_ceil(per_item), [(d_logits, per_item * vocab)], |item, [d_logits]| {
        for (i, d_logits) in d_logits.chunks_exact_mut(vocab).enumerate() {
            let row = item * per_item + i;
            if targets[row] == IGNORE {
                continue;
            }
            let op = AddProbs { lse: lse[row], factor: d_losses[row] };
            machine.isa.run(Backward { op, d_logits, logits: &logits[row * vocab..(row + 1) * vocab] });
            d_logits[targets[row] as usize] -= d_losses[row];
        }
    });
}

fn check_targets(targets: &[u32], vocab: usize) {
    expect::below("target", targets.iter().copied().filter(|target| *target != IGNORE), vocab);
}

/// The largest logit, and the sum of `exp(logit - largest)`.
struct LogSumExp<'a> {
    logits: &'a [f32],
}

impl Kernel for LogSumExp<'_> {
    type Output = (f32, f32);
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        let largest = max(simd, self.logits);
        (largest, sum(simd, ExpLess(largest), [self.logits]))
    }
}

/// `sum += exp(x - largest)`
#[derive(Clone, Copy)]
struct ExpLess(f32);

impl Term<1> for ExpLess {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [x]: [S::V; 1]) -> S::V {
        simd.add(sum, simd.exp(simd.sub(x, simd.splat(self.0))))
    }

    #[inline(always)]
    fn pad(self) -> f32 {
        f32::NEG_INFINITY
    }
}

struct Backward<'a> {
    op: AddProbs,
    d_logits: &'a mut [f32],
    logits: &'a [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        apply(simd, self.op, [self.d_logits], [self.logits]);
    }
}

/// `d_logits += factor exp(logits - lse)`
#[derive(Clone, Copy)]
struct AddProbs {
    lse: f32,
    factor: f32,
}

impl Map<1, 1> for AddProbs {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [d]: [S::V; 1], [x]: [S::V; 1]) -> [S::V; 1] {
        [simd.fma(simd.exp(simd.sub(x, simd.splat(self.lse))), simd.splat(self.factor), d)]
    }
}
