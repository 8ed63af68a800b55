//! What is wrong with a call or with bytes is named.

use crate::weights::pack;
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef};
use attendant_kernels::quant::{ActivationBlock, Activations, Format, Matrix, PackError, product, product_exact};
use attendant_kernels::{Inline, Isa, Machine};

fn machine() -> Machine<'static> {
    Machine { isa: Isa::SCALAR, executor: &Inline }
}

fn refused(format: Format, rows: usize, width: usize, bytes: usize) -> PackError {
    Matrix::pack(machine(), format, rows, width, &vec![0; bytes]).expect_err("no matrix")
}

#[test]
fn bytes_that_are_no_matrix_are_refused() {
    let width = refused(Format::Q4K, 2, 576, 648);
    assert_eq!(width.to_string(), "width of Q4_K weights: want a multiple of 256, got 576");
    assert_eq!(refused(Format::Q4_0, 2, 64, 71), PackError::Bytes { want: 72, got: 71 });
    assert_eq!(refused(Format::Q4_0, 2, 64, 73).to_string(), "bytes of weights: want 72, got 73");
    let (rows, width) = (usize::MAX / 16, 1 << 20);
    assert_eq!(refused(Format::F32, rows, width, 0), PackError::TooLarge { rows, width });
    let (rows, width) = (usize::MAX, 32);
    assert_eq!(refused(Format::Q8_0, rows, width, 0), PackError::TooLarge { rows, width });
}

#[test]
#[should_panic(expected = "product with Q4_0 [3, 64]: want [2, 3] from [2, 64], got [2, 4] from [2, 64]")]
fn shapes_that_disagree_are_named() {
    let w = pack(Format::Q4_0, 3, 64, &[0; 108]);
    let x = MatrixRef::row_major(&[0.0; 128], 2, 64);
    product_exact(machine(), MatrixMut::row_major(&mut [0.0; 8], 2, 4), x, &w, Accumulate::Store, &mut []);
}

#[test]
#[should_panic(expected = "scratch of a product with Q4_0 [3, 64]")]
fn short_scratch_is_refused() {
    let w = pack(Format::Q4_0, 3, 64, &[0; 108]);
    let x = [0.0; 9 * 64];
    let mut blocks = [ActivationBlock::default(); 18];
    let x = Activations::quantise(machine(), MatrixRef::row_major(&x, 9, 64), &mut blocks);
    product(machine(), MatrixMut::row_major(&mut [0.0; 27], 9, 3), x, &w, Accumulate::Store, &mut []);
}

#[test]
#[should_panic(expected = "blocks of activations: want 4, got 3")]
fn few_blocks_are_refused() {
    Activations::quantise(machine(), MatrixRef::row_major(&[0.0; 80], 2, 40), &mut [ActivationBlock::default(); 3]);
}

#[test]
#[should_panic(expected = "want contiguous rows")]
fn scattered_rows_are_refused() {
    let x = MatrixRef::strided(&[0.0; 64], 1, 32, 64, 2);
    Activations::quantise(machine(), x, &mut [ActivationBlock::default()]);
}

#[test]
#[should_panic(expected = "Q6_K is read only")]
fn formats_that_are_read_only_say_so() {
    Format::Q6K.encode(&[0.0; 256], &mut [0; 210]);
}

#[test]
#[should_panic(expected = "row 3 as 64 values of [3, 64]")]
fn a_row_that_is_not_there_is_refused() {
    pack(Format::Q4_0, 3, 64, &[0; 108]).row(3, &mut [0.0; 64]);
}
