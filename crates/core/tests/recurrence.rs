//! Recurrences on the tape against the plain twins of their kernels: values, final states, and the gradients of every input,
//! of which one at a time is a constant and gets none.

use attendant_core::kernels::scan::Scan;
use attendant_core::kernels::selective::SelectiveScan;
use attendant_core::kernels::{Machine, naive};
use attendant_core::ops::{ScanGate, Selection};
use attendant_core::{Processor, Random, Tape, Var};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

const ROWS: usize = 24;
const SEQUENCES: [Range<usize>; 3] = [0..20, 20..20, 20..24];

fn random() -> Random {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
    let seed = std::env::var("ATTENDANT_SEED").map_or(clock, |seed| seed.parse().expect("ATTENDANT_SEED is a number"));
    println!("ATTENDANT_SEED={seed}");
    Random::new(seed, "recurrence")
}

fn within(random: &mut Random, n: usize, range: Range<f32>) -> Vec<f32> {
    (0..n).map(|_| range.start + (range.end - range.start) * random.uniform() as f32).collect()
}

/// Inputs as leaves, but for the one numbered `constant`.
fn leaves<const N: usize>(tape: &mut Tape, inputs: &[(usize, Vec<f32>); N], constant: usize) -> [Var; N] {
    std::array::from_fn(|i| {
        let (width, values) = &inputs[i];
        let rows = values.len() / width;
        if i == constant { tape.constant(rows, *width, values) } else { tape.leaf(rows, *width, values) }
    })
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = got.iter().zip(want).map(|(got, want)| square(got - want)).sum();
    let norm: f64 = want.iter().map(|want| square(*want)).sum();
    assert!(error <= 4e-12 * norm, "{what}: error {:.2e}", (error / norm).sqrt());
}

/// Compares the gradients of all inputs but the constant one.
fn check_gradients<const N: usize>(tape: &Tape, vars: [Var; N], want: [Vec<f32>; N], constant: usize) {
    for (i, (var, want)) in vars.into_iter().zip(want).enumerate() {
        match tape.gradient(var) {
            Some(got) => assert_close(&format!("gradient of input {i}"), got, &want),
            None => assert_eq!(i, constant, "input {i} got no gradient"),
        }
    }
}

#[test]
fn gated_delta() {
    let mut random = random();
    let scan = Scan { heads: 3, d_k: 5, d_v: 7 };
    // Short enough that no key is longer than 1.
    let reach = 5f32.powf(-0.5);
    let inputs = [
        (15, within(&mut random, ROWS * 15, -1.0..1.0)),
        (15, within(&mut random, ROWS * 15, -reach..reach)),
        (21, within(&mut random, ROWS * 21, -1.0..1.0)),
        (3, within(&mut random, ROWS * 3, 0.5..1.0)),
        (3, within(&mut random, ROWS * 3, 0.0..1.0)),
    ];
    let initial = within(&mut random, 3 * 105, -1.0..1.0);
    let d_out = within(&mut random, ROWS * 21, -1.0..1.0);

    let [q, k, v, decay, beta] = inputs.each_ref().map(|(_, values)| &values[..]);
    let (mut out, mut state) = (vec![f32::NAN; ROWS * 21], initial.clone());
    let machine = Machine::inline();
    naive::delta::gated_delta(machine, scan, &SEQUENCES, &mut out, &mut state, q, k, v, decay, beta, None, &mut []);
    let mut want = inputs.each_ref().map(|(_, values)| vec![0.0; values.len()]);
    let [d_q, d_k, d_v, d_decay, d_beta] = &mut want;
    naive::delta::gated_delta_backward(
        machine,
        scan,
        &SEQUENCES,
        d_q,
        d_k,
        d_v,
        d_decay,
        d_beta,
        &mut vec![0.0; initial.len()],
        &d_out,
        q,
        k,
        v,
        decay,
        beta,
        &initial,
        &mut [],
    );

    for constant in 0..5 {
        let mut tape = Tape::new(Processor::new(2)).poisoned();
        let vars = leaves(&mut tape, &inputs, constant);
        let [q, k, v, decay, beta] = vars;
        let start = tape.constant(3, 105, &initial);
        let recurrence = tape.gated_delta(q, k, v, decay, beta, start, scan, &SEQUENCES);
        assert_close("out", tape.value(recurrence.rows), &out);
        assert_close("state", tape.value(recurrence.state), &state);
        tape.backward_with(recurrence.rows, &d_out);
        check_gradients(&tape, vars, want.clone(), constant);
    }
}

#[test]
fn selective_scan() {
    let mut random = random();
    let scan = SelectiveScan { channels: 6, state: 5, groups: 2 };
    let inputs = [
        (6, within(&mut random, ROWS * 6, -1.0..1.0)),
        (6, within(&mut random, ROWS * 6, 0.01..0.5)),
        (5, within(&mut random, 6 * 5, -4.0..-0.1)),
        (10, within(&mut random, ROWS * 10, -1.0..1.0)),
        (10, within(&mut random, ROWS * 10, -1.0..1.0)),
        (6, within(&mut random, 6, -1.0..1.0)),
    ];
    let initial = within(&mut random, 3 * 30, -1.0..1.0);
    let d_y = within(&mut random, ROWS * 6, -1.0..1.0);

    let [x, dt, a, b, c, skip] = inputs.each_ref().map(|(_, values)| &values[..]);
    let (mut y, mut state) = (vec![f32::NAN; ROWS * 6], initial.clone());
    let machine = Machine::inline();
    naive::selective::selective_scan(machine, scan, &SEQUENCES, &mut y, &mut state, x, dt, a, b, c, Some(skip), None);
    let mut want = inputs.each_ref().map(|(_, values)| vec![0.0; values.len()]);
    let [d_x, d_dt, d_a, d_b, d_c, d_skip] = &mut want;
    naive::selective::selective_scan_backward(
        machine,
        scan,
        &SEQUENCES,
        d_x,
        d_dt,
        d_a,
        d_b,
        d_c,
        Some(d_skip),
        &mut vec![0.0; initial.len()],
        &d_y,
        x,
        dt,
        a,
        b,
        c,
        Some(skip),
        &initial,
        &mut [],
    );

    for constant in 0..6 {
        let mut tape = Tape::new(Processor::new(2)).poisoned();
        let vars = leaves(&mut tape, &inputs, constant);
        let [x, dt, a, b, c, skip] = vars;
        let start = tape.constant(3, 30, &initial);
        let recurrence = tape.selective_scan(x, Selection { dt, a, b, c, skip: Some(skip) }, start, scan, &SEQUENCES);
        assert_close("y", tape.value(recurrence.rows), &y);
        assert_close("state", tape.value(recurrence.state), &state);
        tape.backward_with(recurrence.rows, &d_y);
        check_gradients(&tape, vars, want.clone(), constant);
    }
}

/// One input in three places gets the sum of what three inputs of the same values get.
#[test]
fn the_same_rows_in_three_places_get_the_sum_of_three_gradients() {
    let mut random = random();
    let scan = Scan { heads: 3, d_k: 5, d_v: 5 };
    let values = within(&mut random, ROWS * 15, -1.0..1.0);
    let d_out = within(&mut random, ROWS * 15, -1.0..1.0);
    let gradients = |apart: bool| {
        let mut tape = Tape::new(Processor::new(2)).poisoned();
        let mut vars = [(); 3].map(|()| tape.leaf(ROWS, 15, &values));
        if !apart {
            vars = [vars[0]; 3];
        }
        let start = tape.constant(3, 75, &[0.0; 225]);
        let recurrence = tape.gated_scan(vars[0], vars[1], vars[2], ScanGate::None, start, scan, &SEQUENCES);
        tape.backward_with(recurrence.rows, &d_out);
        vars.map(|var| tape.gradient(var).expect("a leaf gets a gradient").to_vec())
    };
    let [q, k, v] = gradients(true);
    let sum: Vec<f32> = (0..q.len()).map(|i| q[i] + k[i] + v[i]).collect();
    assert_close("the sum", &gradients(false)[0], &sum);
}
