use crate::check::{INTERPRETED, affordable, assert_close, for_random_cases, instruction_sets, poison};
use crate::support::{DIFFERENCE, any, differences, dot, hold, pieces, pieces_len, present, signed, within};
use attendant_kernels::activation::{self, Gelu, Unary};
use attendant_kernels::{Machine, naive};

const UNARY: [Unary; 7] = [Unary::Silu, Unary::Sigmoid, Unary::Tanh, Unary::Exp, Unary::EluPlusOne, Unary::Relu, Unary::Softplus];

type SwigluBackward = fn(Machine<'_>, &mut [f32], &mut [f32], &[f32], &[f32], &[f32]);
type UnaryBackward = fn(Machine<'_>, &mut [f32], &[f32], &[f32], &[f32], Unary);

/// Of each value, over a range where the tails of the functions have not vanished.
const BOUND: f64 = 2e-7;

#[test]
fn swiglu() {
    for_random_cases(2, |random| {
        let n = pieces_len();
        let (gate, up) = (within(random, n, -6.0..6.0), signed(random, n));
        let run = |f: fn(Machine<'_>, &mut [f32], &[f32], &[f32]), machine: Machine<'_>| {
            let mut y = poison(n);
            for p in pieces() {
                f(machine, &mut y[p.clone()], &gate[p.clone()], &up[p]);
            }
            [y]
        };
        hold("swiglu", BOUND, run(naive::activation::swiglu, any()), |machine| run(activation::swiglu, machine));

        let (d_y, old) = (signed(random, n), present(random, n));
        let run = |f: SwigluBackward, machine: Machine<'_>| {
            let (mut d_gate, mut d_up) = (old.clone(), old.clone());
            for p in pieces() {
                let (d_y, gate, up) = (&d_y[p.clone()], &gate[p.clone()], &up[p.clone()]);
                f(machine, &mut d_gate[p.clone()], &mut d_up[p], d_y, gate, up);
            }
            [d_gate, d_up]
        };
        let twin = run(naive::activation::swiglu_backward, any());
        hold("swiglu_backward", BOUND, twin, |machine| run(activation::swiglu_backward, machine));
    });
}

#[test]
fn gelu() {
    for_random_cases(2, |random| {
        let n = pieces_len();
        let (x, d_y, old) = (within(random, n, -6.0..6.0), signed(random, n), present(random, n));
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let run = |f: fn(Machine<'_>, &mut [f32], &[f32], Gelu), machine: Machine<'_>| {
                let mut y = poison(n);
                for p in pieces() {
                    f(machine, &mut y[p.clone()], &x[p], kind);
                }
                [y]
            };
            let what = format!("gelu {kind:?}");
            hold(&what, BOUND, run(naive::activation::gelu, any()), |machine| run(activation::gelu, machine));

            let run = |f: fn(Machine<'_>, &mut [f32], &[f32], &[f32], Gelu), machine: Machine<'_>| {
                let mut d_x = old.clone();
                for p in pieces() {
                    f(machine, &mut d_x[p.clone()], &d_y[p.clone()], &x[p], kind);
                }
                [d_x]
            };
            let twin = run(naive::activation::gelu_backward, any());
            hold(&what, BOUND, twin, |machine| run(activation::gelu_backward, machine));
        }
    });
}

#[test]
fn unary() {
    for_random_cases(2, |random| {
        let n = pieces_len();
        let (x, d_y, old) = (within(random, n, -6.0..6.0), signed(random, n), present(random, n));
        for kind in UNARY {
            let run = |f: fn(Machine<'_>, &mut [f32], &[f32], Unary), machine: Machine<'_>| {
                let mut y = poison(n);
                for p in pieces() {
                    f(machine, &mut y[p.clone()], &x[p], kind);
                }
                [y]
            };
            let what = format!("{kind:?}");
            let [y] = run(naive::activation::unary, any());
            hold(&what, BOUND, [y.clone()], |machine| run(activation::unary, machine));

            let run = |f: UnaryBackward, machine: Machine<'_>| {
                let mut d_x = old.clone();
                for p in pieces() {
                    f(machine, &mut d_x[p.clone()], &d_y[p.clone()], &x[p.clone()], &y[p], kind);
                }
                [d_x]
            };
            let twin = run(naive::activation::unary_backward, any());
            hold(&what, BOUND, twin, |machine| run(activation::unary_backward, machine));
        }
    });
}

/// Each value by itself, not only on average.
#[test]
fn every_value_is_accurate() {
    let x: Vec<f32> = (-4000..=4000)
        .step_by(if INTERPRETED { 250 } else { 1 })
        .map(|i| i as f32 * 0.002)
        .chain([1e-30, -1e-8, 3e-5, 0.0, 0.624_999_9, 0.625])
        .collect();
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        for kind in UNARY {
            let (mut got, mut want) = (poison(x.len()), poison(x.len()));
            activation::unary(machine, &mut got, &x, kind);
            naive::activation::unary(any(), &mut want, &x, kind);
            for i in 0..x.len() {
                let what = format!("{kind:?} of {} on {isa:?}: got {}, want {}", x[i], got[i], want[i]);
                assert!((got[i] - want[i]).abs() <= 6e-7 * want[i].abs(), "{what}");
            }
        }
        let (mut got, mut want) = (poison(x.len()), poison(x.len()));
        activation::gelu(machine, &mut got, &x, Gelu::Erf);
        naive::activation::gelu(any(), &mut want, &x, Gelu::Erf);
        for i in 0..x.len() {
            // In the far tail the rounding of the exponent, up to 32 here, is an error of the value.
            let bound = if x[i] < -1.0 { 4e-6 } else { 4e-7 };
            assert!(
                (got[i] - want[i]).abs() <= bound * want[i].abs(),
                "gelu of {} on {isa:?}: got {}, want {}",
                x[i],
                got[i],
                want[i]
            );
        }
    }
}

#[test]
fn extremes() {
    let x = [f32::NEG_INFINITY, -1e30, -1e4, -100.0, 100.0, 1e4, f32::NAN];
    let wanted: [(Unary, [f32; 5]); 4] = [
        (Unary::Sigmoid, [0.0, 0.0, 0.0, 0.0, 1.0]),
        (Unary::Tanh, [-1.0, -1.0, -1.0, -1.0, 1.0]),
        (Unary::Relu, [0.0, 0.0, 0.0, 0.0, 100.0]),
        (Unary::Softplus, [0.0, 0.0, 0.0, 0.0, 100.0]),
    ];
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        for (kind, want) in wanted {
            let mut y = poison(x.len());
            activation::unary(machine, &mut y, &x, kind);
            for i in 0..5 {
                assert!((y[i] - want[i]).abs() < 1e-30, "{kind:?} of {} on {isa:?}: got {}, want {}", x[i], y[i], want[i]);
            }
            assert!(y[6].is_nan(), "{kind:?} of NaN on {isa:?}: got {}", y[6]);
        }
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let mut y = poison(x.len());
            activation::gelu(machine, &mut y, &x, kind);
            assert_eq!(y[2..6].iter().map(|y| y + 0.0).collect::<Vec<_>>(), [0.0, 0.0, 100.0, 1e4], "{kind:?} on {isa:?}");
            assert!(y[6].is_nan(), "{kind:?} of NaN on {isa:?}: got {}", y[6]);
            let mut d_x = vec![0.0; x.len()];
            activation::gelu_backward(machine, &mut d_x, &[1.0; 7], &x, kind);
            assert_eq!(d_x[2..6], [0.0, 0.0, 1.0, 1.0], "derivative of {kind:?} on {isa:?}");
        }
    }
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let n = affordable(40);
        // Away from the corners of relu and elu.
        let x: Vec<f32> = within(random, n, -3.0..3.0).into_iter().map(|x| if x.abs() < 0.05 { x + 0.2 } else { x }).collect();
        let (up, d_y) = (signed(random, n), signed(random, n));
        for kind in UNARY {
            let [want] = differences([&x], |[x]| {
                let mut y = poison(x.len());
                naive::activation::unary(any(), &mut y, x, kind);
                dot(&y, &d_y)
            });
            let mut d_x = vec![0.0; n];
            naive::activation::unary_backward(any(), &mut d_x, &d_y, &x, &[], kind);
            assert_close(&format!("{kind:?}"), &d_x, &want, DIFFERENCE);
        }
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let [want] = differences([&x], |[x]| {
                let mut y = poison(x.len());
                naive::activation::gelu(any(), &mut y, x, kind);
                dot(&y, &d_y)
            });
            let mut d_x = vec![0.0; n];
            naive::activation::gelu_backward(any(), &mut d_x, &d_y, &x, kind);
            assert_close(&format!("{kind:?}"), &d_x, &want, DIFFERENCE);
        }
        let want = differences([&x, &up], |[gate, up]| {
            let mut y = poison(gate.len());
            naive::activation::swiglu(any(), &mut y, gate, up);
            dot(&y, &d_y)
        });
        let (mut d_gate, mut d_up) = (vec![0.0; n], vec![0.0; n]);
        naive::activation::swiglu_backward(any(), &mut d_gate, &mut d_up, &d_y, &x, &up);
        assert_close("swiglu d_gate", &d_gate, &want[0], DIFFERENCE);
        assert_close("swiglu d_up", &d_up, &want[1], DIFFERENCE);
    });
}
