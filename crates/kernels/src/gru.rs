//! The gated recurrent unit, in PyTorch's form and gate order (reset, update, new).
//!
//! `r = sigmoid(x_r + W_r h + b_r)`, `z = sigmoid(x_z + W_z h + b_z)`, `n = tanh(x_n + r (W_n h + b_n))`,
//! `h = (1 - z) n + z h`.

use crate::Machine;
use crate::activation::{sigmoid, tanh};
use crate::disjoint::{Disjoint, each_part, run, sized};
use crate::scan::check_sequences;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, apply, load, rows, rows_per_item, store};
use std::ops::Range;

/// Sequences that step together, reading the weight once.
const GROUP: usize = 4;

/// Rows of the weight's gradient in one work item.
const TILE: usize = 4;

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
    assert_eq!(state.len(), sequences.len() * hidden, "state");
    check_sequences(sequences, n);
    let weight = &mut scratch[..gru_scratch(hidden)];
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

/// Gradients of [`gru`]: `d_x_gates [N, 3 h] +=`, `d_w_hh [3 h, h] +=`, `d_b_hh [3 h] +=`; `d_state [sequences, h]` in: gradient
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
    let d_gates = &mut scratch[..gru_backward_scratch(hidden, n)];
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
