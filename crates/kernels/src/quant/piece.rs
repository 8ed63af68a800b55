//! What every product does with 32 columns of weights: take them apart in registers, and multiply them with activations.

use super::activations::ActivationBlock;
use super::format::{BLOCK, Format};
use super::layout::{GROUP, LINE};
use crate::simd::Simd;
use crate::simd::integer::{Floats, Integers};

/// Groups of four columns.
pub(super) const FOURS: usize = BLOCK / 4;

/// 32 columns of a vector's rows: a row is a lane.
#[derive(Clone, Copy)]
pub(super) struct Piece<S: Integers> {
    /// Unsigned, four columns in each lane.
    pub(super) codes: [S::I; FOURS],
    /// The scale, or that of each half.
    pub(super) scales: [Floats<S>; 2],
    /// What is added to every weight, where the format has it.
    pub(super) minimum: Floats<S>,
}

/// Takes apart the piece at `piece` whose block's fields are at `shared`, for the rows from `lane` on.
///
/// # Safety
/// Both must lie in a group of a packed matrix of the format, at places that [`Format::place`] gives, and `lane + LANES` rows make
/// at most a group.
#[inline(always)]
pub(super) unsafe fn take<S: Integers, const FORMAT: usize>(
    simd: S,
    shared: *const u8,
    piece: *const u8,
    lane: usize,
) -> Piece<S> {
    let format = const { Format::ALL[FORMAT] };
    let f = simd.floats();
    // SAFETY: lines, own and shared fields lie where `Format::place` and the layout say, with 16 rows each.
    unsafe {
        let codes = codes::<S, FORMAT>(simd, piece.add(4 * lane));
        let own = piece.add(LINE * format.bits());
        let half = |field: usize, at: *const u8| at.add((field * GROUP + lane) * 2).cast();
        let (scales, minimum) = if !format.by_factors() {
            let scale = f.load_f16(half(0, own));
            ([scale; 2], if format.has_minimum() { f.load_f16(half(1, own)) } else { f.splat(0.0) })
        } else if format.by_halves() {
            let scale = f.load_f16(half(0, shared));
            let first = f.mul(scale, f.load_i8(own.add(lane).cast()));
            ([first, f.mul(scale, f.load_i8(own.add(GROUP + lane).cast()))], f.splat(0.0))
        } else {
            let scale = f.mul(f.load_f16(half(0, shared)), simd.load_u8(own.add(lane)));
            let minimum = f.mul(f.load_f16(half(1, shared)), simd.load_u8(own.add(GROUP + lane)));
            ([scale; 2], f.mul(minimum, f.splat(-1.0)))
        };
        Piece { codes, scales, minimum }
    }
}

/// # Safety
/// As [`take`]; `lines` is where the rows' bytes of the first line are.
#[inline(always)]
unsafe fn codes<S: Integers, const FORMAT: usize>(simd: S, lines: *const u8) -> [S::I; FOURS] {
    let bits = const { Format::ALL[FORMAT].bits() };
    let mut codes = [simd.splat(0); FOURS];
    // SAFETY: a piece has as many lines as its codes have bits; the caller promises the rest.
    unsafe {
        if bits == 8 {
            for j in 0..FOURS {
                codes[j] = simd.load(lines.add(j * LINE));
            }
            return codes;
        }
        let low = simd.splat(0x0f0f_0f0f);
        for j in 0..4 {
            let both = simd.load(lines.add(j * LINE));
            codes[j] = simd.and(both, low);
            codes[j + 4] = simd.and(simd.down(both, 4), low);
        }
        if bits == 5 {
            let fifths = simd.load(lines.add(4 * LINE));
            for j in 0..FOURS {
                codes[j] = simd.or(codes[j], simd.and(moved(simd, fifths, j, 4), simd.splat(0x1010_1010)));
            }
        }
        if bits == 6 {
            let high = [simd.load(lines.add(4 * LINE)), simd.load(lines.add(5 * LINE))];
            for j in 0..FOURS {
                codes[j] = simd.or(codes[j], simd.and(moved(simd, high[j / 4], 2 * (j % 4), 4), simd.splat(0x3030_3030)));
            }
        }
    }
    codes
}

/// Byte `byte` of every lane of some codes as the weight that it stands for, rounded as decoding does: once for the product, once for
/// the sum.
#[inline(always)]
pub(super) fn decoded<S: Integers, const FORMAT: usize>(
    simd: S,
    codes: S::I,
    byte: usize,
    scale: Floats<S>,
    minimum: Floats<S>,
) -> Floats<S> {
    let (f, format) = (simd.floats(), const { Format::ALL[FORMAT] });
    let code = simd.to_floats(simd.and(simd.down(codes, 8 * byte as u32), simd.splat(0xff)));
    if format.has_minimum() {
        f.add(f.mul(scale, code), minimum)
    } else {
        f.mul(scale, f.sub(code, f.splat((1 << format.zero()) as f32)))
    }
}

/// Bits `from` of every byte moved to `to`; what is beside them comes along.
#[inline(always)]
fn moved<S: Integers>(simd: S, a: S::I, from: usize, to: usize) -> S::I {
    if from < to { simd.up(a, (to - from) as u32) } else { simd.down(a, (from - to) as u32) }
}

/// `sums[t] += ` the products of a piece with `blocks[t]`.
#[inline(always)]
pub(super) fn multiply<S: Integers, const FORMAT: usize, const T: usize>(
    simd: S,
    piece: &Piece<S>,
    blocks: [&ActivationBlock; T],
    sums: &mut [Floats<S>; T],
) {
    let mut codes = [std::ptr::null(); T];
    for t in 0..T {
        codes[t] = blocks[t].codes.as_ptr();
    }
    let zero = [simd.splat(0); T];
    let mut products = [[zero]; 2];
    // SAFETY: a block has 32 codes, 16 in each half.
    unsafe {
        if const { Format::ALL[FORMAT].by_halves() } {
            let [a, b, c, d, e, f, g, h] = piece.codes;
            products[0][0] = dot::<S, FORMAT, 4, T>(simd, zero, [a, b, c, d], codes);
            for t in 0..T {
                codes[t] = codes[t].add(16);
            }
            products[1][0] = dot::<S, FORMAT, 4, T>(simd, zero, [e, f, g, h], codes);
        } else {
            products[0][0] = dot::<S, FORMAT, FOURS, T>(simd, zero, piece.codes, codes);
        }
    }
    let [first, second] = piece.scales;
    add_scaled::<S, FORMAT, 1, T>(simd, std::array::from_mut(sums), products, [[first], [second]], [piece.minimum], blocks);
}

/// `sums[v][t] += ` products of codes, of the whole piece or of its halves, times their scales. The only place where scales of weights and of
/// activations meet: whatever tile an entry of a product falls in, it is this chain of operations in ascending order of pieces.
#[inline(always)]
pub(super) fn add_scaled<S: Integers, const FORMAT: usize, const V: usize, const T: usize>(
    simd: S,
    sums: &mut [[Floats<S>; T]; V],
    products: [[[S::I; T]; V]; 2],
    scales: [[Floats<S>; V]; 2],
    minima: [Floats<S>; V],
    blocks: [&ActivationBlock; T],
) {
    let (f, format) = (simd.floats(), const { Format::ALL[FORMAT] });
    for t in 0..T {
        let (block, of_activations) = (blocks[t], f.splat(blocks[t].scale));
        for part in 0..if format.by_halves() { 2 } else { 1 } {
            let sum_of_codes = if format.by_halves() { i32::from(block.halves[part]) } else { block.whole };
            let zero = simd.up(simd.splat(sum_of_codes), format.zero());
            for v in 0..V {
                let product = products[part][v][t];
                let product = if const { zero_counts::<S, FORMAT>() } { simd.sub(product, zero) } else { product };
                sums[v][t] = f.fma(simd.to_floats(product), f.mul(scales[part][v], of_activations), sums[v][t]);
            }
        }
        if format.has_minimum() {
            let sum = f.splat(block.sum);
            for v in 0..V {
                sums[v][t] = f.fma(minima[v], sum, sums[v][t]);
            }
        }
    }
}

/// Whether the code of zero has to be taken from a sum of products with codes to make it one with the integers that they stand for.
const fn zero_counts<S: Integers, const FORMAT: usize>() -> bool {
    let format = Format::ALL[FORMAT];
    !format.has_minimum() && (format.bits() < 8 || !S::CENTRED)
}

/// # Safety
/// As [`Integers::dot`].
#[inline(always)]
unsafe fn dot<S: Integers, const FORMAT: usize, const N: usize, const T: usize>(
    simd: S,
    sums: [S::I; T],
    codes: [S::I; N],
    activations: [*const i8; T],
) -> [S::I; T] {
    // SAFETY: the caller's promise; codes have as many bits as their format says.
    unsafe {
        match const { Format::ALL[FORMAT].bits() } {
            4 => simd.dot::<4, N, T>(sums, codes, activations),
            5 => simd.dot::<5, N, T>(sums, codes, activations),
            6 => simd.dot::<6, N, T>(sums, codes, activations),
            _ => simd.dot::<8, N, T>(sums, codes, activations),
        }
    }
}

/// The products of all rows of a group with `activations`, summed along `N` groups of four, for weights in memory: vector `v` of group of four
/// `j` is the `V * j + v`th from `weights` on.
///
/// # Safety
/// As [`Integers::dots`]; codes have as many bits as the format says.
#[inline(always)]
pub(super) unsafe fn dots<S: Integers, const FORMAT: usize, const N: usize, const V: usize, const T: usize>(
    simd: S,
    weights: *const u8,
    activations: [*const i8; T],
) -> [[S::I; T]; V] {
    // SAFETY: the caller's promise.
    unsafe {
        match const { Format::ALL[FORMAT].bits() } {
            4 => simd.dots::<4, N, V, T>(weights, activations),
            5 => simd.dots::<5, N, V, T>(weights, activations),
            6 => simd.dots::<6, N, V, T>(weights, activations),
            _ => simd.dots::<8, N, V, T>(weights, activations),
        }
    }
}
