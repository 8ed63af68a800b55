//! Products of f32.

use crate::Stored;
use crate::check::{ODD, Random, assert_close, assert_same_bits, bound, for_random_cases, inline_machines, machines, poison};
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef, Steps, product, product_batched, product_scratch};
use attendant_kernels::{Machine, naive};

fn run(machine: Machine<'_>, c: &mut [f32], n: usize, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate) {
    let mut scratch = poison(product_scratch(a.rows(), a.cols(), machine.executor.workers()));
    product(machine, MatrixMut::row_major(c, a.rows(), n), a, b, accumulate, &mut scratch);
}

fn check_against_twin(random: &mut Random, m: usize, n: usize, k: usize) {
    // The few sums of a small C could by chance all cancel, and their roundings be large beside them.
    let mean = if m * n < 100 { 2.0 } else { 0.0 };
    let (a, b) = (Stored::random(random, m, k, mean), Stored::random(random, k, n, mean));
    let (a, b) = (a.view(), b.view());
    let gap = random.pick(&[0, 5]);
    let stride = n + gap;
    let before = random.values((m - 1) * stride + n);
    for accumulate in [Accumulate::Store, Accumulate::Add] {
        let mut want = before.clone();
        naive::product(MatrixMut::strided(&mut want, m, n, stride), a, b, accumulate);
        let mut one_thread = Vec::new();
        for machine in machines() {
            let what = format!("{accumulate:?} [{m}, {n}, {k}] on {:?}, {} workers", machine.isa, machine.executor.workers());
            let mut got = before.clone();
            if accumulate == Accumulate::Store {
                got.chunks_mut(stride).for_each(|row| row[..n].fill(f32::NAN));
            }
            let mut scratch = poison(product_scratch(m, k, machine.executor.workers()));
            product(machine, MatrixMut::strided(&mut got, m, n, stride), a, b, accumulate, &mut scratch);
            assert_close(&what, &got, &want, bound::PRODUCT);
            if machine.executor.workers() == 1 {
                one_thread = got;
            } else {
                assert_same_bits(&what, &got, &one_thread);
            }
        }
    }
}

#[test]
fn odd_shapes_agree_with_the_twin() {
    for_random_cases(1, |random| {
        for &m in ODD {
            for &n in ODD {
                for &k in ODD {
                    check_against_twin(random, m, n, k);
                }
            }
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "too many operations for an interpreter")]
fn random_shapes_agree_with_the_twin() {
    for_random_cases(30, |random| {
        let [m, n, k] = [(); 3].map(|()| random.pick(&[1, 2, 6, 13, 40, 150, 300, 600]) + random.below(8));
        check_against_twin(random, m, n, k);
    });
}

#[test]
fn nothing_along_k_gives_zeros() {
    for machine in machines() {
        let mut c = poison(6);
        run(machine, &mut c, 2, MatrixRef::row_major(&[], 3, 0), MatrixRef::row_major(&[], 0, 2), Accumulate::Store);
        assert_same_bits("an empty sum", &c, &[0.0; 6]);
        run(machine, &mut [], 0, MatrixRef::row_major(&[0.0; 6], 3, 2), MatrixRef::row_major(&[], 2, 0), Accumulate::Store);
    }
}

/// Any row alone, and any column alone, has the bits it has in company.
#[test]
fn an_entry_depends_on_its_row_and_column_alone() {
    for_random_cases(10, |random| {
        let (m, n, k) = (random.in_range(2..=400), random.in_range(2..=200), random.in_range(1..=600));
        let (a, b) = (random.values(m * k), random.values(k * n));
        for machine in inline_machines() {
            let mut all = poison(m * n);
            run(machine, &mut all, n, MatrixRef::row_major(&a, m, k), MatrixRef::row_major(&b, k, n), Accumulate::Store);
            let row = random.below(m);
            let mut alone = poison(n);
            let a_row = MatrixRef::row_major(&a[row * k..][..k], 1, k);
            run(machine, &mut alone, n, a_row, MatrixRef::row_major(&b, k, n), Accumulate::Store);
            assert_same_bits("a row alone", &alone, &all[row * n..][..n]);
            let col = random.below(n);
            let mut alone = poison(m);
            let b_col = MatrixRef::strided(&b[col..], k, 1, n, 1);
            run(machine, &mut alone, 1, MatrixRef::row_major(&a, m, k), b_col, Accumulate::Store);
            let want: Vec<f32> = all.chunks(n).map(|row| row[col]).collect();
            assert_same_bits("a column alone", &alone, &want);
        }
    });
}

/// Sums that start from C go on as if they had never stopped.
#[test]
fn adding_the_second_half_of_k_gives_the_bits_of_the_whole() {
    for_random_cases(10, |random| {
        let (m, n, k) = (random.in_range(1..=70), random.in_range(1..=70), random.in_range(2..=700));
        let (a, b) = (random.values(m * k), random.values(k * n));
        let half = random.in_range(1..=k - 1);
        for machine in machines() {
            let (mut whole, mut halves) = (poison(m * n), poison(m * n));
            run(machine, &mut whole, n, MatrixRef::row_major(&a, m, k), MatrixRef::row_major(&b, k, n), Accumulate::Store);
            let left = MatrixRef::strided(&a, m, half, k, 1);
            run(machine, &mut halves, n, left, MatrixRef::row_major(&b, half, n), Accumulate::Store);
            let right = MatrixRef::strided(&a[half..], m, k - half, k, 1);
            run(machine, &mut halves, n, right, MatrixRef::row_major(&b[half * n..], k - half, n), Accumulate::Add);
            assert_same_bits("in two halves", &halves, &whole);
        }
    });
}

/// What absorbed MLA does: queries `[N, H, d]` times W `[H, d, r]` into `[N, H, r]`.
#[test]
fn heads_side_by_side_are_products_one_by_one() {
    for_random_cases(10, |random| {
        let (rows, heads) = (random.in_range(1..=40), random.in_range(1..=5));
        let (d, r) = (random.in_range(1..=70), random.in_range(1..=70));
        let (q, w) = (random.values(rows * heads * d), random.values(heads * d * r));
        for machine in machines() {
            let mut got = poison(rows * heads * r);
            let mut scratch = poison(product_scratch(rows, d, machine.executor.workers()));
            product_batched(
                machine,
                heads,
                Steps { c: r, a: d, b: d * r },
                MatrixMut::strided(&mut got, rows, r, heads * r),
                MatrixRef::strided(&q, rows, d, heads * d, 1),
                MatrixRef::row_major(&w, d, r),
                Accumulate::Store,
                &mut scratch,
            );
            for head in 0..heads {
                let mut want = poison(rows * r);
                let a = MatrixRef::strided(&q[head * d..], rows, d, heads * d, 1);
                run(machine, &mut want, r, a, MatrixRef::row_major(&w[head * d * r..], d, r), Accumulate::Store);
                let got: Vec<f32> = got.chunks(heads * r).flat_map(|row| &row[head * r..][..r]).copied().collect();
                assert_same_bits("a head", &got, &want);
            }
        }
    });
}

fn shapes(m: usize, n: usize, k: usize, b_rows: usize) {
    let (a, b) = (vec![0.0; m * k], vec![0.0; b_rows * n]);
    run(
        inline_machines()[0],
        &mut vec![0.0; m * n],
        n,
        MatrixRef::row_major(&a, m, k),
        MatrixRef::row_major(&b, b_rows, n),
        Accumulate::Store,
    );
}

#[test]
#[should_panic(expected = "want [2, 4] = [2, 3] [3, 4], got [2, 4] = [2, 3] [5, 4]")]
fn shapes_that_disagree_are_named() {
    shapes(2, 4, 3, 5);
}

#[test]
#[should_panic(expected = "matrices of C [4, 8], 5 apart, overlap")]
fn overlapping_outputs_are_refused() {
    let (a, b) = ([0.0; 12], [0.0; 24]);
    let mut c = [0.0; 100];
    let c = MatrixMut::strided(&mut c, 4, 8, 8);
    let steps = Steps { c: 5, a: 0, b: 0 };
    let machine = inline_machines()[0];
    let (a, b) = (MatrixRef::row_major(&a, 4, 3), MatrixRef::row_major(&b, 3, 8));
    product_batched(machine, 2, steps, c, a, b, Accumulate::Store, &mut poison(product_scratch(4, 3, 1)));
}

/// The first entry of the second matrix of C would lie before the values.
#[test]
#[should_panic(expected = "2 matrices of C [1, 1], 18446744073709551615 apart, in 1 values")]
fn matrices_so_far_apart_that_places_wrap_are_refused() {
    let (one, mut c) = ([1.0], [0.0]);
    let (a, b) = (MatrixRef::row_major(&one, 1, 1), MatrixRef::row_major(&one, 1, 1));
    let (machine, steps) = (inline_machines()[0], Steps { c: usize::MAX, a: 0, b: 0 });
    let c = MatrixMut::row_major(&mut c, 1, 1);
    product_batched(machine, 2, steps, c, a, b, Accumulate::Store, &mut poison(product_scratch(1, 1, 1)));
}

/// Rows without entries may be said to lie anywhere.
#[test]
fn empty_rows_far_apart_are_empty() {
    let mut c = MatrixMut::strided(&mut [], 5, 0, 1000);
    assert!(c.row(4).is_empty() && c.row_mut(4).is_empty());
    for machine in inline_machines() {
        let (mut c, mut scratch) = (poison(20 * 3), poison(product_scratch(20, 0, 1)));
        let (a, b) = (MatrixRef::strided(&[], 20, 0, usize::MAX, 1), MatrixRef::strided(&[], 0, 3, 7, usize::MAX));
        product(machine, MatrixMut::row_major(&mut c, 20, 3), a, b, Accumulate::Store, &mut scratch);
        assert_same_bits("sums of nothing", &c, &[0.0; 60]);
    }
}

#[test]
#[should_panic(expected = "want at least Some(12) values, got 11")]
fn a_view_larger_than_its_slice_is_refused() {
    MatrixRef::row_major(&[0.0; 11], 3, 4);
}

#[test]
#[should_panic(expected = "scratch of a product")]
fn short_scratch_is_refused() {
    product(
        inline_machines()[0],
        MatrixMut::row_major(&mut [0.0], 1, 1),
        MatrixRef::row_major(&[0.0], 1, 1),
        MatrixRef::row_major(&[0.0], 1, 1),
        Accumulate::Store,
        &mut [],
    );
}
