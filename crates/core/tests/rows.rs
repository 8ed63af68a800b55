//! Operations that look at each row alone, against the same in dual numbers: values, and the gradient of a weighed sum of them.

use attendant_core::{Dual, Processor, Random, Real, Tape, Var};
use std::time::{SystemTime, UNIX_EPOCH};

const ROWS: usize = 3;
const WIDTH: usize = 5;
const VALUES: usize = ROWS * WIDTH;
type Number = Dual<VALUES>;

fn random() -> Random {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
    let seed = std::env::var("ATTENDANT_SEED").map_or(clock, |seed| seed.parse().expect("ATTENDANT_SEED is a number"));
    println!("ATTENDANT_SEED={seed}");
    Random::new(seed, "rows")
}

fn within(random: &mut Random, low: f64, high: f64) -> Vec<f32> {
    (0..VALUES).map(|_| (low + (high - low) * random.uniform()) as f32).collect()
}

/// Compares an operation on the tape with a function of one row.
#[track_caller]
fn check(what: &str, x: &[f32], operation: impl Fn(&mut Tape, Var) -> Var, row: impl Fn(&[Number]) -> Vec<Number>) {
    let mut random = random();
    let weights = within(&mut random, -1.0, 1.0);
    let numbers: Vec<Number> = x.iter().enumerate().map(|(i, &x)| Number::variable(x.into(), i)).collect();
    let want: Vec<Number> = numbers.chunks_exact(WIDTH).flat_map(&row).collect();
    let sum = want.iter().zip(&weights).fold(Number::from(0.0), |sum, (y, &w)| sum + *y * Number::from(f64::from(w)));

    let mut tape = Tape::new(Processor::new(1)).poisoned();
    let leaf = tape.leaf(ROWS, WIDTH, x);
    let y = operation(&mut tape, leaf);
    let values: Vec<f64> = want.iter().map(|y| y.value).collect();
    close(what, tape.value(y), &values);
    tape.backward_with(y, &weights);
    close(&format!("gradient of {what}"), tape.gradient(leaf).expect("a gradient"), &sum.slope);
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64]) {
    let apart: f64 = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).powi(2)).sum();
    let size: f64 = want.iter().map(|want| want * want).sum();
    assert!(got.len() == want.len() && apart <= 1e-12 * size, "{what}: got {got:?}, wanted {want:?}");
}

#[test]
fn softmax() {
    let x = within(&mut random(), -4.0, 4.0);
    let row = |x: &[Number]| {
        let sum = x.iter().fold(Number::from(0.0), |sum, x| sum + x.exp());
        x.iter().map(|x| x.exp() / sum).collect()
    };
    check("softmax", &x, |tape, x| tape.softmax(x), row);
}

#[test]
fn softmax_of_large_values_is_finite() {
    let mut tape = Tape::inference(Processor::new(1)).poisoned();
    let x = tape.constant(1, 3, &[1e4, 1e4, -1e4]);
    let y = tape.softmax(x);
    assert_eq!(tape.value(y), [0.5, 0.5, 0.0]);
}

#[test]
fn divide_by_sum() {
    let x = within(&mut random(), 0.1, 2.0);
    let row = |x: &[Number]| {
        let sum = x.iter().fold(Number::from(0.0), |sum, x| sum + *x);
        x.iter().map(|x| *x / sum).collect()
    };
    check("divide_by_sum", &x, |tape, x| tape.divide_by_sum(x), row);
}

#[test]
fn clamp() {
    let x = within(&mut random(), -2.0, 2.0);
    let end = |x: &Number| match x.value {
        below if below < -0.5 => Number::from(-0.5),
        above if above > 0.75 => Number::from(0.75),
        _ => *x,
    };
    check("clamp", &x, |tape, x| tape.clamp(x, -0.5..=0.75), |x| x.iter().map(end).collect());
}

#[test]
fn softcap() {
    let x = within(&mut random(), -9.0, 9.0);
    let row = |x: &[Number]| x.iter().map(|x| (*x / Number::from(2.5)).tanh() * Number::from(2.5)).collect();
    check("softcap", &x, |tape, x| tape.softcap(x, 2.5), row);
}

#[test]
fn a_row_by_its_own_factor() {
    let x = within(&mut random(), -2.0, 2.0);
    // The factor is the first value of the row, so that both inputs get a gradient.
    let operation = |tape: &mut Tape, x: Var| {
        let factor = tape.columns(x, 0..1);
        tape.scale_rows(x, factor)
    };
    check("scale_rows", &x, operation, |x| x.iter().map(|value| *value * x[0]).collect());
}
