//! Many rows on a processor that multiplies squares of bf16: activations are rounded once, and weights where they meet them, a panel at a time,
//! while all rows of a block pass by.

use super::exact::load_floats;
use super::format::{BLOCK, Format};
use super::layout::GROUP;
use super::matrix::Matrix;
use super::piece::{decoded, take};
use crate::pairs::Pair;
use crate::product::{Accumulate, MatrixMut, MatrixRef};
use crate::simd::integer::{IntegerKernel, Integers};
use crate::simd::{Kernel, Simd};
use crate::tile::{MAX_PANEL, Operand, multiply_panel, panel_width};
use std::ops::Range;

/// Columns of weights in a panel: whole blocks of every format.
const DEPTH: usize = 1536;

/// Values of scratch for a panel.
pub(super) const PANEL: usize = DEPTH / 2 * MAX_PANEL;

/// Rounds rows of activations to pairs.
pub(super) struct RoundRows<'a> {
    pub(super) x: MatrixRef<'a>,
    /// As long as [`Pair::rows_scratch`] says.
    pub(super) pairs: &'a mut [f32],
}

impl Kernel for RoundRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        Pair::round(simd, self.x, self.pairs);
    }
}

/// `y [m, rows of the groups] = ` or `+= x [m, width]` times some groups of the weights.
pub(super) struct Rounded<'a, const FORMAT: usize> {
    pub(super) y: MatrixMut<'a>,
    /// Rows of pairs.
    pub(super) x: MatrixRef<'a>,
    pub(super) w: &'a Matrix,
    pub(super) groups: Range<usize>,
    pub(super) accumulate: Accumulate,
    pub(super) scratch: &'a mut [f32],
}

impl<const FORMAT: usize> IntegerKernel for Rounded<'_, FORMAT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        let Rounded { y, x, w, groups, accumulate, scratch } = self;
        let (m, width) = (y.rows(), w.width());
        let at_once = panel_width::<S::Floats>() / GROUP;
        let panel = &mut scratch[..DEPTH / 2 * panel_width::<S::Floats>()];
        for first in groups.clone().step_by(at_once) {
            let column = (first - groups.start) * GROUP;
            let columns = column..(column + at_once * GROUP).min(y.cols());
            for k in (0..width.max(1)).step_by(DEPTH) {
                let along = k..(k + DEPTH).min(width);
                for group in first..(first + at_once).min(groups.end) {
                    round::<S, FORMAT>(simd, w.group(group), along.clone(), &mut panel[(group - first) * GROUP..]);
                }
                let accumulate = if k == 0 { accumulate } else { Accumulate::Add };
                // SAFETY: the only part of `y` in use.
                let y = unsafe { y.part(0, 0..m, columns.clone()) };
                multiply_panel::<Pair, _>(simd.floats(), y, x.part(0..m, Pair::cells_of(along)), panel, accumulate);
            }
        }
    }
}

/// Columns `along` of a group into a panel of pairs: `panel[k][row]`, a panel's row being `panel_width` pairs.
#[inline(always)]
fn round<S: Integers, const FORMAT: usize>(simd: S, packed: &[u8], along: Range<usize>, panel: &mut [f32]) {
    let format = const { Format::ALL[FORMAT] };
    let (f, stride, pairs) = (simd.floats(), panel_width::<S::Floats>(), Pair::cells_of(along.clone()));
    assert!(pairs.is_empty() || panel.len() >= (pairs.len() - 1) * stride + GROUP, "a panel of {} for {along:?}", panel.len());
    if format.is_float() {
        assert!(packed.len() >= along.end * GROUP * format.block_bytes(), "{along:?} of {} bytes", packed.len());
        for (pair, k) in along.clone().step_by(2).enumerate() {
            for lane in (0..GROUP).step_by(S::LANES) {
                // SAFETY: the group has 16 rows of every column `along`, and the panel a place for each pair (both asserted).
                unsafe {
                    let column = |k: usize| packed.as_ptr().add((k * GROUP + lane) * format.block_bytes());
                    let first = load_floats::<S, FORMAT>(simd, column(k));
                    let second = if k + 1 < along.end { load_floats::<S, FORMAT>(simd, column(k + 1)) } else { f.splat(0.0) };
                    f.store(panel.as_mut_ptr().add(pair * stride + lane), f.pair(first, second));
                }
            }
        }
        return;
    }
    assert!(packed.len() >= format.group_bytes(along.end), "{along:?} of {} bytes", packed.len());
    for index in along.start / BLOCK..along.end / BLOCK {
        let (shared, place) = format.place(index);
        for lane in (0..GROUP).step_by(S::LANES) {
            // SAFETY: the group has piece `index` of all its rows, and the panel a place for each pair (both asserted).
            unsafe {
                let piece = take::<S, FORMAT>(simd, packed.as_ptr().add(shared), packed.as_ptr().add(place), lane);
                let to = panel.as_mut_ptr().add((index * BLOCK - along.start) / 2 * stride + lane);
                for pair in 0..BLOCK / 2 {
                    let (codes, byte, scale) = (piece.codes[pair / 2], pair % 2 * 2, piece.scales[pair / 8]);
                    let first = decoded::<S, FORMAT>(simd, codes, byte, scale, piece.minimum);
                    let second = decoded::<S, FORMAT>(simd, codes, byte + 1, scale, piece.minimum);
                    f.store(to.add(pair * stride), f.pair(first, second));
                }
            }
        }
    }
}
