//! Products against their twins: all formats, odd shapes, every instruction set, one thread and two, poisoned scratch.

use crate::check::{
    INTERPRETED, Random, affordable, assert_close_at, assert_same_bits, bound, for_random_cases, inline_machines, machines,
    poison, shapes,
};
use crate::weights::{decoded, random_matrix};
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef, bf16, product, product_scratch};
use attendant_kernels::quant::{self, ActivationBlock, Activations, Format, Matrix};
use attendant_kernels::{Machine, naive};

/// Rows, from below one group to above four.
const ROWS: &[usize] = if INTERPRETED { &[3, 17] } else { &[1, 3, 17, 63, 65, 100] };

/// Widths of small models, among them some that are no multiple of 256.
const WIDTHS: &[usize] = if INTERPRETED { &[32, 64] } else { &[32, 64, 96, 576, 640, 896, 1536, 2048] };

/// The formats; where an interpreter runs the tests, those that between them have all widths of codes and all kinds of scales.
fn formats() -> impl Iterator<Item = Format> {
    let few = [Format::F16, Format::Q8_0, Format::Q5_1, Format::Q4K, Format::Q6K];
    Format::ALL.into_iter().filter(move |format| !INTERPRETED || few.contains(format))
}

fn width(random: &mut Random, format: Format) -> usize {
    random.pick(WIDTHS).next_multiple_of(format.block_columns())
}

/// Activations whose rows lie apart, with NaN between them.
struct Rows {
    data: Vec<f32>,
    m: usize,
    width: usize,
    stride: usize,
}

impl Rows {
    fn random(random: &mut Random, m: usize, width: usize) -> Rows {
        let stride = width + random.pick(&[0, 0, 5]);
        let mut data = poison(m * stride);
        for row in data.chunks_exact_mut(stride) {
            row[..width].copy_from_slice(&random.values(width));
            // Blocks of very different sizes, and one of zeros.
            let (loud, silent) = (random.below(width), random.below(width) / 32 * 32);
            row[loud] *= 100.0;
            if random.chance(3) {
                row[silent..silent + 32].fill(0.0);
            }
        }
        Rows { data, m, width, stride }
    }

    fn view(&self) -> MatrixRef<'_> {
        MatrixRef::strided(&self.data, self.m, self.width, self.stride, 1)
    }
}

fn quantised(machine: Machine<'_>, x: MatrixRef<'_>, w: &Matrix, accumulate: Accumulate, y: &mut [f32]) {
    let junk = ActivationBlock::default();
    let mut blocks = vec![junk; Activations::blocks(x.rows(), x.cols())];
    let mut scratch = poison(quant::product_scratch(x.rows(), w, machine.executor.workers()));
    let activations = Activations::quantise(machine, x, &mut blocks);
    quant::product(machine, MatrixMut::row_major(y, x.rows(), w.rows()), activations, w, accumulate, &mut scratch);
}

fn exact(machine: Machine<'_>, x: MatrixRef<'_>, w: &Matrix, accumulate: Accumulate, y: &mut [f32]) {
    let mut scratch = poison(quant::product_exact_scratch(machine.executor.workers()));
    quant::product_exact(machine, MatrixMut::row_major(y, x.rows(), w.rows()), x, w, accumulate, &mut scratch);
}

fn rounded(machine: Machine<'_>, x: MatrixRef<'_>, w: &Matrix, accumulate: Accumulate, y: &mut [f32]) {
    let mut scratch = poison(quant::product_bf16_scratch(x.rows(), w, machine.executor.workers()));
    quant::product_bf16(machine, MatrixMut::row_major(y, x.rows(), w.rows()), x, w, accumulate, &mut scratch);
}

/// The products, and their twins for formats of codes.
const PRODUCTS: [(&str, Product, Twin); 3] = [
    ("quantised", quantised, naive::quant::product),
    ("exact", exact, naive::quant::product_exact),
    ("rounded", rounded, naive::quant::product_bf16),
];

type Product = fn(Machine<'_>, MatrixRef<'_>, &Matrix, Accumulate, &mut [f32]);
type Twin = fn(MatrixMut<'_>, MatrixRef<'_>, &Matrix, Accumulate);

/// The root of the mean square of all terms' sums, had they no signs in common: what roundings are relative to where sums cancel.
fn typical(x: MatrixRef<'_>, weights: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let width = x.cols();
    let columns = (0..width)
        .map(|k| square(&mut (0..x.rows()).map(|i| x.at(i, k))) * square(&mut weights.iter().skip(k).step_by(width).copied()));
    (columns.sum::<f64>() / (x.rows() * weights.len() / width) as f64).sqrt()
}

fn check_against_twin(random: &mut Random, format: Format, m: usize, rows: usize, width: usize) {
    let w = random_matrix(random, format, rows, width);
    let x = Rows::random(random, m, width);
    let (x, weights, before) = (x.view(), decoded(&w), random.values(m * rows));
    // One chain of 2,048 terms, some of them loud, is off by 1.6e-6 of this on average, and few results stray from the average.
    let (scale, bound) = (typical(x, &weights), bound::PRODUCT * (width as f64 / 512.0).sqrt().max(1.0));
    for accumulate in [Accumulate::Store, Accumulate::Add] {
        for (name, product, twin) in PRODUCTS {
            let twin = if format.is_float() && name == "quantised" { naive::quant::product_exact } else { twin };
            let mut want = before.clone();
            twin(MatrixMut::row_major(&mut want, m, rows), x, &w, accumulate);
            let mut one_thread = Vec::new();
            for machine in machines() {
                let mut got = if accumulate == Accumulate::Add { before.clone() } else { poison(m * rows) };
                product(machine, x, &w, accumulate, &mut got);
                let workers = machine.executor.workers();
                let what = format!("{name}, {accumulate:?} {m} rows by {w:?} on {:?}, {workers} workers", machine.isa);
                assert_close_at(&what, &got, &want, scale, bound);
                if workers == 1 {
                    one_thread = got;
                } else {
                    assert_same_bits(&what, &got, &one_thread);
                }
            }
        }
    }
}

#[test]
fn products_agree_with_their_twins() {
    for_random_cases(1, |random| {
        for format in formats() {
            // Rows of wide blocks are long enough for an interpreter.
            let few = INTERPRETED && format.block_columns() > 32;
            for &rows in if few { &ROWS[..1] } else { ROWS } {
                let counts: &[usize] = if INTERPRETED { &[1, 2, 9] } else { &[1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 17] };
                let (m, width) = (random.pick(counts), width(random, format));
                check_against_twin(random, format, m, rows, width);
            }
            for &m in if INTERPRETED { &[] } else { &[1, 63, 200][..] } {
                let width = 256 * random.in_range(1..=3);
                check_against_twin(random, format, m, 17, width);
            }
        }
    });
}

/// Every row alone has the bits that it has in company, in whatever number, and whichever path they take.
#[test]
fn a_row_does_not_depend_on_its_company() {
    for_random_cases(2, |random| {
        for format in shapes(formats()) {
            let (rows, width) = (random.pick(ROWS), width(random, format));
            let w = random_matrix(random, format, rows, width);
            let x = Rows::random(random, 19, width);
            for machine in inline_machines() {
                for (name, product, _) in PRODUCTS {
                    let mut all = poison(19 * rows);
                    product(machine, x.view(), &w, Accumulate::Store, &mut all);
                    for (first, m) in shapes([(0, 1), (1, 2), (3, 3), (6, 8), (14, 1), (4, 13)]) {
                        let part = MatrixRef::strided(&x.data[first * x.stride..], m, width, x.stride, 1);
                        let mut got = poison(m * rows);
                        product(machine, part, &w, Accumulate::Store, &mut got);
                        let what = format!("{name}, rows {first}..{} by {w:?} on {:?}", first + m, machine.isa);
                        assert_same_bits(&what, &got, &all[first * rows..][..m * rows]);
                    }
                }
            }
        }
    });
}

/// The exact product has the bits of a product of f32 with the decoded weights.
#[test]
fn exact_products_are_products_with_decoded_weights() {
    for_random_cases(2, |random| {
        for format in shapes(formats()) {
            let (m, rows, width) = (affordable(random.pick(&[1, 3, 17, 65])), random.pick(ROWS), width(random, format));
            let w = random_matrix(random, format, rows, width);
            let (x, weights) = (Rows::random(random, m, width), decoded(&w));
            for machine in machines() {
                let (mut got, mut want) = (poison(m * rows), poison(m * rows));
                exact(machine, x.view(), &w, Accumulate::Store, &mut got);
                let mut scratch = poison(product_scratch(m, width, machine.executor.workers()));
                let b = MatrixRef::row_major(&weights, rows, width).transposed();
                product(machine, MatrixMut::row_major(&mut want, m, rows), x.view(), b, Accumulate::Store, &mut scratch);
                assert_same_bits(&format!("{m} rows by {w:?} on {:?}", machine.isa), &got, &want);
            }
        }
    });
}

/// The rounded product has the bits of a product of bf16 with the decoded weights.
#[test]
fn rounded_products_are_products_of_bf16_with_decoded_weights() {
    for_random_cases(2, |random| {
        for format in shapes(formats()) {
            let (m, rows, width) = (affordable(random.pick(&[1, 3, 17, 65, 200])), random.pick(ROWS), width(random, format));
            let w = random_matrix(random, format, rows, width);
            let (x, weights) = (Rows::random(random, m, width), decoded(&w));
            for machine in machines() {
                let (mut got, mut want) = (poison(m * rows), poison(m * rows));
                rounded(machine, x.view(), &w, Accumulate::Store, &mut got);
                let mut scratch = poison(bf16::product_scratch(m, rows, width, machine.executor.workers()));
                let b = MatrixRef::row_major(&weights, rows, width).transposed();
                bf16::product(machine, MatrixMut::row_major(&mut want, m, rows), x.view(), b, Accumulate::Store, &mut scratch);
                assert_same_bits(&format!("{m} rows by {w:?} on {:?}", machine.isa), &got, &want);
            }
        }
    });
}

/// What quantising activations can change: every activation by half a step of its block.
#[test]
fn quantised_products_are_within_half_a_step_of_exact_ones() {
    for_random_cases(2, |random| {
        for format in shapes(formats().filter(|format| !format.is_float())) {
            let (m, rows, width) = (random.pick(&[1, 3, 17]), random.pick(ROWS), width(random, format));
            let w = random_matrix(random, format, rows, width);
            let (x, weights) = (Rows::random(random, m, width), decoded(&w));
            for machine in inline_machines() {
                let mut got = poison(m * rows);
                quantised(machine, x.view(), &w, Accumulate::Store, &mut got);
                for (i, got) in got.iter().enumerate() {
                    let (x, weights) = (&x.data[i / rows * x.stride..][..width], &weights[i % rows * width..][..width]);
                    let (mut want, mut bound) = (0.0, 0.0);
                    for (x, weights) in x.chunks(32).zip(weights.chunks(32)) {
                        let step = f64::from(x.iter().map(|x| x.abs()).fold(0.0, f32::max)) / 127.0;
                        for (x, w) in x.iter().zip(weights) {
                            let (x, w) = (f64::from(*x), f64::from(*w));
                            want += x * w;
                            bound += w.abs() * (step / 2.0) + 1e-5 * (w * x).abs();
                        }
                    }
                    let off = (f64::from(*got) - want).abs();
                    assert!(off <= bound, "entry {i} of {m} rows by {w:?} on {:?}: {off:.2e} above {bound:.2e}", machine.isa);
                }
            }
        }
    });
}

/// Codes at the ends of their ranges meet activations at the ends of theirs: sums are the largest there are.
#[test]
fn the_largest_sums_do_not_overflow() {
    for format in formats().filter(|format| !format.is_float()) {
        let width = format.block_columns() * if INTERPRETED { 1 } else { 2 };
        for (codes, x) in shapes([(0xff, 1.0), (0x80, -1.0), (0x00, 1.0), (0x00, -1.0), (0xff, -1.0), (0x7f, 1.0)]) {
            let mut bytes = vec![codes; 16 * format.row_bytes(width).expect("whole blocks")];
            for block in bytes.chunks_exact_mut(format.block_bytes()) {
                let one = half::f16::from_f32(1.0).to_le_bytes();
                match format {
                    Format::Q6K => block[208..].copy_from_slice(&one),
                    _ if format.block_bytes() % 4 == 0 => block[..4].copy_from_slice(&[one, one].concat()),
                    _ => block[..2].copy_from_slice(&one),
                }
            }
            let w = crate::weights::pack(format, 16, width, &bytes);
            let weights = decoded(&w);
            let x = vec![x; width];
            let want: f64 = weights[..width].iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            for m in [1, 12] {
                for machine in inline_machines() {
                    let x = x.repeat(m);
                    let mut got = poison(m * 16);
                    quantised(machine, MatrixRef::row_major(&x, m, width), &w, Accumulate::Store, &mut got);
                    for got in got {
                        let off = (f64::from(got) - want).abs();
                        assert!(off <= 1e-5 * want.abs(), "{w:?} on {:?}: got {got}, want {want}", machine.isa);
                    }
                }
            }
        }
    }
}

/// Activations that are not numbers are not hidden by the quantising, and stay in their row.
#[test]
fn what_is_not_finite_spoils_its_row_alone() {
    for_random_cases(1, |random| {
        for special in shapes([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]) {
            let width = if INTERPRETED { 32 } else { 96 };
            let w = random_matrix(random, Format::Q4_0, 17, width);
            for machine in inline_machines() {
                for (m, (name, product, _)) in [2, 10].into_iter().flat_map(|m| PRODUCTS.map(|product| (m, product))) {
                    let mut x = random.values(m * width);
                    let mut clean = poison(m * 17);
                    product(machine, MatrixRef::row_major(&x, m, width), &w, Accumulate::Store, &mut clean);
                    x[random.below(width)] = special;
                    let mut got = poison(m * 17);
                    product(machine, MatrixRef::row_major(&x, m, width), &w, Accumulate::Store, &mut got);
                    // What is not quantised may stay infinite.
                    let spoilt = |y: &f32| if name == "quantised" { y.is_nan() } else { !y.is_finite() };
                    assert!(got[..17].iter().all(spoilt), "{special}, {name} on {:?} gave {:?}", machine.isa, &got[..17]);
                    assert_same_bits("the other rows", &got[17..], &clean[17..]);
                }
            }
        }
    });
}

/// Activations so small that their scale, or one over it, is no number.
#[test]
fn tiny_activations_are_zeros() {
    let w = crate::weights::pack(Format::Q8_0, 1, 32, &{
        let mut bytes = vec![127; 34];
        bytes[..2].copy_from_slice(&half::f16::from_f32(1.0).to_le_bytes());
        bytes
    });
    for machine in inline_machines() {
        for (x, want) in [(0.0, 0.0), (-0.0, 0.0), (1e-45, 0.0), (1e-38, 0.0), (1e-35, 32.0 * 127.0 * 1e-35)] {
            let mut got = poison(1);
            quantised(machine, MatrixRef::row_major(&[x; 32], 1, 32), &w, Accumulate::Store, &mut got);
            assert!((got[0] - want).abs() <= 1e-5 * want, "{x} on {:?}: got {}, want {want}", machine.isa, got[0]);
        }
    }
}

/// Nothing to do is done.
#[test]
fn empty_shapes_are_allowed() {
    for machine in machines() {
        for (m, rows, width) in [(0, 3, 32), (3, 0, 32), (2, 3, 0)] {
            let w = crate::weights::pack(Format::Q4_1, rows, width, &vec![0; rows * width / 32 * 20]);
            let x = vec![1.0; m * width];
            for (name, product, _) in PRODUCTS {
                let mut y = poison(m * rows);
                product(machine, MatrixRef::row_major(&x, m, width), &w, Accumulate::Store, &mut y);
                assert_same_bits(name, &y, &vec![0.0; m * rows]);
            }
        }
    }
}
