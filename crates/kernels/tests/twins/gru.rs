use crate::check::{Random, assert_close, assert_same_bits, for_random_cases, instruction_sets, poison, shapes};
use crate::support::{DIFFERENCE, any, differences, dot, hold, sequences, signed, within};
use attendant_kernels::gru::{gru, gru_backward, gru_backward_scratch, gru_scratch};
use attendant_kernels::{Machine, naive};
use safetensors::SafeTensors;
use std::ops::Range;

/// Inputs of one call, and gradients that arrive from outside.
struct Case {
    hidden: usize,
    sequences: Vec<Range<usize>>,
    rows: usize,
    x_gates: Vec<f32>,
    w_hh: Vec<f32>,
    b_hh: Vec<f32>,
    initial: Vec<f32>,
    d_y: Vec<f32>,
    d_final: Vec<f32>,
}

impl Case {
    fn new(random: &mut Random, hidden: usize, lengths: &[usize]) -> Case {
        let rows = lengths.iter().sum::<usize>() + lengths.len() + 1;
        let reach = 1.0 / (hidden as f32).sqrt();
        Case {
            hidden,
            sequences: sequences(lengths),
            rows,
            x_gates: signed(random, 3 * rows * hidden),
            w_hh: within(random, 3 * hidden * hidden, -reach..reach),
            b_hh: signed(random, 3 * hidden),
            initial: signed(random, lengths.len() * hidden),
            d_y: signed(random, rows * hidden),
            d_final: signed(random, lengths.len() * hidden),
        }
    }

    /// Outputs, gates and final states. What is in rows of no sequence stays 0.
    fn forward(&self, f: Forward, machine: Machine<'_>) -> [Vec<f32>; 3] {
        let (mut y, mut gates, mut state) =
            (poison(self.rows * self.hidden), poison(4 * self.rows * self.hidden), self.initial.clone());
        for row in (0..self.rows).filter(|row| !self.sequences.iter().any(|rows| rows.contains(row))) {
            y[row * self.hidden..(row + 1) * self.hidden].fill(0.0);
            gates[4 * row * self.hidden..4 * (row + 1) * self.hidden].fill(0.0);
        }
        f(
            machine,
            self.hidden,
            &self.sequences,
            &mut y,
            &mut gates,
            &self.x_gates,
            &self.w_hh,
            &self.b_hh,
            &mut state,
            &mut poison(gru_scratch(self.hidden)),
        );
        [y, gates, state]
    }

    /// Gradients of `x_gates`, `w_hh`, `b_hh` (added to `start`) and of the initial state.
    fn backward(&self, f: Backward, machine: Machine<'_>, y: &[f32], gates: &[f32], start: f32) -> [Vec<f32>; 4] {
        let mut d_x_gates = vec![start; self.x_gates.len()];
        let (mut d_w_hh, mut d_b_hh) = (vec![start; self.w_hh.len()], vec![start; self.b_hh.len()]);
        let mut d_state = self.d_final.clone();
        f(
            machine,
            self.hidden,
            &self.sequences,
            &mut d_x_gates,
            &mut d_w_hh,
            &mut d_b_hh,
            &mut d_state,
            &self.d_y,
            y,
            gates,
            &self.w_hh,
            &self.initial,
            &mut poison(gru_backward_scratch(self.hidden, self.rows)),
        );
        [d_x_gates, d_w_hh, d_b_hh, d_state]
    }
}

type Forward = fn(Machine<'_>, usize, &[Range<usize>], &mut [f32], &mut [f32], &[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

type Backward = fn(
    Machine<'_>,
    usize,
    &[Range<usize>],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &mut [f32],
);

#[test]
fn forward_and_backward() {
    for_random_cases(2, |random| {
        for (hidden, lengths) in shapes([
            (1, &[9, 1, 4, 2, 7, 3, 5, 1][..]),
            (3, &[5, 1, 0, 17]),
            (17, &[3, 9, 2, 4, 4, 7, 1]),
            (65, &[20, 3]),
            (63, &[8; 9]),
            (100, &[65, 1, 1, 2, 17]),
        ]) {
            let case = Case::new(random, hidden, lengths);
            let what = format!("hidden {hidden}, lengths {lengths:?}");
            let twin = case.forward(naive::gru::gru, any());
            let [y, gates, _] = twin.clone();
            hold(&what, 1e-6, twin, |machine| case.forward(gru, machine));
            let twin = case.backward(naive::gru::gru_backward, any(), &y, &gates, 2.0);
            hold(&what, 2e-6, twin, |machine| case.backward(gru_backward, machine, &y, &gates, 2.0));
        }
    });
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let case = Case::new(random, 3, &[4, 2]);
        let [y, gates, _] = case.forward(naive::gru::gru, any());
        let got = case.backward(naive::gru::gru_backward, any(), &y, &gates, 0.0);
        let inputs = [&case.x_gates, &case.w_hh, &case.b_hh, &case.initial].map(|x| &x[..]);
        let want = differences(inputs, |[x_gates, w_hh, b_hh, initial]| {
            let (mut y, mut gates, mut state) = (vec![0.0; case.rows * 3], poison(case.rows * 12), initial.clone());
            naive::gru::gru(any(), 3, &case.sequences, &mut y, &mut gates, x_gates, w_hh, b_hh, &mut state, &mut []);
            dot(&y, &case.d_y) + dot(&state, &case.d_final)
        });
        for (what, (got, want)) in ["d_x_gates", "d_w_hh", "d_b_hh", "d_state"].iter().zip(got.iter().zip(&want)) {
            assert_close(what, got, want, DIFFERENCE);
        }
    });
}

#[test]
fn a_sequence_does_not_see_its_neighbours() {
    for_random_cases(2, |random| {
        let case = Case::new(random, 17, &[3, 9, 2, 4, 6]);
        for isa in instruction_sets() {
            let machine = Machine { isa, ..any() };
            let [y, _, state] = case.forward(gru, machine);
            for (i, rows) in case.sequences.iter().enumerate() {
                let (mut own_y, mut gates) = (poison(y.len()), poison(4 * y.len()));
                let mut own_state = case.initial[i * 17..(i + 1) * 17].to_vec();
                let (x_gates, w_hh, b_hh) = (&case.x_gates, &case.w_hh, &case.b_hh);
                let mut scratch = poison(gru_scratch(17));
                let sequences = std::slice::from_ref(rows);
                gru(machine, 17, sequences, &mut own_y, &mut gates, x_gates, w_hh, b_hh, &mut own_state, &mut scratch);
                let span = rows.start * 17..rows.end * 17;
                assert_same_bits(&format!("sequence {i} on {isa:?}"), &own_y[span.clone()], &y[span]);
                assert_same_bits(&format!("state {i} on {isa:?}"), &own_state, &state[i * 17..(i + 1) * 17]);
            }
        }
    });
}

/// `y [n, out] = x [n, in] w^T + b`, `w [out, in]`.
fn linear(x: &[f32], w: &[f32], b: &[f32]) -> Vec<f32> {
    let width = w.len() / b.len();
    let value = |x: &[f32], j: usize| f64::from(b[j]) + dot(x, &w[j * width..(j + 1) * width]);
    x.chunks_exact(width).flat_map(|x| (0..b.len()).map(move |j| value(x, j) as f32)).collect()
}

/// `y [a, b] = x^T y` over rows, for `x [n, a]` and `y [n, b]`.
fn outer(x: &[f32], y: &[f32], n: usize) -> Vec<f32> {
    let (a, b) = (x.len() / n, y.len() / n);
    let sum = |i: usize, j: usize| (0..n).map(|row| f64::from(x[row * a + i]) * f64::from(y[row * b + j])).sum::<f64>() as f32;
    (0..a).flat_map(|i| (0..b).map(move |j| sum(i, j))).collect()
}

/// `torch.nn.GRU` of two layers: outputs, last states, and every gradient.
#[test]
fn pytorch_gru() {
    let file = SafeTensors::deserialize(include_bytes!("../data/cell_gru.safetensors")).expect("a safetensors file");
    let tensor = |name: &str| -> Vec<f32> {
        let bytes = file.tensor(name).expect("a tensor").data().as_chunks::<4>().0;
        bytes.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let weight = |kind: &str, name: &str, layer: usize| tensor(&format!("{kind}.{name}_l{layer}"));
    let (hidden, sequences, n) = (7, [0..9, 9..18], 18);
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        let initial = vec![0.0; 2 * hidden];
        let mut inputs = vec![tensor("x")];
        let mut saved = Vec::new();
        for layer in 0..2 {
            let x_gates = linear(&inputs[layer], &weight("w", "weight_ih", layer), &weight("w", "bias_ih", layer));
            let (mut y, mut gates, mut state) = (poison(n * hidden), poison(4 * n * hidden), initial.clone());
            let (w_hh, b_hh) = (weight("w", "weight_hh", layer), weight("w", "bias_hh", layer));
            let mut scratch = poison(gru_scratch(hidden));
            gru(machine, hidden, &sequences, &mut y, &mut gates, &x_gates, &w_hh, &b_hh, &mut state, &mut scratch);
            assert_close(&format!("last state of layer {layer}"), &state, &tensor("h")[layer * 14..(layer + 1) * 14], 3e-7);
            inputs.push(y);
            saved.push(gates);
        }
        assert_close("out", &inputs[2], &tensor("out"), 3e-7);

        let mut d_y = tensor("dout");
        for layer in [1, 0] {
            let (mut d_x_gates, mut d_state) = (vec![0.0; 3 * n * hidden], vec![0.0; 2 * hidden]);
            let (mut d_w_hh, mut d_b_hh) = (vec![0.0; 3 * hidden * hidden], vec![0.0; 3 * hidden]);
            gru_backward(
                machine,
                hidden,
                &sequences,
                &mut d_x_gates,
                &mut d_w_hh,
                &mut d_b_hh,
                &mut d_state,
                &d_y,
                &inputs[layer + 1],
                &saved[layer],
                &weight("w", "weight_hh", layer),
                &initial,
                &mut poison(gru_backward_scratch(hidden, n)),
            );
            let d_w_ih = outer(&d_x_gates, &inputs[layer], n);
            let d_b_ih = outer(&d_x_gates, &vec![1.0; n], n);
            let gradients = [("weight_hh", &d_w_hh), ("bias_hh", &d_b_hh), ("weight_ih", &d_w_ih), ("bias_ih", &d_b_ih)];
            for (name, got) in gradients {
                assert_close(&format!("gradient of {name} of layer {layer} on {isa:?}"), got, &weight("g", name, layer), 1e-6);
            }
            let w_ih = weight("w", "weight_ih", layer);
            let width = w_ih.len() / (3 * hidden);
            let transposed: Vec<f32> = (0..w_ih.len()).map(|i| w_ih[i % (3 * hidden) * width + i / (3 * hidden)]).collect();
            d_y = linear(&d_x_gates, &transposed, &vec![0.0; width]);
        }
        assert_close("gradient of x", &d_y, &tensor("dx"), 1e-6);
    }
}
