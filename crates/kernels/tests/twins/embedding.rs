use crate::check::{for_random_cases, poison, shapes};
use crate::support::{any, hold, present, signed};
use attendant_kernels::embedding::{embedding, embedding_backward};
use attendant_kernels::{Machine, naive};

type Take = fn(Machine<'_>, &mut [f32], &[f32], &[u32], usize);

#[test]
fn forward_and_backward() {
    for_random_cases(2, |random| {
        let all = [(1, 1, 1), (17, 3, 65), (65, 100, 17), (100, 63, 576), (300, 1000, 130), (0, 4, 8)];
        for (n, vocab, width) in shapes(all) {
            let (table, d_y) = (present(random, vocab * width), signed(random, n * width));
            let ids: Vec<u32> = (0..n).map(|_| random.below(vocab) as u32).collect();
            let run = |f: Take, machine: Machine<'_>| {
                let mut y = poison(n * width);
                f(machine, &mut y, &table, &ids, width);
                [y]
            };
            let what = format!("embedding {n} of {vocab} x {width}");
            hold(&what, 0.0, run(naive::embedding::embedding, any()), |machine| run(embedding, machine));
            let run = |f: Take, machine: Machine<'_>| {
                let mut d_table = table.clone();
                f(machine, &mut d_table, &d_y, &ids, width);
                [d_table]
            };
            hold(&what, 1e-6, run(naive::embedding::embedding_backward, any()), |machine| run(embedding_backward, machine));
        }
    });
}

#[test]
#[should_panic(expected = "id of a row: want less than 4, got 4")]
fn an_id_outside_the_table() {
    embedding_backward(any(), &mut [0.0; 8], &[0.0; 2], &[4], 2);
}
