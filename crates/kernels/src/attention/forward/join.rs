//! Joins the states that rows reached over parts of their keys, in order.

use super::Target;
use super::plan::Joined;
use crate::attention::Attention;
use crate::attention::softmax::finish;
use crate::simd::{Kernel, Simd};

pub(super) struct Join<'a> {
    pub(super) spec: &'a Attention<'a>,
    pub(super) join: Joined<'a>,
    pub(super) target: Target<'a>,
}

impl Kernel for Join<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Join { spec, join, target } = self;
        let (group, size) = (spec.heads / spec.kv_heads, 2 + spec.d_v);
        for row in 0..join.sequence.rows.len() * group {
            let first = join.first + row * join.parts * size;
            // SAFETY: the states of this row, which no other item touches; the region that wrote them has ended.
            let states = unsafe { target.parts.slice(first..first + join.parts * size) };
            let max = states.chunks(size).map(|state| state[0]).fold(f32::NEG_INFINITY, f32::max);
            let (out, rest) = states.split_at_mut(size);
            let mut sum = weight(out[0], max, &mut out[1..]);
            for state in rest.chunks_mut(size) {
                sum += weight(state[0], max, &mut state[1..]);
                for (out, value) in out[2..].iter_mut().zip(&state[2..]) {
                    *out += value;
                }
            }
            let head = join.head * group + row % group;
            let finished = finish(max, sum, spec.sink.map(|sink| sink[head]));
            for out in out[2..].iter_mut() {
                *out *= finished.factor;
            }
            target.write((join.sequence.rows.start + row / group) * spec.heads + head, &out[2..], finished.lse);
        }
    }
}

/// Makes a sum of weights and the weighted values after it relative to `max` instead of `own`, and gives the sum.
#[inline(always)]
fn weight(own: f32, max: f32, sums: &mut [f32]) -> f32 {
    let factor = if own == max { 1.0 } else { (own - max).exp2() };
    for sum in sums.iter_mut() {
        *sum *= factor;
    }
    sums[0]
}
