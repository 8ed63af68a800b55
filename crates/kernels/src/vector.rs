//! Loops over slices, a vector at a time: maps with any number of slices, and reductions.
//!
//! A value's result does not depend on where in its slice it lies: the last, partial vector goes through the same
//! operations as the others.

use crate::Machine;
use crate::disjoint::{SMALL, each_part};
use crate::simd::{Kernel, Simd};

/// The widest vector.
const MAX_LANES: usize = 16;

/// What a map does at one position: from the old values of the outputs and from the inputs to the new values of the outputs.
/// `at` must be `#[inline(always)]`.
pub(crate) trait Map<const OUT: usize, const IN: usize>: Copy + Sync {
    fn at<S: Simd>(self, simd: S, y: [S::V; OUT], x: [S::V; IN]) -> [S::V; OUT];
}

/// Applies `op` at every position of `y` and `x`, in parallel.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn map<const OUT: usize, const IN: usize>(
    machine: Machine<'_>,
    op: impl Map<OUT, IN>,
    y: [&mut [f32]; OUT],
    x: [&[f32]; IN],
) {
    let len = y[0].len();
    check_lengths(len, &y, &x);
    each_part(machine, len.div_ceil(SMALL), y.map(|y| (y, SMALL)), |item, y| {
        let start = item * SMALL;
        let end = start + y[0].len();
        machine.isa.run(MapKernel { op, y, x: x.map(|x| &x[start..end]) });
    });
}

/// Rows in `len` values.
///
/// # Panics
/// If the values are not whole rows.
pub(crate) fn rows(len: usize, width: usize) -> usize {
    assert!(len == 0 || width != 0 && len.is_multiple_of(width), "{len} values are not whole rows of {width}");
    len.checked_div(width).unwrap_or(0)
}

/// Rows in one work item of a kernel that goes over rows once: a call with fewer does not leave the calling thread.
pub(crate) fn rows_per_item(width: usize) -> usize {
    (SMALL / width.max(1)).max(1)
}

#[inline(always)]
fn check_lengths<const OUT: usize, const IN: usize>(len: usize, y: &[&mut [f32]; OUT], x: &[&[f32]; IN]) {
    for k in 0..OUT {
        if y[k].len() != len {
            wrong_length("output", k, y[k].len(), len);
        }
    }
    for k in 0..IN {
        if x[k].len() != len {
            wrong_length("input", k, x[k].len(), len);
        }
    }
}

#[cold]
fn wrong_length(what: &str, k: usize, got: usize, want: usize) -> ! {
    panic!("{what} {k} has {got} values, want {want}");
}

struct MapKernel<'a, const OUT: usize, const IN: usize, O> {
    op: O,
    y: [&'a mut [f32]; OUT],
    x: [&'a [f32]; IN],
}

impl<const OUT: usize, const IN: usize, O: Map<OUT, IN>> Kernel for MapKernel<'_, OUT, IN, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        apply(simd, self.op, self.y, self.x);
    }
}

/// Applies `op` at every position of `y` and `x`, within a kernel.
///
/// # Panics
/// If the slices differ in length.
#[inline(always)]
pub(crate) fn apply<S: Simd, const OUT: usize, const IN: usize>(
    simd: S,
    op: impl Map<OUT, IN>,
    y: [&mut [f32]; OUT],
    x: [&[f32]; IN],
) {
    let len = y[0].len();
    check_lengths(len, &y, &x);
    let mut old = [simd.splat(0.0); OUT];
    let mut input = [simd.splat(0.0); IN];
    let mut i = 0;
    while i + S::LANES <= len {
        for k in 0..OUT {
            // SAFETY: every slice has `len` values (checked above), and `i + LANES <= len`.
            old[k] = unsafe { simd.load(y[k].as_ptr().add(i)) };
        }
        for k in 0..IN {
            // SAFETY: as above.
            input[k] = unsafe { simd.load(x[k].as_ptr().add(i)) };
        }
        let new = op.at(simd, old, input);
        for k in 0..OUT {
            // SAFETY: as above.
            unsafe { simd.store(y[k].as_mut_ptr().add(i), new[k]) };
        }
        i += S::LANES;
    }
    if i < len {
        for k in 0..OUT {
            old[k] = simd.load_partial(&y[k][i..]);
        }
        for k in 0..IN {
            input[k] = simd.load_partial(&x[k][i..]);
        }
        let new = op.at(simd, old, input);
        for k in 0..OUT {
            simd.store_partial(&mut y[k][i..], new[k]);
        }
    }
}

/// What a sum adds up at one position. `add` must be `#[inline(always)]`.
pub(crate) trait Term<const IN: usize>: Copy {
    fn add<S: Simd>(self, simd: S, sum: S::V, x: [S::V; IN]) -> S::V;

    /// What stands beyond the end of every slice: a value for which `add` adds nothing.
    #[inline(always)]
    fn pad(self) -> f32 {
        0.0
    }
}

/// The sum of `term` over all positions of `x`, in an order that depends on the length alone.
///
/// # Panics
/// If the slices differ in length.
#[inline(always)]
pub(crate) fn sum<S: Simd, const IN: usize>(simd: S, term: impl Term<IN>, x: [&[f32]; IN]) -> f32 {
    let len = x[0].len();
    check_lengths(len, &[], &x);
    // Four sums, since each addition waits for the one before.
    let mut sums = [simd.splat(0.0); 4];
    let mut input = [simd.splat(0.0); IN];
    let mut i = 0;
    while i + 4 * S::LANES <= len {
        for (j, sum) in sums.iter_mut().enumerate() {
            for k in 0..IN {
                // SAFETY: every slice has `len` values (checked above), and `i + 4 * LANES <= len`.
                input[k] = unsafe { simd.load(x[k].as_ptr().add(i + j * S::LANES)) };
            }
            *sum = term.add(simd, *sum, input);
        }
        i += 4 * S::LANES;
    }
    while i < len {
        for k in 0..IN {
            input[k] = load_padded(simd, &x[k][i..], term.pad());
        }
        sums[0] = term.add(simd, sums[0], input);
        i += S::LANES;
    }
    simd.reduce_add(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

/// The largest of `x`, `-inf` for none. NaN may be passed over.
#[inline(always)]
pub(crate) fn max<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut largest = [simd.splat(f32::NEG_INFINITY); 4];
    let mut i = 0;
    while i + 4 * S::LANES <= x.len() {
        for (j, largest) in largest.iter_mut().enumerate() {
            // SAFETY: `i + 4 * LANES <= x.len()`.
            let v = unsafe { simd.load(x.as_ptr().add(i + j * S::LANES)) };
            *largest = simd.max(v, *largest);
        }
        i += 4 * S::LANES;
    }
    while i < x.len() {
        largest[0] = simd.max(load_padded(simd, &x[i..], f32::NEG_INFINITY), largest[0]);
        i += S::LANES;
    }
    simd.reduce_max(simd.max(simd.max(largest[0], largest[1]), simd.max(largest[2], largest[3])))
}

/// The first `LANES` values of `x`, with 0 in place of those it does not have.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, x: &[f32]) -> S::V {
    if x.len() >= S::LANES {
        // SAFETY: `x` has at least `LANES` values (just checked).
        unsafe { simd.load(x.as_ptr()) }
    } else {
        simd.load_partial(x)
    }
}

/// Stores the first lanes of `v`, as many as `y` has room for.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, y: &mut [f32], v: S::V) {
    if y.len() >= S::LANES {
        // SAFETY: `y` has at least `LANES` values (just checked).
        unsafe { simd.store(y.as_mut_ptr(), v) }
    } else {
        simd.store_partial(y, v);
    }
}

/// The first `LANES` values of `x`, with `pad` in place of those it does not have.
#[inline(always)]
pub(crate) fn load_padded<S: Simd>(simd: S, x: &[f32], pad: f32) -> S::V {
    if x.len() >= S::LANES {
        // SAFETY: `x` has at least `LANES` values (just checked).
        return unsafe { simd.load(x.as_ptr()) };
    }
    const { assert!(S::LANES <= MAX_LANES) };
    let mut lanes = [pad; MAX_LANES];
    lanes[..x.len()].copy_from_slice(x);
    // SAFETY: a vector has at most `MAX_LANES` lanes (asserted above).
    unsafe { simd.load(lanes.as_ptr()) }
}

/// `sum += x`
#[derive(Clone, Copy)]
pub(crate) struct Sum;

impl Term<1> for Sum {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [x]: [S::V; 1]) -> S::V {
        simd.add(sum, x)
    }
}

/// `sum += a b`
#[derive(Clone, Copy)]
pub(crate) struct Dot;

impl Term<2> for Dot {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::V, [a, b]: [S::V; 2]) -> S::V {
        simd.fma(a, b, sum)
    }
}
