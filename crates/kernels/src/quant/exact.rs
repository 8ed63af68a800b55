//! Activations as they are, times weights as they would be decoded: of many rows, which meet panels of decoded weights.

pub(super) mod few;

use super::format::{BLOCK, Format};
use super::layout::GROUP;
use super::matrix::Matrix;
use super::piece::{decoded, take};
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::Simd;
use crate::simd::integer::{Floats, IntegerKernel, Integers};
use crate::tile::{MAX_PANEL, Single, multiply_panel, panel_width};
use std::ops::Range;

/// Columns of weights in a panel: whole blocks of every format.
const DEPTH: usize = 256;

/// Values of scratch for a panel.
pub(super) const PANEL: usize = DEPTH * MAX_PANEL;

/// `y [m, rows of the groups] = ` or `+= x [m, width]` times some groups of the weights.
pub(super) struct Exact<'a, const FORMAT: usize> {
    pub(super) y: MatrixMut<'a>,
    pub(super) x: MatrixRef<'a>,
    pub(super) w: &'a Matrix,
    pub(super) groups: Range<usize>,
    pub(super) accumulate: Accumulate,
    pub(super) scratch: &'a mut [f32],
}

impl<const FORMAT: usize> IntegerKernel for Exact<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        let Exact { y, x, w, groups, accumulate, scratch } = self;
        let (m, width) = (y.rows(), w.width());
        let at_once = panel_width::<S::Floats>() / GROUP;
        let panel = &mut scratch[..DEPTH * panel_width::<S::Floats>()];
        for first in groups.clone().step_by(at_once) {
            let column = (first - groups.start) * GROUP;
            let columns = column..(column + at_once * GROUP).min(y.cols());
            for k in (0..width.max(1)).step_by(DEPTH) {
                let along = k..(k + DEPTH).min(width);
                for group in first..(first + at_once).min(groups.end) {
                    let panel = &mut panel[(group - first) * GROUP..];
                    decode::<S, FORMAT>(simd, w.group(group), along.clone(), panel);
                }
                let accumulate = if k == 0 { accumulate } else { Accumulate::Add };
                // SAFETY: the only part of `y` in use.
                let y = unsafe { y.part(0, 0..m, columns.clone()) };
                multiply_panel::<Single, _>(simd.floats(), y, x.part(0..m, along), panel, accumulate);
            }
        }
    }
}

/// A vector of weights that are floats.
///
/// # Safety
/// `LANES` weights of the format must be readable at `from`.
#[inline(always)]
pub(super) unsafe fn load_floats<S: Integers, const FORMAT: usize>(simd: S, from: *const u8) -> Floats<S> {
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

/// Columns `along` of a group into a panel: `panel[k][row]`, a panel's row being `panel_width` values.
#[inline(always)]
fn decode<S: Integers, const FORMAT: usize>(simd: S, packed: &[u8], along: Range<usize>, panel: &mut [f32]) {
    let format = const { Format::ALL[FORMAT] };
    let (f, stride) = (simd.floats(), panel_width::<S::Floats>());
    assert!(along.is_empty() || panel.len() >= (along.len() - 1) * stride + GROUP, "a panel of {} for {along:?}", panel.len());
    if format.is_float() {
        assert!(packed.len() >= along.end * GROUP * format.block_bytes(), "{along:?} of {} bytes", packed.len());
        for k in along.clone() {
            for lane in (0..GROUP).step_by(S::LANES) {
                // SAFETY: the group has 16 rows of column `k`, and the panel a place for each (both asserted).
                unsafe {
                    let from = packed.as_ptr().add((k * GROUP + lane) * format.block_bytes());
                    let values = load_floats::<S, FORMAT>(simd, from);
                    f.store(panel.as_mut_ptr().add((k - along.start) * stride + lane), values);
                }
            }
        }
        return;
    }
    assert!(packed.len() >= format.group_bytes(along.end), "{along:?} of {} bytes", packed.len());
    for index in along.start / BLOCK..along.end / BLOCK {
        let (shared, place) = format.place(index);
        for lane in (0..GROUP).step_by(S::LANES) {
            // SAFETY: the group has piece `index` of all its rows, and the panel a place for each value (both asserted).
            unsafe {
                let piece = take::<S, FORMAT>(simd, packed.as_ptr().add(shared), packed.as_ptr().add(place), lane);
                for column in 0..BLOCK {
                    let (codes, scale) = (piece.codes[column / 4], piece.scales[column / 16]);
                    let value = decoded::<S, FORMAT>(simd, codes, column % 4, scale, piece.minimum);
                    f.store(panel.as_mut_ptr().add((index * BLOCK + column - along.start) * stride + lane), value);
                }
            }
        }
    }
}
