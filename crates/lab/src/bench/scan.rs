//! Recurrent scans over one sequence, forward and with their backward, beside the plain loops that are their twins.

use super::{Figure, Timing, limits, time, values, zeros};
use attendant_core::Processor;
use attendant_core::kernels::delta::{
    gated_delta, gated_delta_backward, gated_delta_backward_scratch, gated_delta_checkpoints, gated_delta_scratch,
};
use attendant_core::kernels::memory::Memory;
use attendant_core::kernels::scan::{
    Gate, Scan, gated_scan, gated_scan_backward, gated_scan_backward_scratch, gated_scan_scratch, scan_checkpoints,
};
use attendant_core::kernels::selective::{
    SelectiveScan, selective_scan, selective_scan_backward, selective_scan_backward_scratch, selective_scan_checkpoints,
};
use attendant_core::kernels::{Machine, naive};
use std::ops::Range;
use std::time::Duration;

/// Heads of the linear and the delta scan, each with a state as wide as it is high.
const HEADS: usize = 8;

/// State of a channel of the selective scan, whose channels are as many as the others' values.
const STATE: usize = 16;

/// Every scan of every width of a head and every length.
pub fn figures(processor: &Processor, widths: &[usize], lengths: &[usize], budget: Duration, mut each: impl FnMut(Figure)) {
    for (&d, &length) in widths.iter().flat_map(|d| lengths.iter().map(move |length| (d, length))) {
        let case = Case::new(processor, d, length);
        let size = (length * HEADS * d) as f64;
        let works: [Work<'_>; 6] = [
            ("linear", 5.0 * size * d as f64, &|form| case.linear(form, false, budget)),
            ("linear-bwd", 0.0, &|form| case.linear(form, true, budget)),
            ("delta", 7.0 * size * d as f64, &|form| case.delta(form, false, budget)),
            ("delta-bwd", 0.0, &|form| case.delta(form, true, budget)),
            ("selective", 6.0 * size * STATE as f64, &|form| case.selective(form, false, budget)),
            ("selective-bwd", 0.0, &|form| case.selective(form, true, budget)),
        ];
        for (what, operations, run) in works {
            for (variant, form) in [("kernel", Form::Kernel), ("plain loop", Form::Plain)] {
                let before = limits::operations_per_second(processor);
                let figure = Figure::new(processor, what, "f32", run(form));
                let ceiling = before.max(limits::operations_per_second(processor));
                let figure = if operations > 0.0 { figure.operations(operations, ceiling) } else { figure };
                each(Figure { variant: Some(variant), d: Some(d), length: Some(length), ..figure });
            }
        }
    }
}

/// What is measured: its name, its operations if they are counted, and the measurement.
type Work<'a> = (&'static str, f64, &'a dyn Fn(Form) -> Timing);

/// One sequence of all rows.
fn whole(length: usize) -> [Range<usize>; 1] {
    std::array::from_fn(|_| 0..length)
}

/// Which of two implementations of one signature.
#[derive(Clone, Copy)]
enum Form {
    Kernel,
    Plain,
}

impl Form {
    /// What its backward starts from: a kernel from states that its forward kept, the twin from the first one.
    fn start<'a>(self, checkpoints: &'a [f32], initial: &'a [f32]) -> &'a [f32] {
        match self {
            Form::Kernel => checkpoints,
            Form::Plain => initial,
        }
    }
}

/// Calls the one or the other.
macro_rules! either {
    ($form:expr, $kernel:path, $plain:path; $($argument:expr),* $(,)?) => {
        match $form {
            Form::Kernel => $kernel($($argument),*),
            Form::Plain => $plain($($argument),*),
        }
    };
}

/// Operands for all scans.
struct Case<'a> {
    machine: Machine<'a>,
    workers: usize,
    length: usize,
    scan: Scan,
    /// `[length, HEADS * d]`, which serve as queries, keys and values.
    rows: Memory<f32>,
    /// The same, with heads of length 1.
    keys: Memory<f32>,
    /// Between 0 and 1.
    gates: Memory<f32>,
}

impl<'a> Case<'a> {
    fn new(processor: &'a Processor, d: usize, length: usize) -> Case<'a> {
        let machine = processor.machine();
        let rows = values(length * HEADS * d);
        let mut keys = rows.clone();
        for key in keys.chunks_mut(d) {
            let norm = key.iter().map(|x| x * x).sum::<f32>().sqrt();
            key.iter_mut().for_each(|x| *x /= norm);
        }
        let mut gates = values(length * HEADS * d);
        gates.iter_mut().for_each(|gate| *gate = 0.95 + 0.04 * *gate);
        let scan = Scan { heads: HEADS, d_k: d, d_v: d };
        Case { machine, workers: machine.executor.workers(), length, scan, rows, keys, gates }
    }

    /// A buffer as long as the rows.
    fn buffer(&self) -> Memory<f32> {
        zeros(self.rows.len())
    }

    fn linear(&self, form: Form, backward: bool, budget: Duration) -> Timing {
        let &Case { machine, workers, length, scan, ref rows, ref keys, ref gates } = self;
        let (gates, sequences, initial) = (Gate::Head(&gates[..length * HEADS]), whole(length), zeros(states(scan)));
        let mut scratch = zeros(gated_scan_scratch(scan, workers).max(gated_scan_backward_scratch(scan, workers)));
        let mut checkpoints = zeros(scan_checkpoints(scan, &sequences));
        let [mut out, mut d_q, mut d_k, mut d_v] = [(); 4].map(|()| self.buffer());
        let (mut state, mut d_state, mut d_gate) = (initial.clone(), initial.clone(), zeros(length * HEADS));
        time(budget, || {
            let kept = backward.then_some(&mut checkpoints[..]);
            state.fill(0.0);
            either!(form, gated_scan, naive::scan::gated_scan; machine, scan, &sequences, &mut out, &mut state, keys, keys,
                rows, gates, kept, &mut scratch);
            if backward {
                d_state.fill(0.0);
                let start = form.start(&checkpoints, &initial);
                either!(form, gated_scan_backward, naive::scan::gated_scan_backward; machine, scan, &sequences, &mut d_q,
                    &mut d_k, &mut d_v, Some(&mut d_gate), &mut d_state, &out, keys, keys, rows, gates, start, &mut scratch);
            }
        })
    }

    fn delta(&self, form: Form, backward: bool, budget: Duration) -> Timing {
        let &Case { machine, workers, length, scan, ref rows, ref keys, ref gates } = self;
        let (gates, sequences, initial) = (&gates[..length * HEADS], whole(length), zeros(states(scan)));
        let mut scratch = zeros(gated_delta_scratch(scan, workers).max(gated_delta_backward_scratch(scan, workers)));
        let mut checkpoints = zeros(gated_delta_checkpoints(scan, &sequences));
        let [mut out, mut d_q, mut d_k, mut d_v] = [(); 4].map(|()| self.buffer());
        let (mut state, mut d_state) = (initial.clone(), initial.clone());
        let [mut d_decay, mut d_beta] = [(); 2].map(|()| zeros(length * HEADS));
        time(budget, || {
            let kept = backward.then_some(&mut checkpoints[..]);
            state.fill(0.0);
            either!(form, gated_delta, naive::delta::gated_delta; machine, scan, &sequences, &mut out, &mut state, keys, keys,
                rows, gates, gates, kept, &mut scratch);
            if backward {
                d_state.fill(0.0);
                let start = form.start(&checkpoints, &initial);
                either!(form, gated_delta_backward, naive::delta::gated_delta_backward; machine, scan, &sequences, &mut d_q,
                    &mut d_k, &mut d_v, &mut d_decay, &mut d_beta, &mut d_state, &out, keys, keys, rows, gates, gates, start,
                    &mut scratch);
            }
        })
    }

    fn selective(&self, form: Form, backward: bool, budget: Duration) -> Timing {
        let &Case { machine, workers, length, scan, ref rows, ref gates, .. } = self;
        let scan = SelectiveScan { channels: HEADS * scan.d_v, state: STATE, groups: 1 };
        let (sequences, initial) = (whole(length), zeros(scan.channels * STATE));
        let (a, shared) = (vec![-1.0; scan.channels * STATE], &rows[..length * STATE]);
        let mut scratch = zeros(selective_scan_backward_scratch(scan, &sequences, length, workers));
        let mut checkpoints = zeros(selective_scan_checkpoints(scan, &sequences));
        let [mut y, mut d_x, mut d_dt] = [(); 3].map(|()| self.buffer());
        let [mut d_b, mut d_c] = [(); 2].map(|()| zeros(length * STATE));
        let (mut state, mut d_state, mut d_a) = (initial.clone(), initial.clone(), initial.clone());
        time(budget, || {
            let kept = backward.then_some(&mut checkpoints[..]);
            state.fill(0.0);
            either!(form, selective_scan, naive::selective::selective_scan; machine, scan, &sequences, &mut y, &mut state, rows,
                gates, &a, shared, shared, None, kept);
            if backward {
                d_state.fill(0.0);
                let start = form.start(&checkpoints, &initial);
                either!(form, selective_scan_backward, naive::selective::selective_scan_backward; machine, scan, &sequences,
                    &mut d_x, &mut d_dt, &mut d_a, &mut d_b, &mut d_c, None, &mut d_state, &y, rows, gates, &a, shared, shared,
                    None, start, &mut scratch);
            }
        })
    }
}

/// Values of one state of every head.
fn states(scan: Scan) -> usize {
    scan.heads * scan.d_k * scan.d_v
}
