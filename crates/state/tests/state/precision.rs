//! What each type does to values at the edges.

use crate::cases::{DTYPES, any_rows, every_storage, for_random_cases};
use crate::model::error_bound;
use attendant_state::{Dtype, Growth, Plane, PlaneStore, Storage};

fn through(dtype: Dtype, heads: usize, row: &[f32]) -> Vec<f32> {
    let plane = Plane::new("k", row.len(), Growth::PerToken).heads(heads);
    let mut store = PlaneStore::new(plane, Storage::contiguous(3).dtype(dtype));
    store.append(row);
    let mut out = vec![f32::NAN; row.len()];
    store.read_range(0..1, &mut out).expect("the row is held");
    out
}

#[test]
fn f32_keeps_every_bit() {
    let bits = [0x7fc0_1234, 0xff80_0001, 0x8000_0000, 0x0000_0001, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x3f80_0001];
    let row = bits.map(f32::from_bits);
    assert_eq!(through(Dtype::F32, 2, &row).iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits);
}

#[test]
fn edges_stay_within_the_bound_and_finite() {
    let extremes = [f32::MAX, -f32::MAX, 1e-45, -1e-40, 0.0, f32::MIN_POSITIVE, 1.0, -127.0];
    for head in extremes.chunks(2).chain([&extremes[2..6], &extremes[3..]]) {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8, Dtype::Int4] {
            // bf16 has the exponents of f32 but fewer values below and above: its steps end at 2^-133, its range at 3.39e38.
            let bound = error_bound(head, dtype);
            for (got, want) in through(dtype, 1, head).iter().zip(head) {
                let smallest = if dtype == Dtype::F32 { 0.0 } else { 2f32.powi(-133) };
                let beyond = dtype == Dtype::Bf16 && want.abs() == f32::MAX;
                assert!(beyond || (got - want).abs() <= bound(*want).max(smallest), "{dtype:?} of {head:?}: {got} for {want}");
            }
        }
    }
}

#[test]
fn a_head_with_a_value_that_is_not_finite_reads_as_nan_in_fewer_bits_alone() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let row = [1.0, bad, 2.0, -3.0];
        for dtype in [Dtype::Int8, Dtype::Int4] {
            let got = through(dtype, 2, &row);
            assert!(got[..2].iter().all(|x| x.is_nan()) && got[2..].iter().all(|x| x.is_finite()), "{dtype:?}: {got:?}");
        }
        for dtype in [Dtype::Bf16, Dtype::F16] {
            let got = through(dtype, 2, &row);
            assert!(got[1].to_bits() == bad.to_bits() || bad.is_nan() && got[1].is_nan(), "{dtype:?}: {got:?}");
            assert_eq!((got[0], got[2], got[3]), (1.0, 2.0, -3.0));
        }
    }
    assert_eq!(through(Dtype::F16, 1, &[65_520.0, 65_504.0]), [f32::INFINITY, 65_504.0]);
}

/// Reading and appending what was read changes nothing, and int8 has the largest magnitude of a head exactly, to a rounding.
#[test]
fn what_is_stored_is_read_back_exactly() {
    for_random_cases(50, |random| {
        for dtype in DTYPES {
            let row = any_rows(random, 1, 51);
            let once = through(dtype, 3, &row);
            let twice = through(dtype, 3, &once);
            let step = once.iter().fold(0f32, |largest, x| largest.max(x.abs())) * f32::EPSILON;
            assert!(once.iter().zip(&twice).all(|(a, b)| (a - b).abs() <= if dtype == Dtype::Int8 { step } else { 0.0 }));
        }
    });
}

/// The bits that are read do not depend on pages, rings or what else was appended in the same call.
#[test]
fn storage_changes_no_bit() {
    for_random_cases(20, |random| {
        let plane = Plane::new("k", 51, Growth::Ring { window: 17, keep: 3 }).heads(3);
        let rows = any_rows(random, 100, 51);
        for dtype in DTYPES {
            let mut want: Option<Vec<f32>> = None;
            for storage in every_storage().filter(|storage| storage.dtype == dtype) {
                let mut store = PlaneStore::new(plane, storage);
                let mut rest = &rows[..];
                while !rest.is_empty() {
                    let (chunk, later) = rest.split_at((random.below(30) * 51).min(rest.len()));
                    store.append(chunk);
                    rest = later;
                }
                let mut got = vec![f32::NAN; 17 * 51];
                store.read_range(83..100, &mut got).expect("the window is held");
                assert_eq!(&got, want.get_or_insert_with(|| got.clone()), "{storage:?}");
            }
        }
    });
}
