//! AdamW, and clipping by the norm of all gradients.

use crate::Machine;
use crate::disjoint::each_part;
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, map};

/// Values whose squares are added up before they join the total.
const PART: usize = 1 << 14;

/// Independent sums within a part: enough for the compiler to fill vectors and to hide the latency of an addition.
const SUMS: usize = 16;

/// Sum of the squares of `x`, in double precision; the order of the additions depends on the length alone. What `scratch` held
/// does not matter; [`sum_squares_scratch`] says how long it must be.
///
/// # Panics
/// If `scratch` is too short.
pub fn sum_squares(machine: Machine<'_>, x: &[f32], scratch: &mut [f64]) -> f64 {
    let parts = sum_squares_scratch(x.len());
    let partial = expect::scratch(scratch, parts);
    each_part(machine, parts, [(&mut *partial, 1)], |item, [sum]| {
        let x = &x[item * PART..x.len().min((item + 1) * PART)];
        sum[0] = machine.isa.run(SumSquares { x });
    });
    partial.iter().sum()
}

/// Values that [`sum_squares`] needs as scratch for `len` values.
pub fn sum_squares_scratch(len: usize) -> usize {
    len.div_ceil(PART)
}

/// What to multiply gradients by so that their norm is at most `max_norm`: `min(1, max_norm / (norm + 1e-6))`, as
/// `torch.nn.utils.clip_grad_norm_`. NaN if the norm is.
pub fn clip_scale(norm: f64, max_norm: f64) -> f32 {
    let scale = max_norm / (norm + 1e-6);
    if scale > 1.0 { 1.0 } else { scale as f32 }
}

/// The settings of AdamW (Loshchilov and Hutter 2019, 1711.05101, algorithm 2, with the decay scaled by the learning rate as in
/// PyTorch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Step size.
    pub learning_rate: f64,
    /// How much of the mean of the gradients one step keeps.
    pub beta1: f64,
    /// How much of the mean of their squares one step keeps.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Decoupled decay: a step first multiplies the parameters by `1 - learning_rate * weight_decay`.
    pub weight_decay: f64,
}

/// One step of AdamW on the parameters `p` with gradients `gradient_scale * g`; `m` and `v` are the running means of the
/// gradients and of their squares, zero before the first step, all of one length. `step` counts from 1.
///
/// # Panics
/// If the lengths differ, or `step` is 0.
pub fn adamw(
    machine: Machine<'_>,
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: u64,
    settings: &AdamW,
    gradient_scale: f32,
) {
    assert!(step > 0, "steps count from 1");
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } = *settings;
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    let op = Step {
        gradient_scale,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        root_scale: (1.0 / correction(beta2).sqrt()) as f32,
        epsilon: epsilon as f32,
        rate: (learning_rate / correction(beta1)) as f32,
        keep: (1.0 - learning_rate * weight_decay) as f32,
    };
    map(machine, op, [p, m, v], [g]);
}

#[derive(Clone, Copy)]
struct Step {
    gradient_scale: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    root_scale: f32,
    epsilon: f32,
    rate: f32,
    keep: f32,
}

impl Map<3, 1> for Step {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [p, m, v]: [S::V; 3], [g]: [S::V; 1]) -> [S::V; 3] {
        let g = simd.mul(g, simd.splat(self.gradient_scale));
        let m = simd.fma(g, simd.splat(self.one_minus_beta1), simd.mul(m, simd.splat(self.beta1)));
        let g2 = simd.mul(g, g);
        let v = simd.fma(g2, simd.splat(self.one_minus_beta2), simd.mul(v, simd.splat(self.beta2)));
        let root = simd.fma(simd.sqrt(v), simd.splat(self.root_scale), simd.splat(self.epsilon));
        let update = simd.div(simd.mul(m, simd.splat(self.rate)), root);
        [simd.sub(simd.mul(p, simd.splat(self.keep)), update), m, v]
    }
}

struct SumSquares<'a> {
    x: &'a [f32],
}

impl Kernel for SumSquares<'_> {
    type Output = f64;
    /// Plain code, since vectors here are of f32: the compiler makes it wide, and the bits are the same on every set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let (chunks, rest) = self.x.as_chunks::<SUMS>();
        let mut sums = [0.0f64; SUMS];
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        sums.iter().sum()
    }
}
