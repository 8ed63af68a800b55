//! The gated recurrent unit, in PyTorch's form and gate order (reset, update, new).
//!
//! `r = sigmoid(x_r + W_r h + b_r)`, `z = sigmoid(x_z + W_z h + b_z)`, `n = tanh(x_n + r (W_n h + b_n))`,
//! `h = (1 - z) n + z h`.

mod backward;

pub use backward::{gru_backward, gru_backward_scratch};

use crate::Machine;
use crate::activation::{sigmoid, tanh};
use crate::disjoint::{Disjoint, check_sequences, each_part, run, sized};
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, apply, load, rows, rows_per_item, store};
use std::ops::Range;

/// Sequences that step together, reading the weight once.
const GROUP: usize = 4;

/// `y [N, h]` and `state [sequences, h]`, in: before the first row of each sequence, out: after its last. `x_gates [N, 3 h]` is
/// the input's share of the gates, its bias included; `w_hh [3 h, h]`, `b_hh [3 h]`. `gates [N, 4 h]` receives `r`, `z`, `n` and
/// `W_n h + b_n`, for the backward pass. `sequences` are ranges of rows, ascending; rows that belong to none are left as they
/// are. [`gru_scratch`] says how long `scratch` must be; what it held does not matter.
///
/// # Panics
/// If a length does not fit, or the sequences overlap or are out of order.
pub fn gru(
    machine: Machine<'_>,
    hidden: usize,
    sequences: &[Range<usize>],
    y: &mut [f32],
    gates: &mut [f32],
    x_gates: &[f32],
    w_hh: &[f32],
    b_hh: &[f32],
    state: &mut [f32],
    scratch: &mut [f32],
) {
    let n = rows(y.len(), hidden);
    assert_eq!([gates.len(), x_gates.len()], [4 * n * hidden, 3 * n * hidden], "gates and x_gates of {n} rows");
    assert_eq!([w_hh.len(), b_hh.len()], [3 * hidden * hidden, 3 * hidden], "w_hh and b_hh");
    expect::length("state", state.len(), sequences.len() * hidden);
    check_sequences(sequences, n);
    let weight = expect::scratch(scratch, gru_scratch(hidden));
    transpose(machine, weight, w_hh, hidden);
    let weight = &*weight;
    let machine = sized(machine, n * w_hh.len());
    let [y, gates, state] = [y, gates, state].map(Disjoint::new);
    run(machine, sequences.len().div_ceil(GROUP), &|item, _worker| {
        let group = item * GROUP..sequences.len().min((item + 1) * GROUP);
        for t in 0..longest(&sequences[group.clone()]) {
            let mut members: [Forward<'_>; GROUP] = Default::default();
            let active = group.clone().filter(|&i| t < sequences[i].len());
            let mut count = 0;
            for (member, i) in members.iter_mut().zip(active) {
                let row = sequences[i].start + t;
                // SAFETY: sequences do not overlap (checked) and each belongs to one item, so no other item has this row or
                // state; this item takes each once a step.
                *member = unsafe {
                    Forward {
                        y: y.slice(row * hidden..(row + 1) * hidden),
                        gates: gates.slice(4 * row * hidden..4 * (row + 1) * hidden),
                        x_gates: &x_gates[3 * row * hidden..3 * (row + 1) * hidden],
                        state: state.slice(i * hidden..(i + 1) * hidden),
                    }
                };
                count += 1;
            }
            machine.isa.run(ForwardStep { members: &mut members[..count], weight, bias: b_hh });
        }
    });
}

/// Values that [`gru`] needs as scratch.
pub fn gru_scratch(hidden: usize) -> usize {
    3 * hidden * hidden
}

fn longest(sequences: &[Range<usize>]) -> usize {
    sequences.iter().map(|rows| rows.len()).max().unwrap_or(0)
}

/// `transposed [hidden, 3 hidden] = weight [3 hidden, hidden]`
fn transpose(machine: Machine<'_>, transposed: &mut [f32], weight: &[f32], hidden: usize) {
    let width = 3 * hidden;
    let per_item = rows_per_item(width);
    each_part(machine, hidden.div_ceil(per_item), [(transposed, per_item * width)], |item, [rows]| {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            for (to, from) in row.iter_mut().zip(weight.chunks_exact(hidden)) {
                *to = from[item * per_item + i];
            }
        }
    });
}

/// One sequence at one step.
#[derive(Default)]
struct Forward<'a> {
    y: &'a mut [f32],
    gates: &'a mut [f32],
    x_gates: &'a [f32],
    state: &'a mut [f32],
}

struct ForwardStep<'a, 'b> {
    members: &'a mut [Forward<'b>],
    /// `[h, 3 h]`: transposed.
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Kernel for ForwardStep<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let hidden = self.bias.len() / 3;
        let count = self.members.len();
        let mut y: [&mut [f32]; GROUP] = Default::default();
        let mut x: [&[f32]; GROUP] = Default::default();
        for (i, member) in self.members.iter_mut().enumerate() {
            // The last three quarters hold what the hidden state adds to r, z and n, until r, z and n take their places.
            y[i] = &mut member.gates[hidden..];
            y[i].copy_from_slice(self.bias);
            x[i] = member.state;
        }
        add_product(simd, &mut y[..count], &x[..count], self.weight);
        for Forward { y, gates, x_gates, state } in self.members {
            let [r, z, n, last] = quarters(gates, hidden);
            let [x_r, x_z, x_n] = thirds(x_gates, hidden);
            apply(simd, Cell, [r, z, n, last, &mut **y], [x_r, x_z, x_n, &**state]);
            state.copy_from_slice(y);
        }
    }
}

fn quarters(gates: &mut [f32], hidden: usize) -> [&mut [f32]; 4] {
    let (first, second) = gates.split_at_mut(2 * hidden);
    let (a, b) = first.split_at_mut(hidden);
    let (c, d) = second.split_at_mut(hidden);
    [a, b, c, d]
}

fn thirds(gates: &[f32], hidden: usize) -> [&[f32]; 3] {
    [&gates[..hidden], &gates[hidden..2 * hidden], &gates[2 * hidden..]]
}

/// From what the hidden state adds to the gates, in the last three of four places, to the gates and the new state.
#[derive(Clone, Copy)]
struct Cell;

impl Map<5, 4> for Cell {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [_, h_r, h_z, h_n, _]: [S::V; 5], [x_r, x_z, x_n, h]: [S::V; 4]) -> [S::V; 5] {
        let r = sigmoid(simd, simd.add(x_r, h_r));
        let z = sigmoid(simd, simd.add(x_z, h_z));
        let n = tanh(simd, simd.fma(r, h_n, x_n));
        [r, z, n, h_n, simd.fma(z, simd.sub(h, n), n)]
    }
}

/// `y [R, width] += x [R, depth] m [depth, width]` for up to `GROUP` rows. A row's sums run over `depth` in order, whatever
/// the other rows.
#[inline(always)]
fn add_product<S: Simd>(simd: S, y: &mut [&mut [f32]], x: &[&[f32]], m: &[f32]) {
    match y.len() {
        1 => add_product_rows::<S, 1>(simd, y, x, m),
        2 => add_product_rows::<S, 2>(simd, y, x, m),
        3 => add_product_rows::<S, 3>(simd, y, x, m),
        _ => add_product_rows::<S, 4>(simd, y, x, m),
    }
}

#[inline(always)]
fn add_product_rows<S: Simd, const R: usize>(simd: S, y: &mut [&mut [f32]], x: &[&[f32]], m: &[f32]) {
    let width = y[0].len();
    let mut column = 0;
    while column + 2 * S::LANES <= width {
        add_product_strip::<S, R, 2>(simd, y, x, m, column);
        column += 2 * S::LANES;
    }
    while column < width {
        add_product_strip::<S, R, 1>(simd, y, x, m, column);
        column += S::LANES;
    }
}

#[inline(always)]
fn add_product_strip<S: Simd, const R: usize, const C: usize>(
    simd: S,
    y: &mut [&mut [f32]],
    x: &[&[f32]],
    m: &[f32],
    column: usize,
) {
    let mut sums = [[simd.splat(0.0); C]; R];
    for r in 0..R {
        for c in 0..C {
            sums[r][c] = load(simd, &y[r][column + c * S::LANES..]);
        }
    }
    for (k, row) in m.chunks_exact(y[0].len()).enumerate() {
        for c in 0..C {
            let m = load(simd, &row[column + c * S::LANES..]);
            for r in 0..R {
                sums[r][c] = simd.fma(simd.splat(x[r][k]), m, sums[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            store(simd, &mut y[r][column + c * S::LANES..], sums[r][c]);
        }
    }
}
