use crate::check::{for_random_cases, poison, shapes};
use crate::support::{any, hold, pieces, pieces_len, present, signed};
use attendant_kernels::{Machine, elementwise, naive};

type Binary = fn(Machine<'_>, &mut [f32], &[f32], &[f32]);
type Unary = fn(Machine<'_>, &mut [f32], &[f32]);

#[test]
fn two_inputs() {
    let all: [(&str, Binary, Binary, bool); 3] = [
        ("add", elementwise::add, naive::elementwise::add, false),
        ("multiply", elementwise::multiply, naive::elementwise::multiply, false),
        ("multiply_add", elementwise::multiply_add, naive::elementwise::multiply_add, true),
    ];
    for_random_cases(2, |random| {
        let n = pieces_len();
        let (a, b) = (signed(random, n), signed(random, n));
        for (what, kernel, twin, adds) in all {
            let start = if adds { present(random, n) } else { poison(n) };
            let run = |f: Binary, machine: Machine<'_>| {
                let mut y = start.clone();
                for p in pieces() {
                    f(machine, &mut y[p.clone()], &a[p.clone()], &b[p]);
                }
                [y]
            };
            hold(what, 1e-7, run(twin, any()), |machine| run(kernel, machine));
        }
    });
}

#[test]
fn one_input() {
    let all: [(&str, Unary, Unary, bool); 3] = [
        ("add_assign", elementwise::add_assign, naive::elementwise::add_assign, true),
        ("scale", |m, y, x| elementwise::scale(m, y, x, -0.3), |m, y, x| naive::elementwise::scale(m, y, x, -0.3), false),
        (
            "scale_add",
            |m, y, x| elementwise::scale_add(m, y, x, 1.7),
            |m, y, x| naive::elementwise::scale_add(m, y, x, 1.7),
            true,
        ),
    ];
    for_random_cases(2, |random| {
        let n = pieces_len();
        let x = signed(random, n);
        for (what, kernel, twin, adds) in all {
            let start = if adds { present(random, n) } else { poison(n) };
            let run = |f: Unary, machine: Machine<'_>| {
                let mut y = start.clone();
                for p in pieces() {
                    f(machine, &mut y[p.clone()], &x[p]);
                }
                [y]
            };
            hold(what, 1e-7, run(twin, any()), |machine| run(kernel, machine));
        }
    });
}

#[test]
fn bias_and_its_gradient() {
    for_random_cases(2, |random| {
        for (n, width) in shapes([(1, 1), (3, 17), (65, 63), (3, 100), (1100, 100), (3, 20_001), (0, 5)]) {
            let (rows, bias) = (signed(random, n * width), present(random, width));
            let run = |f: Unary, machine: Machine<'_>| {
                let mut y = rows.clone();
                f(machine, &mut y, &bias);
                [y]
            };
            let what = format!("add_bias {n} x {width}");
            hold(&what, 1e-7, run(naive::elementwise::add_bias, any()), |machine| run(elementwise::add_bias, machine));
            let run = |f: fn(Machine<'_>, &mut [f32], &[f32], &mut [f32]), machine: Machine<'_>| {
                let mut d_bias = bias.clone();
                f(machine, &mut d_bias, &rows, &mut poison(elementwise::sum_rows_scratch(n, width)));
                [d_bias]
            };
            let what = format!("sum_rows {n} x {width}");
            hold(&what, 1e-6, run(naive::elementwise::sum_rows, any()), |machine| run(elementwise::sum_rows, machine));
        }
    });
}

#[test]
#[should_panic(expected = "input 1 has 4 values, want 3")]
fn lengths_that_differ() {
    elementwise::add(any(), &mut [0.0; 3], &[0.0; 3], &[0.0; 4]);
}
