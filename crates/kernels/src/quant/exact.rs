//! Activations as they are, or rounded to bf16, times weights as they would be decoded, or these rounded: of many rows, which meet panels of
//! decoded weights.

pub(super) mod few;

use super::format::{BLOCK, Format};
use super::layout::GROUP;
use super::matrix::Matrix;
use super::piece::{decoded, take};
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::Simd;
use crate::simd::integer::{Floats, IntegerKernel, Integers};
use crate::tile::{MAX_PANEL, Operand, multiply_panel, panel_width};
use std::marker::PhantomData;
use std::ops::Range;

/// Columns of weights in a panel: whole blocks of every format. Squares of pairs leave sums in registers for longer.
const fn depth<O: Operand>() -> usize {
    if O::VALUES == 1 { 256 } else { 1536 }
}

/// Values of scratch for a panel.
pub(super) const fn panel<O: Operand>() -> usize {
    depth::<O>() / O::VALUES * MAX_PANEL
}

/// `y [m, rows of the groups] = ` or `+= x [m, width]` times some groups of the weights, which `O` holds.
pub(super) struct ByPanels<'a, O, const FORMAT: usize> {
    pub(super) operand: PhantomData<O>,
    pub(super) y: MatrixMut<'a>,
    /// As a left operand.
    pub(super) x: MatrixRef<'a>,
    pub(super) w: &'a Matrix,
    pub(super) groups: Range<usize>,
    pub(super) accumulate: Accumulate,
    pub(super) scratch: &'a mut [f32],
}

impl<O: Operand, const FORMAT: usize> IntegerKernel for ByPanels<'_, O, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        let ByPanels { y, x, w, groups, accumulate, scratch, .. } = self;
        let (m, width) = (y.rows(), w.width());
        let at_once = panel_width::<S::Floats>() / GROUP;
        let panel = &mut scratch[..depth::<O>() / O::VALUES * panel_width::<S::Floats>()];
        for first in groups.clone().step_by(at_once) {
            let column = (first - groups.start) * GROUP;
            let columns = column..(column + at_once * GROUP).min(y.cols());
            for k in (0..width.max(1)).step_by(depth::<O>()) {
                let along = k..(k + depth::<O>()).min(width);
                for group in first..(first + at_once).min(groups.end) {
                    let panel = &mut panel[(group - first) * GROUP..];
                    decode::<O, S, FORMAT>(simd, w.group(group), along.clone(), panel);
                }
                let accumulate = if k == 0 { accumulate } else { Accumulate::Add };
                // SAFETY: the only part of `y` in use.
                let y = unsafe { y.part(0, 0..m, columns.clone()) };
                multiply_panel::<O, _>(simd.floats(), y, x.part(0..m, O::cells_of(along)), panel, accumulate);
            }
        }
    }
}

/// A vector of weights that are floats.
///
/// # Safety
/// `LANES` weights of the format must be readable at `from`.
#[inline(always)]
unsafe fn load_floats<S: Integers, const FORMAT: usize>(simd: S, from: *const u8) -> Floats<S> {
    let f = simd.floats();
    // SAFETY: the caller's promise.
    unsafe {
        match const { Format::ALL[FORMAT] } {
            Format::F16 => f.load_f16(from.cast()),
            Format::Bf16 => f.load_bf16(from.cast()),
            _ => f.load(from.cast()),
        }
    }
}

/// Columns `along` of a group into a panel: `panel[cell][row]`, a panel's row being `panel_width` cells.
#[inline(always)]
fn decode<O: Operand, S: Integers, const FORMAT: usize>(simd: S, packed: &[u8], along: Range<usize>, panel: &mut [f32]) {
    let format = const { Format::ALL[FORMAT] };
    let (f, stride, cells) = (simd.floats(), panel_width::<S::Floats>(), O::cells(along.len()));
    assert!(cells == 0 || panel.len() >= (cells - 1) * stride + GROUP, "a panel of {} for {along:?}", panel.len());
    if format.is_float() {
        assert!(packed.len() >= along.end * GROUP * format.block_bytes(), "{along:?} of {} bytes", packed.len());
        for (cell, k) in along.clone().step_by(O::VALUES).enumerate() {
            for lane in (0..GROUP).step_by(S::LANES) {
                // SAFETY: the group has 16 rows of every column `along`, and the panel a place for each cell (both asserted).
                unsafe {
                    let from = packed.as_ptr().add((k * GROUP + lane) * format.block_bytes());
                    let mut values = load_floats::<S, FORMAT>(simd, from);
                    if O::VALUES == 2 {
                        let next = from.wrapping_add(GROUP * format.block_bytes());
                        let second = if k + 1 < along.end { load_floats::<S, FORMAT>(simd, next) } else { f.splat(0.0) };
                        values = f.pair(values, second);
                    }
                    f.store(panel.as_mut_ptr().add(cell * stride + lane), values);
                }
            }
        }
        return;
    }
    assert!(packed.len() >= format.group_bytes(along.end), "{along:?} of {} bytes", packed.len());
    for index in along.start / BLOCK..along.end / BLOCK {
        let (shared, place) = format.place(index);
        for lane in (0..GROUP).step_by(S::LANES) {
            // SAFETY: the group has piece `index` of all its rows, and the panel a place for each cell (both asserted).
            unsafe {
                let piece = take::<S, FORMAT>(simd, packed.as_ptr().add(shared), packed.as_ptr().add(place), lane);
                let to = panel.as_mut_ptr().add((index * BLOCK - along.start) / O::VALUES * stride + lane);
                for cell in 0..BLOCK / O::VALUES {
                    let column = cell * O::VALUES;
                    let (codes, scale) = (piece.codes[column / 4], piece.scales[column / 16]);
                    let mut values = decoded::<S, FORMAT>(simd, codes, column % 4, scale, piece.minimum);
                    if O::VALUES == 2 {
                        values = f.pair(values, decoded::<S, FORMAT>(simd, codes, column % 4 + 1, scale, piece.minimum));
                    }
                    f.store(to.add(cell * stride), values);
                }
            }
        }
    }
}
