use crate::check::{
    INTERPRETED, Random, affordable, assert_close, assert_same_bits, for_random_cases, instruction_sets, poison, shapes,
};
use crate::support::{DIFFERENCE, any, differences, dot, hold, present, sequences, signed, within};
use attendant_kernels::selective::{self, SelectiveScan, selective_scan, selective_scan_backward};
use attendant_kernels::{Machine, naive};
use std::ops::Range;

/// Inputs of one call, and gradients that arrive from outside.
pub(crate) struct Case {
    pub(crate) scan: SelectiveScan,
    pub(crate) sequences: Vec<Range<usize>>,
    pub(crate) rows: usize,
    pub(crate) x: Vec<f32>,
    pub(crate) dt: Vec<f32>,
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) c: Vec<f32>,
    pub(crate) skip: Option<Vec<f32>>,
    pub(crate) initial: Vec<f32>,
    pub(crate) d_y: Vec<f32>,
    pub(crate) d_final: Vec<f32>,
    /// What the gradients of the inputs are added to.
    pub(crate) old: Vec<f32>,
}

impl Case {
    fn new(random: &mut Random, scan: SelectiveScan, lengths: &[usize], skip: bool) -> Case {
        let SelectiveScan { channels, state, groups } = scan;
        let rows = lengths.iter().sum::<usize>() + lengths.len() + 1;
        let states = lengths.len() * channels * state;
        Case {
            scan,
            sequences: sequences(lengths),
            rows,
            x: signed(random, rows * channels),
            dt: within(random, rows * channels, 0.01..0.5),
            a: within(random, channels * state, -4.0..-0.1),
            b: signed(random, rows * groups * state),
            c: signed(random, rows * groups * state),
            skip: skip.then(|| signed(random, channels)),
            initial: signed(random, states),
            d_y: signed(random, rows * channels),
            d_final: signed(random, states),
            old: present(random, (rows * channels).max(rows * groups * state).max(channels * state)),
        }
    }

    fn call(
        &self,
        f: Forward,
        machine: Machine<'_>,
        sequences: &[Range<usize>],
        y: &mut [f32],
        state: &mut [f32],
        checkpoints: Option<&mut [f32]>,
    ) {
        let Case { scan, x, dt, a, b, c, .. } = self;
        f(machine, *scan, sequences, y, state, x, dt, a, b, c, self.skip.as_deref(), checkpoints);
    }

    /// Outputs and final states. Rows of no sequence are set to 0, so that they compare.
    pub(crate) fn forward(&self, f: Forward, machine: Machine<'_>) -> [Vec<f32>; 2] {
        let (mut y, mut state) = (poison(self.x.len()), self.initial.clone());
        self.call(f, machine, &self.sequences, &mut y, &mut state, None);
        let width = self.scan.channels;
        for row in (0..self.rows).filter(|row| !self.sequences.iter().any(|rows| rows.contains(row))) {
            assert!(y[row * width..(row + 1) * width].iter().all(|y| y.is_nan()), "row {row} is nobody's and was written");
            y[row * width..(row + 1) * width].fill(0.0);
        }
        [y, state]
    }

    pub(crate) fn checkpoints(&self, machine: Machine<'_>) -> Vec<f32> {
        let mut checkpoints = poison(selective::selective_scan_checkpoints(self.scan, &self.sequences));
        let (mut y, mut state) = (poison(self.x.len()), self.initial.clone());
        self.call(selective_scan, machine, &self.sequences, &mut y, &mut state, Some(&mut checkpoints));
        checkpoints
    }

    /// Gradients of x, dt, a, b, c and skip, added to `old`, and of the initial state.
    pub(crate) fn backward(&self, f: Backward, machine: Machine<'_>, checkpoints: &[f32]) -> [Vec<f32>; 7] {
        let Case { scan, sequences, x, dt, a, b, c, .. } = self;
        let old = |like: &[f32]| self.old[..like.len()].to_vec();
        let (mut d_x, mut d_dt, mut d_a, mut d_b, mut d_c) = (old(x), old(dt), old(a), old(b), old(c));
        let skip = self.skip.as_deref();
        let mut d_skip = old(skip.unwrap_or_default());
        let mut d_state = self.d_final.clone();
        let workers = machine.executor.workers();
        f(
            machine,
            *scan,
            sequences,
            &mut d_x,
            &mut d_dt,
            &mut d_a,
            &mut d_b,
            &mut d_c,
            skip.is_some().then_some(&mut d_skip),
            &mut d_state,
            &self.d_y,
            x,
            dt,
            a,
            b,
            c,
            skip,
            checkpoints,
            &mut poison(selective::selective_scan_backward_scratch(*scan, sequences, self.rows, workers)),
        );
        [d_x, d_dt, d_a, d_b, d_c, d_skip, d_state]
    }
}

type Forward = fn(
    Machine<'_>,
    SelectiveScan,
    &[Range<usize>],
    &mut [f32],
    &mut [f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    Option<&[f32]>,
    Option<&mut [f32]>,
);

type Backward = fn(
    Machine<'_>,
    SelectiveScan,
    &[Range<usize>],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    &mut [f32],
    Option<&mut [f32]>,
    &mut [f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    &[f32],
    Option<&[f32]>,
    &[f32],
    &mut [f32],
);

fn cases(random: &mut Random) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (channels, state, groups, lengths)) in shapes([
        (1, 1, 1, &[1, 7][..]),
        (3, 5, 3, &[1, 16, 17]),
        (17, 3, 1, &[3, 0, 63]),
        (34, 16, 2, &[65, 1]),
        (100, 17, 1, &[33, 0]),
        (132, 8, 2, &[5, 50, 2]),
        (5, 33, 5, &[17]),
        (150, 1, 1, &[40]),
    ])
    .enumerate()
    {
        cases.push(Case::new(random, SelectiveScan { channels, state, groups }, lengths, i % 3 != 1));
    }
    cases
}

#[test]
fn forward() {
    for_random_cases(2, |random| {
        for case in cases(random) {
            let what = format!("{:?} {:?}", case.scan, case.sequences);
            let twin = case.forward(naive::selective::selective_scan, any());
            hold(&what, 1e-6, twin, |machine| case.forward(selective_scan, machine));
        }
    });
}

#[test]
fn backward() {
    for_random_cases(2, |random| {
        for case in cases(random) {
            let what = format!("{:?} {:?}", case.scan, case.sequences);
            let twin = case.backward(naive::selective::selective_scan_backward, any(), &case.initial);
            hold(&what, 2e-6, twin, |machine| case.backward(selective_scan_backward, machine, &case.checkpoints(machine)));
        }
    });
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let lengths = if INTERPRETED { &[2, 1] } else { &[4, 2] };
        let mut case = Case::new(random, SelectiveScan { channels: 4, state: 3, groups: 2 }, lengths, true);
        case.old.fill(0.0);
        let skip = case.skip.clone().expect("a skip");
        let inputs = [&case.x, &case.dt, &case.a, &case.b, &case.c, &skip, &case.initial].map(|x| &x[..]);
        let want = differences(inputs, |[x, dt, a, b, c, skip, initial]| {
            let (mut y, mut state) = (vec![0.0; x.len()], initial.clone());
            let (sequences, twin) = (&case.sequences, naive::selective::selective_scan);
            twin(any(), case.scan, sequences, &mut y, &mut state, x, dt, a, b, c, Some(skip), None);
            dot(&y, &case.d_y) + dot(&state, &case.d_final)
        });
        let got = case.backward(naive::selective::selective_scan_backward, any(), &case.initial);
        let names = ["d_x", "d_dt", "d_a", "d_b", "d_c", "d_skip", "d_state"];
        for (what, (got, want)) in names.iter().zip(got.iter().zip(&want)) {
            assert_close(what, got, want, DIFFERENCE);
        }
    });
}

/// A chunk of a prefill and a decode step are the same call with the state that came before.
#[test]
fn any_chunking_and_any_neighbours() {
    for_random_cases(2, |random| {
        let channels = affordable(70);
        let case = Case::new(random, SelectiveScan { channels, state: 5, groups: 1 }, &[affordable(50), 3], true);
        for isa in instruction_sets() {
            let machine = Machine { isa, ..any() };
            let [whole, end] = case.forward(selective_scan, machine);
            let (mut y, mut state) = (poison(case.x.len()), case.initial[..channels * 5].to_vec());
            let rows = case.sequences[0].clone();
            let mut start = rows.start;
            while start < rows.end {
                let chunk = start..(start + 1 + random.below(20)).min(rows.end);
                start = chunk.end;
                case.call(selective_scan, machine, &[chunk], &mut y, &mut state, None);
            }
            let rows = rows.start * channels..rows.end * channels;
            assert_same_bits(&format!("y on {isa:?}"), &y[rows.clone()], &whole[rows]);
            assert_same_bits(&format!("state on {isa:?}"), &state, &end[..channels * 5]);
        }
    });
}

#[test]
#[should_panic(expected = "sequence 2..4 after row 3")]
fn sequences_that_overlap() {
    let scan = SelectiveScan { channels: 1, state: 1, groups: 1 };
    let x = [0.0; 4];
    selective_scan(any(), scan, &[0..3, 2..4], &mut [0.0; 4], &mut [0.0; 2], &x, &x, &[0.0], &x, &x, None, None);
}
