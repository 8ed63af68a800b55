//! The gradient of the gated recurrent unit: step by step backwards to the gates, then all of the weight's gradient at once.

use super::{GROUP, add_product, longest, thirds};
use crate::Machine;
use crate::disjoint::{Disjoint, check_sequences, each_part, run, sized};
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, apply, load, rows, store};
use std::ops::Range;

/// Rows of the weight's gradient in one work item.
const TILE: usize = 4;

/// Gradients of [`super::gru()`]: `d_x_gates [N, 3 h] +=`, `d_w_hh [3 h, h] +=`, `d_b_hh [3 h] +=`; `d_state [sequences, h]` in: gradient
/// of the final state, out: of the initial one. `y` and `gates` are what the forward pass gave, `initial [sequences, h]` the
/// states it began with. [`gru_backward_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, or the sequences overlap or are out of order.
pub fn gru_backward(
    machine: Machine<'_>,
    hidden: usize,
    sequences: &[Range<usize>],
    d_x_gates: &mut [f32],
    d_w_hh: &mut [f32],
    d_b_hh: &mut [f32],
    d_state: &mut [f32],
    d_y: &[f32],
    y: &[f32],
    gates: &[f32],
    w_hh: &[f32],
    initial: &[f32],
    scratch: &mut [f32],
) {
    let n = rows(y.len(), hidden);
    assert_eq!([d_y.len(), gates.len(), d_x_gates.len()], [n, 4 * n, 3 * n].map(|n| n * hidden), "d_y, gates and d_x_gates");
    assert_eq!([w_hh.len(), d_w_hh.len()], [3 * hidden * hidden; 2], "w_hh and d_w_hh");
    assert_eq!(d_b_hh.len(), 3 * hidden, "d_b_hh");
    assert_eq!([initial.len(), d_state.len()], [sequences.len() * hidden; 2], "initial and d_state");
    check_sequences(sequences, n);
    let d_gates = expect::scratch(scratch, gru_backward_scratch(hidden, n));
    let machine = sized(machine, n * w_hh.len());
    let past = Past { hidden, sequences, y, initial };
    {
        let [d_x_gates, d_gates, d_state] = [d_x_gates, &mut *d_gates, d_state].map(Disjoint::new);
        run(machine, sequences.len().div_ceil(GROUP), &|item, _worker| {
            let group = item * GROUP..sequences.len().min((item + 1) * GROUP);
            for t in (0..longest(&sequences[group.clone()])).rev() {
                let mut members: [Backward<'_>; GROUP] = Default::default();
                let active = group.clone().filter(|&i| t < sequences[i].len());
                let mut count = 0;
                for (member, i) in members.iter_mut().zip(active) {
                    let row = sequences[i].start + t;
                    // SAFETY: sequences do not overlap (checked) and each belongs to one item, so no other item has this
                    // row or state; this item takes each once a step.
                    *member = unsafe {
                        Backward {
                            d_x_gates: d_x_gates.slice(3 * row * hidden..3 * (row + 1) * hidden),
                            d_gates: d_gates.slice(3 * row * hidden..3 * (row + 1) * hidden),
                            d_state: d_state.slice(i * hidden..(i + 1) * hidden),
                            d_y: &d_y[row * hidden..(row + 1) * hidden],
                            gates: &gates[4 * row * hidden..4 * (row + 1) * hidden],
                            before: past.before(i, t),
                        }
                    };
                    count += 1;
                }
                machine.isa.run(BackwardStep { members: &mut members[..count], weight: w_hh });
            }
        });
    }
    let d_gates = &*d_gates;
    each_part(machine, (3 * hidden).div_ceil(TILE), [(d_w_hh, TILE * hidden), (d_b_hh, TILE)], |item, [d_weight, d_bias]| {
        machine.isa.run(WeightGradient { d_weight, d_bias, first: item * TILE, d_gates, past });
    });
}

/// Values that [`gru_backward`] needs as scratch for `rows` rows.
pub fn gru_backward_scratch(hidden: usize, rows: usize) -> usize {
    3 * hidden * rows
}

/// The hidden state before each row.
#[derive(Clone, Copy)]
struct Past<'a> {
    hidden: usize,
    sequences: &'a [Range<usize>],
    y: &'a [f32],
    initial: &'a [f32],
}

impl<'a> Past<'a> {
    /// The state of sequence `i` before its row `t`.
    #[inline(always)]
    fn before(self, i: usize, t: usize) -> &'a [f32] {
        match t {
            0 => &self.initial[i * self.hidden..(i + 1) * self.hidden],
            _ => {
                let row = self.sequences[i].start + t - 1;
                &self.y[row * self.hidden..(row + 1) * self.hidden]
            }
        }
    }
}

/// One sequence at one step of the backward pass.
#[derive(Default)]
struct Backward<'a> {
    d_x_gates: &'a mut [f32],
    d_gates: &'a mut [f32],
    d_state: &'a mut [f32],
    d_y: &'a [f32],
    gates: &'a [f32],
    before: &'a [f32],
}

struct BackwardStep<'a, 'b> {
    members: &'a mut [Backward<'b>],
    /// `[3 h, h]`
    weight: &'a [f32],
}

impl Kernel for BackwardStep<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for Backward { d_x_gates, d_gates, d_state, d_y, gates, before } in self.members.iter_mut() {
            let hidden = before.len();
            let ([d_r, d_z, d_n], [to_r, to_z, to_n]) = (thirds_mut(d_gates, hidden), thirds_mut(d_x_gates, hidden));
            let (values, h_n) = gates.split_at(3 * hidden);
            let [r, z, n] = thirds(values, hidden);
            let y = [d_r, d_z, d_n, to_r, to_z, to_n, &mut **d_state];
            apply(simd, CellGradient, y, [r, z, n, h_n, *before, *d_y]);
        }
        let mut y: [&mut [f32]; GROUP] = Default::default();
        let mut x: [&[f32]; GROUP] = Default::default();
        let count = self.members.len();
        for (i, member) in self.members.iter_mut().enumerate() {
            y[i] = member.d_state;
            x[i] = member.d_gates;
        }
        add_product(simd, &mut y[..count], &x[..count], self.weight);
    }
}

fn thirds_mut(gates: &mut [f32], hidden: usize) -> [&mut [f32]; 3] {
    let (a, rest) = gates.split_at_mut(hidden);
    let (b, c) = rest.split_at_mut(hidden);
    [a, b, c]
}

/// From the gradient of the state after a row to that of the hidden state's share of the gates (set), of the input's share
/// (added), and of the state before as far as it is kept (set).
#[derive(Clone, Copy)]
struct CellGradient;

impl Map<7, 6> for CellGradient {
    #[inline(always)]
    fn at<S: Simd>(
        self,
        simd: S,
        [_, _, _, to_r, to_z, to_n, d_state]: [S::V; 7],
        [r, z, n, h_n, h, d_y]: [S::V; 6],
    ) -> [S::V; 7] {
        let one = simd.splat(1.0);
        let d_h = simd.add(d_state, d_y);
        let d_n = simd.mul(simd.mul(d_h, simd.sub(one, z)), simd.mul(simd.sub(one, n), simd.add(one, n)));
        let d_z = simd.mul(simd.mul(d_h, simd.sub(h, n)), simd.mul(z, simd.sub(one, z)));
        let d_r = simd.mul(simd.mul(d_n, h_n), simd.mul(r, simd.sub(one, r)));
        let to = [simd.add(to_r, d_r), simd.add(to_z, d_z), simd.add(to_n, d_n)];
        [d_r, d_z, simd.mul(d_n, r), to[0], to[1], to[2], simd.mul(d_h, z)]
    }
}

/// `d_weight [rows, h] += ` the outer products of `d_gates` (rows `first..` of the weight) with the state before, `d_bias [rows]
/// +=` their sum.
struct WeightGradient<'a> {
    d_weight: &'a mut [f32],
    d_bias: &'a mut [f32],
    first: usize,
    d_gates: &'a [f32],
    past: Past<'a>,
}

impl Kernel for WeightGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        match self.d_bias.len() {
            1 => self.tile::<S, 1>(simd),
            2 => self.tile::<S, 2>(simd),
            3 => self.tile::<S, 3>(simd),
            _ => self.tile::<S, 4>(simd),
        }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(&mut self, simd: S) {
        let hidden = self.past.hidden;
        for column in (0..hidden).step_by(S::LANES) {
            let mut sums = [simd.splat(0.0); R];
            for (i, rows) in self.past.sequences.iter().enumerate() {
                for (t, row) in rows.clone().enumerate() {
                    let before = load(simd, &self.past.before(i, t)[column..]);
                    let d_gates = &self.d_gates[3 * hidden * row + self.first..][..R];
                    for r in 0..R {
                        sums[r] = simd.fma(simd.splat(d_gates[r]), before, sums[r]);
                    }
                }
            }
            for (d_weight, sum) in self.d_weight.chunks_exact_mut(hidden).zip(sums) {
                let d_weight = &mut d_weight[column..];
                store(simd, d_weight, simd.add(load(simd, d_weight), sum));
            }
        }
        for row in self.past.sequences.iter().cloned().flatten() {
            let d_gates = &self.d_gates[3 * hidden * row + self.first..];
            for (d_bias, d) in self.d_bias.iter_mut().zip(d_gates) {
                *d_bias += d;
            }
        }
    }
}
