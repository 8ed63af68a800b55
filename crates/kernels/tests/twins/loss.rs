use crate::check::{assert_close, assert_same_bits, for_random_cases, instruction_sets, poison, shapes};
use crate::support::{DIFFERENCE, any, differences, dot, hold, present, signed, within};
use attendant_kernels::loss::{IGNORE, cross_entropy, cross_entropy_backward};
use attendant_kernels::{Machine, naive};

type Forward = fn(Machine<'_>, &mut [f32], &mut [f32], &[f32], &[u32], usize);
type Backward = fn(Machine<'_>, &mut [f32], &[f32], &[f32], &[u32], &[f32], usize);

#[test]
fn forward_and_backward() {
    for_random_cases(2, |random| {
        for (n, vocab) in shapes([(1, 1), (3, 17), (17, 3), (63, 100), (2, 40_001), (300, 65), (0, 5)]) {
            for range in [-3.0f32..3.0, 9_000.0..10_000.0, -10_000.0..-9_990.0] {
                let logits = within(random, n * vocab, range.clone());
                let targets: Vec<u32> = (0..n).map(|i| if i % 5 == 2 { IGNORE } else { random.below(vocab) as u32 }).collect();
                let run = |f: Forward, machine: Machine<'_>| {
                    let (mut losses, mut lse) = (poison(n), poison(n));
                    f(machine, &mut losses, &mut lse, &logits, &targets, vocab);
                    [losses, lse]
                };
                let what = format!("cross_entropy {n} x {vocab}, logits {range:?}");
                let twin = run(naive::loss::cross_entropy, any());
                let lse = twin[1].clone();
                hold(&what, 1e-6, twin, |machine| run(cross_entropy, machine));

                let (d_losses, old) = (signed(random, n), present(random, n * vocab));
                let run = |f: Backward, machine: Machine<'_>| {
                    let mut d_logits = old.clone();
                    f(machine, &mut d_logits, &logits, &lse, &targets, &d_losses, vocab);
                    [d_logits]
                };
                hold(&what, 1e-6, run(naive::loss::cross_entropy_backward, any()), |machine| {
                    run(cross_entropy_backward, machine)
                });
            }
        }
    });
}

#[test]
fn ignored_rows_and_hidden_words() {
    let logits = [f32::NAN, 1.0, 2.0, f32::NEG_INFINITY, 0.5, 0.5];
    let (mut losses, mut lse) = (poison(2), poison(2));
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        cross_entropy(machine, &mut losses, &mut lse, &logits, &[IGNORE, 2], 3);
        assert_same_bits("losses", &losses, &[0.0, std::f32::consts::LN_2]);
        let mut d_logits = [0.25; 6];
        cross_entropy_backward(machine, &mut d_logits, &logits, &lse, &[IGNORE, 2], &[f32::NAN, 1.0], 3);
        assert_close("d_logits", &d_logits, &[0.25, 0.25, 0.25, 0.25, 0.75, -0.25], 1e-6);
    }
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        let (logits, targets, d_losses) = (signed(random, 4 * 7), [3, IGNORE, 0, 6], signed(random, 4));
        let (mut losses, mut lse) = (poison(4), poison(4));
        naive::loss::cross_entropy(any(), &mut losses, &mut lse, &logits, &targets, 7);
        let mut d_logits = vec![0.0; 28];
        naive::loss::cross_entropy_backward(any(), &mut d_logits, &logits, &lse, &targets, &d_losses, 7);
        let [want] = differences([&logits], |[logits]| {
            let (mut losses, mut lse) = (poison(4), poison(4));
            naive::loss::cross_entropy(any(), &mut losses, &mut lse, logits, &targets, 7);
            dot(&losses, &d_losses)
        });
        assert_close("d_logits", &d_logits, &want, DIFFERENCE);
    });
}

#[test]
#[should_panic(expected = "target: want less than 3, got 3")]
fn a_target_outside_the_vocabulary() {
    cross_entropy(any(), &mut [0.0], &mut [0.0], &[0.0; 3], &[3], 3);
}
