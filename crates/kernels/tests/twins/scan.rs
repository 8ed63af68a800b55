use crate::check::{INTERPRETED, Random, assert_close, assert_same_bits, for_random_cases, instruction_sets, poison, shapes};
use crate::support::{DIFFERENCE, any, differences, dot, hold, present, sequences, signed, within};
use attendant_kernels::scan::{self, Gate, Scan, gated_scan, gated_scan_backward};
use attendant_kernels::{Machine, naive};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    Head,
    Channel,
}

/// Inputs of one scan, and gradients that arrive from outside.
struct Case {
    scan: Scan,
    sequences: Vec<Range<usize>>,
    rows: usize,
    kind: Kind,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    initial: Vec<f32>,
    d_out: Vec<f32>,
    d_final: Vec<f32>,
    old: Vec<f32>,
}

impl Case {
    fn new(random: &mut Random, scan: Scan, lengths: &[usize], kind: Kind) -> Case {
        let Scan { heads, d_k, d_v } = scan;
        let rows = lengths.iter().sum::<usize>() + lengths.len() + 1;
        let gates = match kind {
            Kind::None => 0,
            Kind::Head => rows * heads,
            Kind::Channel => rows * heads * d_k,
        };
        let states = lengths.len() * heads * d_k * d_v;
        Case {
            scan,
            sequences: sequences(lengths),
            rows,
            kind,
            q: signed(random, rows * heads * d_k),
            k: signed(random, rows * heads * d_k),
            v: signed(random, rows * heads * d_v),
            gate: within(random, gates, 0.5..1.0),
            initial: signed(random, states),
            d_out: signed(random, rows * heads * d_v),
            d_final: signed(random, states),
            old: present(random, rows * heads * d_k.max(d_v)),
        }
    }

    fn gate<'a>(&self, values: &'a [f32]) -> Gate<'a> {
        match self.kind {
            Kind::None => Gate::None,
            Kind::Head => Gate::Head(values),
            Kind::Channel => Gate::Channel(values),
        }
    }

    /// Outputs and final states. Rows of no sequence are set to 0, so that they compare.
    fn forward(&self, f: Forward, machine: Machine<'_>) -> [Vec<f32>; 2] {
        let (mut out, mut state) = (poison(self.v.len()), self.initial.clone());
        let mut scratch = poison(scan::gated_scan_scratch(self.scan, machine.executor.workers()));
        let gate = self.gate(&self.gate);
        f(machine, self.scan, &self.sequences, &mut out, &mut state, &self.q, &self.k, &self.v, gate, None, &mut scratch);
        let width = self.scan.heads * self.scan.d_v;
        for row in (0..self.rows).filter(|row| !self.sequences.iter().any(|rows| rows.contains(row))) {
            assert!(out[row * width..(row + 1) * width].iter().all(|x| x.is_nan()), "row {row} is nobody's and was written");
            out[row * width..(row + 1) * width].fill(0.0);
        }
        [out, state]
    }

    /// Gradients of q, k, v, gate and initial state, added to `old`.
    fn backward(&self, f: Backward, machine: Machine<'_>, checkpoints: &[f32]) -> [Vec<f32>; 5] {
        let old = |len: usize| self.old[..len].to_vec();
        let (mut d_q, mut d_k, mut d_v) = (old(self.q.len()), old(self.k.len()), old(self.v.len()));
        let (mut d_gate, mut d_state) = (old(self.gate.len()), self.d_final.clone());
        let mut scratch = poison(scan::gated_scan_backward_scratch(self.scan, machine.executor.workers()));
        f(
            machine,
            self.scan,
            &self.sequences,
            &mut d_q,
            &mut d_k,
            &mut d_v,
            (self.kind != Kind::None).then_some(&mut d_gate[..]),
            &mut d_state,
            &self.d_out,
            &self.q,
            &self.k,
            &self.v,
            self.gate(&self.gate),
            checkpoints,
            &mut scratch,
        );
        [d_q, d_k, d_v, d_gate, d_state]
    }

    fn checkpoints(&self, machine: Machine<'_>) -> Vec<f32> {
        let mut checkpoints = poison(scan::scan_checkpoints(self.scan, &self.sequences));
        let (mut out, mut state) = (poison(self.v.len()), self.initial.clone());
        let mut scratch = poison(scan::gated_scan_scratch(self.scan, machine.executor.workers()));
        let (gate, kept) = (self.gate(&self.gate), Some(&mut checkpoints[..]));
        gated_scan(
            machine,
            self.scan,
            &self.sequences,
            &mut out,
            &mut state,
            &self.q,
            &self.k,
            &self.v,
            gate,
            kept,
            &mut scratch,
        );
        checkpoints
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
    Gate<'_>,
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
    Option<&mut [f32]>,
    &mut [f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    Gate<'_>,
    &[f32],
    &mut [f32],
);

fn cases(random: &mut Random) -> Vec<Case> {
    let lengths = if INTERPRETED { &[1, 17] } else { &[1, 16, 17][..] };
    let mut cases = Vec::new();
    for kind in [Kind::None, Kind::Head, Kind::Channel] {
        for (heads, d_k, d_v, lengths) in shapes([
            (5, 1, 1, &[1, 7][..]),
            (2, 3, 17, lengths),
            (1, 17, 3, &[3, 0, 63]),
            (3, 16, 63, &[65, 1]),
            (2, 63, 65, &[33]),
            (1, 8, 100, &[5, 100, 2]),
        ]) {
            cases.push(Case::new(random, Scan { heads, d_k, d_v }, lengths, kind));
        }
    }
    cases
}

#[test]
fn forward() {
    for_random_cases(2, |random| {
        for case in cases(random) {
            let what = format!("{:?} {:?} {:?}", case.scan, case.sequences, case.kind);
            hold(&what, 1e-6, case.forward(naive::scan::gated_scan, any()), |machine| case.forward(gated_scan, machine));
        }
    });
}

#[test]
fn backward() {
    for_random_cases(2, |random| {
        for case in cases(random) {
            let what = format!("{:?} {:?} {:?}", case.scan, case.sequences, case.kind);
            hold(&what, 2e-6, case.backward(naive::scan::gated_scan_backward, any(), &case.initial), |machine| {
                case.backward(gated_scan_backward, machine, &case.checkpoints(machine))
            });
        }
    });
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let lengths = if INTERPRETED { &[2, 1] } else { &[4, 2] };
        for kind in [Kind::None, Kind::Head, Kind::Channel] {
            let mut case = Case::new(random, Scan { heads: 2, d_k: 3, d_v: 2 }, lengths, kind);
            case.old.fill(0.0);
            // Rows of no sequence have no output and so no gradient.
            let inputs = [&case.q, &case.k, &case.v, &case.gate, &case.initial].map(|x| &x[..]);
            let want = differences(inputs, |[q, k, v, gate, initial]| {
                let (mut out, mut state) = (vec![0.0; v.len()], initial.clone());
                let gate = case.gate(gate);
                naive::scan::gated_scan(any(), case.scan, &case.sequences, &mut out, &mut state, q, k, v, gate, None, &mut []);
                dot(&out, &case.d_out) + dot(&state, &case.d_final)
            });
            let got = case.backward(naive::scan::gated_scan_backward, any(), &case.initial);
            for (what, (got, want)) in ["d_q", "d_k", "d_v", "d_gate", "d_state"].iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{what}, {kind:?}"), got, want, DIFFERENCE);
            }
        }
    });
}

/// What came before a gate of zero is gone, and yet the gate has a gradient.
#[test]
fn gates_of_zero_have_gradients() {
    for_random_cases(2, |random| {
        let [d_k, rows] = if INTERPRETED { [2, 18] } else { [5, 50] };
        for kind in [Kind::Head, Kind::Channel] {
            let mut case = Case::new(random, Scan { heads: 2, d_k, d_v: 17 }, &[rows], kind);
            case.gate.iter_mut().step_by(7).for_each(|gate| *gate = 0.0);
            hold("zeros", 2e-6, case.backward(naive::scan::gated_scan_backward, any(), &case.initial), |machine| {
                case.backward(gated_scan_backward, machine, &case.checkpoints(machine))
            });
        }
    });
}

/// A chunk of a prefill and a decode step are the same call with the state that came before.
#[test]
fn any_chunking_and_any_neighbours() {
    for_random_cases(2, |random| {
        let [d_k, d_v, rows] = if INTERPRETED { [3, 20, 18] } else { [17, 40, 50] };
        let case = Case::new(random, Scan { heads: 2, d_k, d_v }, &[rows, 3], Kind::Channel);
        let (state_len, width) = (2 * d_k * d_v, 2 * d_v);
        for isa in instruction_sets() {
            let machine = Machine { isa, ..any() };
            let [whole, end] = case.forward(gated_scan, machine);
            let mut state = case.initial[..state_len].to_vec();
            let mut out = poison(case.v.len());
            let mut start = case.sequences[0].start;
            while start < case.sequences[0].end {
                let chunk = start..(start + 1 + random.below(20)).min(case.sequences[0].end);
                let mut scratch = poison(scan::gated_scan_scratch(case.scan, 1));
                let (q, k, v, gate) = (&case.q, &case.k, &case.v, case.gate(&case.gate));
                gated_scan(
                    machine,
                    case.scan,
                    std::slice::from_ref(&chunk),
                    &mut out,
                    &mut state,
                    q,
                    k,
                    v,
                    gate,
                    None,
                    &mut scratch,
                );
                start = chunk.end;
            }
            let rows = case.sequences[0].start * width..case.sequences[0].end * width;
            assert_same_bits(&format!("out on {isa:?}"), &out[rows.clone()], &whole[rows]);
            assert_same_bits(&format!("state on {isa:?}"), &state, &end[..state_len]);
        }
    });
}

#[test]
#[should_panic(expected = "sequence 2..4 after row 3")]
fn sequences_that_overlap() {
    let scan = Scan { heads: 1, d_k: 1, d_v: 1 };
    let x = [0.0; 4];
    gated_scan(any(), scan, &[0..3, 2..4], &mut [0.0; 4], &mut [0.0; 2], &x, &x, &x, Gate::None, None, &mut [0.0; 32]);
}
