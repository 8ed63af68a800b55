use crate::check::{
    INTERPRETED, Random, affordable, assert_close, assert_same_bits, for_random_cases, instruction_sets, poison, shapes,
};
use crate::support::{DIFFERENCE, any, differences, dot, hold, present, sequences, signed, within};
use attendant_kernels::delta::{self, gated_delta, gated_delta_backward};
use attendant_kernels::scan::Scan;
use attendant_kernels::{Machine, naive};
use std::ops::Range;

/// Inputs of one call, and gradients that arrive from outside.
pub(crate) struct Case {
    pub(crate) scan: Scan,
    pub(crate) sequences: Vec<Range<usize>>,
    pub(crate) rows: usize,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) decay: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) initial: Vec<f32>,
    pub(crate) d_out: Vec<f32>,
    pub(crate) d_final: Vec<f32>,
    /// What the gradients of the inputs are added to.
    pub(crate) old: Vec<f32>,
}

impl Case {
    fn new(random: &mut Random, scan: Scan, lengths: &[usize], decay: Range<f32>) -> Case {
        let Scan { heads, d_k, d_v } = scan;
        let rows = lengths.iter().sum::<usize>() + lengths.len() + 1;
        let states = lengths.len() * heads * d_k * d_v;
        // Of unit length, as every caller makes them: with longer keys the state grows without bound.
        let mut k = signed(random, rows * heads * d_k);
        for k in k.chunks_exact_mut(d_k) {
            let norm = dot(k, k).sqrt() as f32;
            k.iter_mut().for_each(|k| *k /= norm);
        }
        Case {
            scan,
            sequences: sequences(lengths),
            rows,
            q: signed(random, rows * heads * d_k),
            k,
            v: signed(random, rows * heads * d_v),
            decay: within(random, rows * heads, decay),
            beta: within(random, rows * heads, 0.0..1.0),
            initial: signed(random, states),
            d_out: signed(random, rows * heads * d_v),
            d_final: signed(random, states),
            old: present(random, rows * heads * d_k.max(d_v)),
        }
    }

    fn call(
        &self,
        f: Forward,
        machine: Machine<'_>,
        sequences: &[Range<usize>],
        out: &mut [f32],
        state: &mut [f32],
        checkpoints: Option<&mut [f32]>,
    ) {
        let Case { scan, q, k, v, decay, beta, .. } = self;
        let mut scratch = poison(delta::gated_delta_scratch(*scan, machine.executor.workers()));
        f(machine, *scan, sequences, out, state, q, k, v, decay, beta, checkpoints, &mut scratch);
    }

    /// Outputs and final states. Rows of no sequence are set to 0, so that they compare.
    pub(crate) fn forward(&self, f: Forward, machine: Machine<'_>) -> [Vec<f32>; 2] {
        let (mut out, mut state) = (poison(self.v.len()), self.initial.clone());
        self.call(f, machine, &self.sequences, &mut out, &mut state, None);
        let width = self.scan.heads * self.scan.d_v;
        for row in (0..self.rows).filter(|row| !self.sequences.iter().any(|rows| rows.contains(row))) {
            assert!(out[row * width..(row + 1) * width].iter().all(|x| x.is_nan()), "row {row} is nobody's and was written");
            out[row * width..(row + 1) * width].fill(0.0);
        }
        [out, state]
    }

    pub(crate) fn checkpoints(&self, machine: Machine<'_>) -> Vec<f32> {
        let mut checkpoints = poison(delta::gated_delta_checkpoints(self.scan, &self.sequences));
        let (mut out, mut state) = (poison(self.v.len()), self.initial.clone());
        self.call(gated_delta, machine, &self.sequences, &mut out, &mut state, Some(&mut checkpoints));
        checkpoints
    }

    /// Gradients of q, k, v, decay and beta, added to `old`, and of the initial state.
    pub(crate) fn backward(&self, f: Backward, machine: Machine<'_>, checkpoints: &[f32]) -> [Vec<f32>; 6] {
        let Case { scan, q, k, v, decay, beta, .. } = self;
        let old = |like: &[f32]| self.old[..like.len()].to_vec();
        let (mut d_q, mut d_k, mut d_v, mut d_decay, mut d_beta) = (old(q), old(k), old(v), old(decay), old(beta));
        let mut d_state = self.d_final.clone();
        f(
            machine,
            *scan,
            &self.sequences,
            &mut d_q,
            &mut d_k,
            &mut d_v,
            &mut d_decay,
            &mut d_beta,
            &mut d_state,
            &self.d_out,
            q,
            k,
            v,
            decay,
            beta,
            checkpoints,
            &mut poison(delta::gated_delta_backward_scratch(*scan, machine.executor.workers())),
        );
        [d_q, d_k, d_v, d_decay, d_beta, d_state]
    }
}

type Forward = fn(
    Machine<'_>,
    Scan,
    &[Range<usize>],
    &mut [f32],
    &mut [f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    Option<&mut [f32]>,
    &mut [f32],
);

type Backward = fn(
    Machine<'_>,
    Scan,
    &[Range<usize>],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &mut [f32],
);

fn cases(random: &mut Random) -> Vec<Case> {
    let lengths = if INTERPRETED { &[1, 17] } else { &[1, 16, 17][..] };
    let shapes = shapes([
        (5, 1, 1, &[1, 7][..]),
        (2, 3, 17, lengths),
        (1, 17, 3, &[3, 0, 63]),
        (3, 16, 33, &[65, 1]),
        (2, 33, 65, &[33, 0]),
        (1, 5, 100, &[5, 100, 2]),
    ]);
    // A decay of 1 is the plain delta rule. An interpreter sees each decay with one of the shapes.
    let decays = [0.5..1.0, 1.0..1.0];
    let all = shapes.flat_map(|shape| decays.clone().map(|decay| (shape, decay))).step_by(if INTERPRETED { 3 } else { 1 });
    all.map(|((heads, d_k, d_v, lengths), decay)| Case::new(random, Scan { heads, d_k, d_v }, lengths, decay)).collect()
}

#[test]
fn forward() {
    for_random_cases(2, |random| {
        for case in cases(random) {
            let what = format!("{:?} {:?}", case.scan, case.sequences);
            hold(&what, 1e-6, case.forward(naive::delta::gated_delta, any()), |machine| case.forward(gated_delta, machine));
        }
    });
}

#[test]
fn backward() {
    for_random_cases(2, |random| {
        for case in cases(random) {
            let what = format!("{:?} {:?}", case.scan, case.sequences);
            hold(&what, 2e-6, case.backward(naive::delta::gated_delta_backward, any(), &case.initial), |machine| {
                case.backward(gated_delta_backward, machine, &case.checkpoints(machine))
            });
        }
    });
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let lengths = if INTERPRETED { &[2, 1] } else { &[4, 2] };
        let mut case = Case::new(random, Scan { heads: 2, d_k: 3, d_v: 2 }, lengths, 0.5..1.0);
        case.old.fill(0.0);
        let inputs = [&case.q, &case.k, &case.v, &case.decay, &case.beta, &case.initial].map(|x| &x[..]);
        let want = differences(inputs, |[q, k, v, decay, beta, initial]| {
            let (mut out, mut state) = (vec![0.0; v.len()], initial.clone());
            let (sequences, twin) = (&case.sequences, naive::delta::gated_delta);
            twin(any(), case.scan, sequences, &mut out, &mut state, q, k, v, decay, beta, None, &mut []);
            dot(&out, &case.d_out) + dot(&state, &case.d_final)
        });
        let got = case.backward(naive::delta::gated_delta_backward, any(), &case.initial);
        for (what, (got, want)) in ["d_q", "d_k", "d_v", "d_decay", "d_beta", "d_state"].iter().zip(got.iter().zip(&want)) {
            assert_close(what, got, want, DIFFERENCE);
        }
    });
}

/// What came before a decay of zero is gone, and yet the decay has a gradient.
#[test]
fn decays_of_zero_have_gradients() {
    for_random_cases(2, |random| {
        let [d_k, rows] = if INTERPRETED { [2, 18] } else { [5, 50] };
        let mut case = Case::new(random, Scan { heads: 2, d_k, d_v: 17 }, &[rows], 0.5..1.0);
        case.decay.iter_mut().step_by(7).for_each(|decay| *decay = 0.0);
        hold("zeros", 2e-6, case.backward(naive::delta::gated_delta_backward, any(), &case.initial), |machine| {
            case.backward(gated_delta_backward, machine, &case.checkpoints(machine))
        });
    });
}

/// A chunk of a prefill and a decode step are the same call with the state that came before.
#[test]
fn any_chunking_and_any_neighbours() {
    for_random_cases(2, |random| {
        let [d_k, d_v, rows] = if INTERPRETED { [3, 20, 18] } else { [17, 40, 50] };
        let case = Case::new(random, Scan { heads: 2, d_k, d_v }, &[rows, 3], 0.5..1.0);
        let (state_len, width) = (2 * d_k * d_v, 2 * d_v);
        for isa in instruction_sets() {
            let machine = Machine { isa, ..any() };
            let [whole, end] = case.forward(gated_delta, machine);
            let (mut out, mut state) = (poison(case.v.len()), case.initial[..state_len].to_vec());
            let rows = case.sequences[0].clone();
            let mut start = rows.start;
            while start < rows.end {
                let chunk = start..(start + 1 + random.below(20)).min(rows.end);
                start = chunk.end;
                case.call(gated_delta, machine, &[chunk], &mut out, &mut state, None);
            }
            let rows = rows.start * width..rows.end * width;
            assert_same_bits(&format!("out on {isa:?}"), &out[rows.clone()], &whole[rows]);
            assert_same_bits(&format!("state on {isa:?}"), &state, &end[..state_len]);
        }
    });
}

/// What a written key recalls is its value: the rule's whole point.
#[test]
fn a_full_correction_recalls_the_value() {
    for_random_cases(2, |random| {
        let d_v = affordable(33);
        let mut case = Case::new(random, Scan { heads: 2, d_k: 5, d_v }, &[17], 0.5..1.0);
        case.beta.fill(1.0);
        case.q.clone_from(&case.k);
        let rows = case.sequences[0].start * 2 * d_v..case.sequences[0].end * 2 * d_v;
        for isa in instruction_sets() {
            let [out, _] = case.forward(gated_delta, Machine { isa, ..any() });
            assert_close(&format!("recalled on {isa:?}"), &out[rows.clone()], &case.v[rows.clone()], 1e-6);
        }
    });
}

#[test]
#[should_panic(expected = "sequence 2..4 after row 3")]
fn sequences_that_overlap() {
    let scan = Scan { heads: 1, d_k: 1, d_v: 1 };
    let x = [0.0; 4];
    gated_delta(any(), scan, &[0..3, 2..4], &mut [0.0; 4], &mut [0.0; 2], &x, &x, &x, &x, &x, None, &mut [0.0; 32]);
}
