//! Products of bf16. Where processors differ in the order of two sums the bound is that of any order; where they do not, bits
//! are compared.

use crate::Stored;
use crate::check::{ODD, Random, assert_close, assert_same_bits, bound, for_random_cases, inline_machines, machines, poison};
use attendant_kernels::product::bf16::{Packed, product, product_packed, product_packed_scratch, product_scratch};
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef};
use attendant_kernels::{Isa, Machine, naive};
use half::bf16;

fn run(machine: Machine<'_>, c: &mut [f32], n: usize, a: MatrixRef<'_>, b: MatrixRef<'_>, accumulate: Accumulate) {
    let mut scratch = poison(product_scratch(a.rows(), n, a.cols(), machine.executor.workers()));
    product(machine, MatrixMut::row_major(c, a.rows(), n), a, b, accumulate, &mut scratch);
}

fn check_against_twin(random: &mut Random, m: usize, n: usize, k: usize) {
    let mean = if m * n < 100 { 2.0 } else { 0.0 };
    let (a, b) = (Stored::random(random, m, k, mean), Stored::random(random, k, n, mean));
    let (a, b) = (a.view(), b.view());
    let stride = n + random.pick(&[0, 5]);
    let before = random.values((m - 1) * stride + n);
    for accumulate in [Accumulate::Store, Accumulate::Add] {
        let mut want = before.clone();
        naive::product_bf16(MatrixMut::strided(&mut want, m, n, stride), a, b, accumulate);
        // Every instruction set that widens bf16 has the bits of the first.
        let mut widened: Option<Vec<f32>> = None;
        let mut one_thread = Vec::new();
        for machine in machines() {
            let workers = machine.executor.workers();
            let what = format!("{accumulate:?} [{m}, {n}, {k}] on {:?}, {workers} workers", machine.isa);
            let mut got = before.clone();
            if accumulate == Accumulate::Store {
                got.chunks_mut(stride).for_each(|row| row[..n].fill(f32::NAN));
            }
            let mut packed = got.clone();
            let mut scratch = poison(product_scratch(m, n, k, workers));
            product(machine, MatrixMut::strided(&mut got, m, n, stride), a, b, accumulate, &mut scratch);
            assert_close(&what, &got, &want, bound::PRODUCT);
            let mut scratch = poison(product_packed_scratch(m, n, k, workers));
            let b = Packed::new(machine, b);
            product_packed(machine, MatrixMut::strided(&mut packed, m, n, stride), a, &b, accumulate, &mut scratch);
            assert_same_bits(&what, &packed, &got);
            match workers {
                1 => one_thread = got,
                _ => assert_same_bits(&what, &got, &one_thread),
            }
            if !machine.isa.multiplies_bf16() {
                assert_same_bits(&what, &one_thread, widened.get_or_insert(one_thread.clone()));
            }
        }
    }
}

#[test]
fn odd_shapes_agree_with_the_twin() {
    for_random_cases(1, |random| {
        for &m in ODD {
            for &n in ODD {
                let k = random.pick(ODD);
                check_against_twin(random, m, n, k);
            }
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "too many operations for an interpreter")]
fn random_shapes_agree_with_the_twin() {
    for_random_cases(10, |random| {
        let [m, n] = [(); 2].map(|()| random.pick(&[1, 2, 6, 40, 150]) + random.below(60));
        let k = random.pick(&[1, 40, 600, 1530, 3100]) + random.below(8);
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
        run(machine, &mut [], 2, MatrixRef::row_major(&[], 0, 2), MatrixRef::row_major(&[0.0; 4], 2, 2), Accumulate::Store);
    }
}

/// Any row alone, and any column alone, has the bits it has in company.
#[test]
fn an_entry_depends_on_its_row_and_column_alone() {
    for_random_cases(5, |random| {
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

/// Bit patterns of every kind but the denormals: among them ties, what rounds to infinity, infinities and NaN.
fn any_values(random: &mut Random, n: usize) -> Vec<f32> {
    let value = |random: &mut Random| match random.below(8) {
        0 => random.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::from_bits(0x7f80_0001), 0.0, -0.0]),
        1 => f32::from_bits((random.bits() as u32 & 0xbfff_0000 | 0x2000_0000) | 0x8000),
        _ => f32::from_bits(random.bits() as u32),
    };
    (0..n).map(|_| value(random)).map(|x| if x.is_subnormal() { 1.0 } else { x }).collect()
}

fn identity(n: usize) -> Vec<f32> {
    (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

/// One value at a time beside zeros: a product with the identity rounds, as the left operand and as the right one, in both layouts.
#[test]
fn operands_are_rounded_to_the_nearest_and_keep_what_is_no_number() {
    for_random_cases(5, |random| {
        let n = random.in_range(1..=70);
        let ones = identity(n);
        let ones = MatrixRef::row_major(&ones, n, n);
        let mut values = vec![0.0; n * n];
        for (row, x) in any_values(random, n).into_iter().enumerate() {
            values[row * n + (row * 7 + 3) % n] = x;
        }
        let values = MatrixRef::row_major(&values, n, n);
        for machine in inline_machines() {
            for (a, b) in [(values, ones), (ones, values), (values.transposed(), ones), (ones, values.transposed())] {
                let (mut got, mut want) = (poison(n * n), poison(n * n));
                run(machine, &mut got, n, a, b, Accumulate::Store);
                naive::product_bf16(MatrixMut::row_major(&mut want, n, n), a, b, Accumulate::Store);
                for (i, (got, want)) in got.into_iter().zip(want).enumerate() {
                    assert!(got == want || got.is_nan() && want.is_nan(), "{:?}, at {i} of {n}: {got}, {want}", machine.isa);
                }
            }
        }
    });
}

/// What is no number stays in its row of A and in its column of B, also where `k` is odd and a pair has one value.
#[test]
fn nan_and_infinity_stay_where_they_are() {
    for_random_cases(5, |random| {
        let (m, n, k) = (random.in_range(1..=30), random.in_range(1..=70), random.in_range(1..=40));
        let (mut a, mut b) = (random.values(m * k), random.values(k * n));
        a[random.below(m * k)] = random.pick(&[f32::NAN, f32::INFINITY, f32::MAX]);
        b[random.below(k * n)] = random.pick(&[f32::NAN, f32::NEG_INFINITY, f32::MIN]);
        let (a, b) = (MatrixRef::row_major(&a, m, k), MatrixRef::row_major(&b, k, n));
        let mut want = poison(m * n);
        naive::product_bf16(MatrixMut::row_major(&mut want, m, n), a, b, Accumulate::Store);
        for machine in machines() {
            let mut got = poison(m * n);
            run(machine, &mut got, n, a, b, Accumulate::Store);
            for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                let alike = if want.is_finite() { (got - want).abs() < 1e-3 } else { got.to_bits() == want.to_bits() };
                assert!(alike || got.is_nan() && want.is_nan(), "{:?}, at {i}: {got}, {want}", machine.isa);
            }
        }
    });
}

/// A denormal counts as it is or as zero, whatever it is multiplied with.
#[test]
fn denormals_are_kept_or_become_zero() {
    let small = bf16::from_bits(0x0015).to_f32();
    for machine in inline_machines() {
        for by in [1.0, 2.0f32.powi(100)] {
            let mut c = poison(1);
            run(machine, &mut c, 1, MatrixRef::row_major(&[small], 1, 1), MatrixRef::row_major(&[by], 1, 1), Accumulate::Store);
            assert!(c[0] == small * by || c[0] == 0.0, "{:?}: {} of {}", machine.isa, c[0], small * by);
        }
    }
}

#[test]
#[should_panic(expected = "want [2, 4] = [2, 3] [3, 4], got [2, 4] = [2, 3] [5, 4]")]
fn shapes_that_disagree_are_named() {
    let (a, b) = ([0.0; 6], [0.0; 20]);
    let (a, b) = (MatrixRef::row_major(&a, 2, 3), MatrixRef::row_major(&b, 5, 4));
    run(inline_machines()[0], &mut [0.0; 8], 4, a, b, Accumulate::Store);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a product on scalar16 of an operand packed for scalar")]
fn an_operand_of_another_instruction_set_is_refused() {
    let [one, other] = [Isa::SCALAR, Isa::SCALAR_16].map(|isa| Machine { isa, ..Machine::inline() });
    let b = Packed::new(one, MatrixRef::row_major(&[0.0], 1, 1));
    let a = MatrixRef::row_major(&[0.0], 1, 1);
    product_packed(other, MatrixMut::row_major(&mut [0.0], 1, 1), a, &b, Accumulate::Store, &mut [0.0; 1000]);
}

#[test]
#[should_panic(expected = "scratch of a bf16 product")]
fn short_scratch_is_refused() {
    let a = MatrixRef::row_major(&[0.0], 1, 1);
    product(inline_machines()[0], MatrixMut::row_major(&mut [0.0], 1, 1), a, a, Accumulate::Store, &mut []);
}
