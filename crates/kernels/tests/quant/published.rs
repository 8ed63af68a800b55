//! Formats against their published definitions: what the `gguf` package decodes and encodes, bit for bit.

use crate::check::{INTERPRETED, ODD, assert_same_bits, for_random_cases, poison};
use crate::weights::{decoded, pack, random_bytes};
use attendant_kernels::quant::{Format, Matrix};
use attendant_kernels::{Inline, Isa, Machine};
use safetensors::SafeTensors;

fn file() -> SafeTensors<'static> {
    SafeTensors::deserialize(include_bytes!("../data/quantised_rows.safetensors")).expect("a safetensors file")
}

fn bytes(name: &str) -> Vec<u8> {
    file().tensor(name).expect("a tensor").data().to_vec()
}

fn values(name: &str) -> Vec<f32> {
    bytes(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn every_format_decodes_as_published() {
    for format in Format::ALL {
        let (bytes, want) = (bytes(&format!("{}.bytes", format.name())), values(&format!("{}.values", format.name())));
        let mut got = poison(want.len());
        format.decode(&bytes, &mut got);
        assert_same_bits(format.name(), &got, &want);
    }
}

#[test]
fn formats_encode_as_published() {
    let x = values("x");
    for format in Format::ALL.into_iter().filter(|format| format.encodes() && *format != Format::F32) {
        let want = bytes(&format!("{}.encoded", format.name()));
        let mut got = vec![0xaa; want.len()];
        format.encode(&x, &mut got);
        let at = got.iter().zip(&want).position(|(got, want)| got != want);
        assert_eq!(at.map(|at| (at, got[at], want[at])), None, "{}", format.name());
    }
}

#[test]
fn what_is_not_finite_does_not_come_back_finite() {
    for format in Format::ALL.into_iter().filter(|format| format.encodes()) {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [0.5; 32];
            x[7] = special;
            let mut bytes = vec![0; format.row_bytes(32).expect("a block")];
            format.encode(&x, &mut bytes);
            let mut back = poison(32);
            format.decode(&bytes, &mut back);
            assert!(!back[7].is_finite(), "{special} in {} came back as {}", format.name(), back[7]);
        }
    }
}

#[test]
fn packed_rows_are_the_published_rows() {
    for_random_cases(2, |random| {
        for format in Format::ALL {
            for &rows in ODD {
                let width = format.block_columns().max(32) * if INTERPRETED { 1 } else { random.in_range(1..=5) };
                let bytes = random_bytes(random, format, rows, width);
                let mut want = poison(rows * width);
                format.decode(&bytes, &mut want);
                assert_same_bits(format.name(), &decoded(&pack(format, rows, width, &bytes)), &want);
            }
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "a matrix of several parts is large")]
fn parts_are_told_one_after_the_other_and_make_the_same_matrix() {
    let machine = Machine { isa: Isa::SCALAR, executor: &Inline };
    for_random_cases(1, |random| {
        for (rows, width) in [(9001, 1024), (3, 64), (0, 64)] {
            let bytes = random_bytes(random, Format::Q8_0, rows, width);
            let (mut told, mut parts) = (0, 0);
            let matrix = Matrix::pack_in_parts(machine, Format::Q8_0, rows, width, &bytes, |part| {
                assert_eq!(part.start, told);
                (told, parts) = (part.end, parts + 1);
            })
            .expect("a matrix");
            assert_eq!(told, bytes.len());
            assert!(rows < 9001 || parts > 1, "{parts} parts");
            let mut want = poison(rows * width);
            Format::Q8_0.decode(&bytes, &mut want);
            assert_same_bits("parts", &decoded(&matrix), &want);
        }
    });
}

#[test]
fn numbers_of_gguf_are_their_own_formats() {
    for format in Format::ALL {
        assert_eq!(Format::from_gguf(format.gguf()), Some(format));
    }
    assert_eq!(Format::from_gguf(10), None);
}
