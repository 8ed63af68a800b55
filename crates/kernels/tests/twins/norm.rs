use crate::check::{affordable, assert_close, assert_same_bits, for_random_cases, instruction_sets, poison, shapes};
use crate::support::{DIFFERENCE, any, differences, dot, hold, present, signed, within};
use attendant_kernels::{Machine, naive, norm};

/// Rows and width. Gradients are tested from the second on: those of a row of one value are nothing but roundings.
const SHAPES: [(usize, usize); 9] = [(17, 1), (3, 17), (17, 3), (63, 65), (5, 100), (300, 63), (40, 576), (2, 17_001), (0, 8)];
const EPS: f32 = 1e-5;

type Rms = fn(Machine<'_>, &mut [f32], &[f32], Option<&[f32]>, usize, f32);
type Layer = fn(Machine<'_>, &mut [f32], &[f32], Option<&[f32]>, Option<&[f32]>, usize, f32);
type RmsBackward = fn(Machine<'_>, &mut [f32], Option<&mut [f32]>, &[f32], &[f32], Option<&[f32]>, usize, f32, &mut [f32]);
type LayerBackward =
    fn(Machine<'_>, &mut [f32], Option<&mut [f32]>, Option<&mut [f32]>, &[f32], &[f32], Option<&[f32]>, usize, f32, &mut [f32]);

#[test]
fn rms_norm() {
    for_random_cases(2, |random| {
        for (n, width) in shapes(SHAPES) {
            let (x, w) = (signed(random, n * width), signed(random, width));
            for weight in [None, Some(&w[..])] {
                let run = |f: Rms, machine: Machine<'_>| {
                    let mut y = poison(n * width);
                    f(machine, &mut y, &x, weight, width, EPS);
                    [y]
                };
                let what = format!("rms_norm {n} x {width}, weight {}", weight.is_some());
                hold(&what, 5e-7, run(naive::norm::rms_norm, any()), |machine| run(norm::rms_norm, machine));
            }
        }
    });
}

#[test]
fn rms_norm_backward() {
    for_random_cases(2, |random| {
        for (n, width) in shapes(SHAPES).skip(1) {
            let (x, w, d_y) = (signed(random, n * width), signed(random, width), signed(random, n * width));
            let (old_x, old_w) = (present(random, n * width), present(random, width));
            for weight in [None, Some(&w[..])] {
                let run = |f: RmsBackward, machine: Machine<'_>| {
                    let (mut d_x, mut d_w) = (old_x.clone(), old_w.clone());
                    let d_weight = weight.is_some().then_some(&mut d_w[..]);
                    let mut scratch = poison(norm::norm_backward_scratch(n, width));
                    f(machine, &mut d_x, d_weight, &d_y, &x, weight, width, EPS, &mut scratch);
                    [d_x, d_w]
                };
                let what = format!("rms_norm_backward {n} x {width}, weight {}", weight.is_some());
                hold(&what, 1e-6, run(naive::norm::rms_norm_backward, any()), |machine| run(norm::rms_norm_backward, machine));
            }
        }
    });
}

#[test]
fn layer_norm() {
    for_random_cases(2, |random| {
        for (n, width) in shapes(SHAPES) {
            // Far from zero: the variance must not be a difference of large squares.
            let x = within(random, n * width, 9.0..11.0);
            let (w, b) = (signed(random, width), signed(random, width));
            let (w, b) = (Some(&w[..]), Some(&b[..]));
            for (weight, bias) in [(w, b), (w, None), (None, b), (None, None)] {
                let run = |f: Layer, machine: Machine<'_>| {
                    let mut y = poison(n * width);
                    f(machine, &mut y, &x, weight, bias, width, EPS);
                    [y]
                };
                let what = format!("layer_norm {n} x {width}, weight {}, bias {}", weight.is_some(), bias.is_some());
                hold(&what, 1e-6, run(naive::norm::layer_norm, any()), |machine| run(norm::layer_norm, machine));
            }
        }
    });
}

#[test]
fn layer_norm_backward() {
    for_random_cases(2, |random| {
        for (n, width) in shapes(SHAPES).skip(1) {
            let (x, w, d_y) = (signed(random, n * width), signed(random, width), signed(random, n * width));
            let (old_x, old_w) = (present(random, n * width), present(random, width));
            for (weight, with_bias) in [(Some(&w[..]), true), (Some(&w[..]), false), (None, true), (None, false)] {
                let run = |f: LayerBackward, machine: Machine<'_>| {
                    let (mut d_x, mut d_w, mut d_b) = (old_x.clone(), old_w.clone(), old_w.clone());
                    let d_weight = weight.is_some().then_some(&mut d_w[..]);
                    let d_bias = with_bias.then_some(&mut d_b[..]);
                    let mut scratch = poison(norm::norm_backward_scratch(n, width));
                    f(machine, &mut d_x, d_weight, d_bias, &d_y, &x, weight, width, EPS, &mut scratch);
                    [d_x, d_w, d_b]
                };
                let what = format!("layer_norm_backward {n} x {width}, weight {}, bias {with_bias}", weight.is_some());
                hold(&what, 1e-6, run(naive::norm::layer_norm_backward, any()), |machine| {
                    run(norm::layer_norm_backward, machine)
                });
            }
        }
    });
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let (n, width) = (3, 7);
        let (x, w, d_y) = (signed(random, n * width), signed(random, width), signed(random, n * width));

        let want = differences([&x, &w], |[x, w]| {
            let mut y = poison(n * width);
            naive::norm::rms_norm(any(), &mut y, x, Some(w), width, 0.1);
            dot(&y, &d_y)
        });
        let (mut d_x, mut d_w) = (vec![0.0; n * width], vec![0.0; width]);
        naive::norm::rms_norm_backward(any(), &mut d_x, Some(&mut d_w), &d_y, &x, Some(&w), width, 0.1, &mut []);
        assert_close("rms_norm d_x", &d_x, &want[0], DIFFERENCE);
        assert_close("rms_norm d_weight", &d_w, &want[1], DIFFERENCE);

        let b = signed(random, width);
        let want = differences([&x, &w, &b], |[x, w, b]| {
            let mut y = poison(n * width);
            naive::norm::layer_norm(any(), &mut y, x, Some(w), Some(b), width, 0.1);
            dot(&y, &d_y)
        });
        let (mut d_x, mut d_w, mut d_b) = (vec![0.0; n * width], vec![0.0; width], vec![0.0; width]);
        let (d_weight, d_bias) = (Some(&mut d_w[..]), Some(&mut d_b[..]));
        naive::norm::layer_norm_backward(any(), &mut d_x, d_weight, d_bias, &d_y, &x, Some(&w), width, 0.1, &mut []);
        assert_close("layer_norm d_x", &d_x, &want[0], DIFFERENCE);
        assert_close("layer_norm d_weight", &d_w, &want[1], DIFFERENCE);
        assert_close("layer_norm d_bias", &d_b, &want[2], DIFFERENCE);
    });
}

#[test]
fn a_row_does_not_see_its_neighbours() {
    for_random_cases(2, |random| {
        let [n, width] = [300, 65].map(affordable);
        let (x, w, d_y) = (signed(random, n * width), signed(random, width), signed(random, n * width));
        for isa in instruction_sets() {
            let machine = Machine { isa, ..any() };
            let mut all = poison(n * width);
            norm::layer_norm(machine, &mut all, &x, Some(&w), None, width, EPS);
            let mut d_all = vec![0.0; n * width];
            let mut scratch = poison(norm::norm_backward_scratch(n, width));
            norm::rms_norm_backward(machine, &mut d_all, None, &d_y, &x, Some(&w), width, EPS, &mut scratch);
            for row in [0, 7, n - 1] {
                let span = row * width..(row + 1) * width;
                let (mut y, mut d_x) = (poison(width), vec![0.0; width]);
                norm::layer_norm(machine, &mut y, &x[span.clone()], Some(&w), None, width, EPS);
                assert_same_bits("layer_norm", &y, &all[span.clone()]);
                let (d_y, x) = (&d_y[span.clone()], &x[span.clone()]);
                norm::rms_norm_backward(machine, &mut d_x, None, d_y, x, Some(&w), width, EPS, &mut scratch);
                assert_same_bits("rms_norm_backward", &d_x, &d_all[span]);
            }
        }
    });
}
