use crate::check::{Random, assert_close, for_random_cases, poison, shapes};
use crate::support::{DIFFERENCE, any, differences, dot, hold, present, signed, within};
use attendant_kernels::rope::{Rope, RopeLayout, rope, rope_backward};
use attendant_kernels::{Machine, naive};

type Turn = fn(Machine<'_>, &mut [f32], &[f32], &[f32], &Rope);

/// `n` rows of cosines and sines.
fn table(random: &mut Random, n: usize, rotary: usize) -> Vec<f32> {
    let angles = within(random, n * rotary / 2, -3.2..3.2);
    angles.chunks((rotary / 2).max(1)).flat_map(|row| row.iter().map(|a| a.cos()).chain(row.iter().map(|a| a.sin()))).collect()
}

#[test]
fn forward_and_backward() {
    for_random_cases(2, |random| {
        for layout in [RopeLayout::Halves, RopeLayout::Pairs] {
            for (n, heads, d_head, start, rotary) in shapes([
                (1, 1, 2, 0, 2),
                (3, 2, 17, 0, 16),
                (17, 3, 65, 5, 34),
                (63, 1, 100, 50, 50),
                (5, 2, 63, 3, 0),
                (100, 9, 64, 0, 64),
                (0, 2, 8, 0, 8),
            ]) {
                let settings = Rope { heads, d_head, start, rotary, layout };
                let (x, old) = (signed(random, n * heads * d_head), present(random, n * heads * d_head));
                let table = table(random, n, rotary);
                let run = |f: Turn, start: &[f32], machine: Machine<'_>| {
                    let mut y = start.to_vec();
                    f(machine, &mut y, &x, &table, &settings);
                    [y]
                };
                let unset = poison(x.len());
                let what = format!("{n} rows, {settings:?}");
                hold(&what, 2e-7, run(naive::rope::rope, &unset, any()), |machine| run(rope, &unset, machine));
                hold(&what, 2e-7, run(naive::rope::rope_backward, &old, any()), |machine| run(rope_backward, &old, machine));
            }
        }
    });
}

#[test]
fn gradients_are_differences() {
    for_random_cases(2, |random| {
        for layout in [RopeLayout::Halves, RopeLayout::Pairs] {
            let settings = Rope { heads: 2, d_head: 9, start: 1, rotary: 6, layout };
            let (x, d_y) = (signed(random, 3 * 18), signed(random, 3 * 18));
            let table = table(random, 3, 6);
            let [want] = differences([&x], |[x]| {
                let mut y = poison(x.len());
                naive::rope::rope(any(), &mut y, x, &table, &settings);
                dot(&y, &d_y)
            });
            let mut d_x = vec![0.0; want.len()];
            naive::rope::rope_backward(any(), &mut d_x, &d_y, &table, &settings);
            assert_close("rope d_x", &d_x, &want, DIFFERENCE);
        }
    });
}
