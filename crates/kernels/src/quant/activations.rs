//! Rows of activations as bytes.

use super::format::BLOCK;
use crate::Machine;
use crate::disjoint::each_part;
use crate::product::MatrixRef;
use crate::simd::Simd;
use crate::simd::integer::{IntegerKernel, Integers};
use crate::vector::{load, rows_per_item};

/// Below this largest value a block is zeros: its scale, or one over it, would not be a normal number.
const TINY: f32 = 127.0 * f32::MIN_POSITIVE;

/// 32 activations of one row as bytes within -127..=127 times a scale.
///
/// The scale is the largest magnitude over 127, the bytes are the nearest to the activations times 127 over the largest magnitude, ties
/// to even. Activations below 1e-36 may become zeros; if one is not finite, the scale is NaN.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ActivationBlock {
    pub(super) codes: [i8; BLOCK],
    pub(super) scale: f32,
    /// The sum of the codes, times the scale.
    pub(super) sum: f32,
    /// The sum of the codes.
    pub(super) whole: i32,
    /// The sums of the codes of each half.
    pub(super) halves: [i16; 2],
}

/// Rows `[m, width]`, as they are and quantised: the operand of any number of products.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    rows: MatrixRef<'a>,
    blocks: &'a [ActivationBlock],
}

impl<'a> Activations<'a> {
    /// How many blocks rows `[m, width]` take. The last of a row is filled up with zeros.
    pub const fn blocks(m: usize, width: usize) -> usize {
        m * width.div_ceil(BLOCK)
    }

    /// Quantises `x [m, width]`, whose rows are contiguous, into `blocks`.
    ///
    /// # Panics
    /// If the rows are not contiguous, or `blocks` are fewer than [`Activations::blocks`] says.
    pub fn quantise(machine: Machine<'_>, x: MatrixRef<'a>, blocks: &'a mut [ActivationBlock]) -> Activations<'a> {
        let want = Self::blocks(x.rows(), x.cols());
        assert!(blocks.len() >= want, "blocks of activations: want {want}, got {}", blocks.len());
        assert!(x.cols() <= 1 || x.col_stride() == 1, "activations [{}, {}]: want contiguous rows", x.rows(), x.cols());
        let (in_row, per_item) = (x.cols().div_ceil(BLOCK), rows_per_item(x.cols()));
        let blocks = &mut blocks[..want];
        let items = if want == 0 { 0 } else { x.rows().div_ceil(per_item) };
        each_part(machine, items, [(&mut *blocks, per_item * in_row)], |item, [blocks]| {
            for (row, blocks) in blocks.chunks_exact_mut(in_row).enumerate() {
                machine.isa.run_integer(Quantise { row: x.row(item * per_item + row), blocks });
            }
        });
        Activations { rows: x, blocks }
    }

    /// The rows as they are.
    pub fn rows(&self) -> MatrixRef<'a> {
        self.rows
    }

    #[inline]
    pub(super) fn row(&self, i: usize) -> &'a [ActivationBlock] {
        let in_row = self.rows.cols().div_ceil(BLOCK);
        &self.blocks[i * in_row..(i + 1) * in_row]
    }
}

struct Quantise<'a> {
    row: &'a [f32],
    blocks: &'a mut [ActivationBlock],
}

impl IntegerKernel for Quantise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        for (values, block) in self.row.chunks(BLOCK).zip(self.blocks) {
            quantise(simd, values, block);
        }
    }
}

#[inline(always)]
fn quantise<S: Integers>(simd: S, values: &[f32], block: &mut ActivationBlock) {
    let f = simd.floats();
    // A block is at most four vectors.
    const { assert!(S::LANES * 4 >= BLOCK) };
    let (zero, vectors) = (f.splat(0.0), BLOCK / S::LANES);
    let mut x = [zero; 4];
    let (mut largest, mut not_finite) = (zero, zero);
    for i in 0..vectors {
        x[i] = load(f, values.get(i * S::LANES..).unwrap_or(&[]));
        largest = f.max(f.max(x[i], f.sub(zero, x[i])), largest);
        // Zero, but for infinities and NaN.
        not_finite = f.fma(x[i], zero, not_finite);
    }
    let largest = f.reduce_max(largest);
    let (scale, inverse) = if largest < TINY { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
    let mut halves = [zero; 2];
    for i in 0..vectors {
        let codes = f.round(f.mul(x[i], f.splat(inverse)));
        let half = 2 * i / vectors;
        halves[half] = f.add(halves[half], codes);
        // SAFETY: `codes` has a place for each of the 32 values that the vectors have together.
        unsafe { simd.store_i8(block.codes.as_mut_ptr().add(i * S::LANES), codes) };
    }
    // Sums of small integers are exact in any order. Of NaN they become zeros, and only the scale tells.
    block.halves = [f.reduce_add(halves[0]) as i16, f.reduce_add(halves[1]) as i16];
    block.whole = i32::from(block.halves[0]) + i32::from(block.halves[1]);
    block.scale = scale + f.reduce_add(not_finite);
    block.sum = block.whole as f32 * block.scale;
}
