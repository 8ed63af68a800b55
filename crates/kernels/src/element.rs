//! Types that rows are stored in, each widened to f32 in a register on its way into a product.

use crate::int4::Int4;
use crate::simd::{MAX_LANES, Simd};
use half::{bf16, f16};

/// A type whose rows vectors of f32 can be loaded from.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Values of a row that one of these holds, a multiple of every number of lanes if not 1.
    const VALUES: usize = 1;

    /// # Safety
    /// `row` must be valid for reading what holds values `column..column + LANES`. `column` is a multiple of `LANES`.
    unsafe fn load<S: Simd>(simd: S, row: *const Self, column: usize) -> S::V;

    /// As [`Element::load`], of `count` values, `LANES` or fewer; missing lanes are 0.
    ///
    /// # Safety
    /// `row` must be valid for reading what holds values `column..column + count`. `column` is a multiple of `LANES`.
    unsafe fn load_partial<S: Simd>(simd: S, row: *const Self, column: usize, count: usize) -> S::V;

    /// How many of these hold `values` values.
    fn cells(values: usize) -> usize {
        values.div_ceil(Self::VALUES)
    }

    /// Bytes of `values` values.
    fn bytes(values: usize) -> usize {
        values * size_of::<Self>() / Self::VALUES
    }

    /// Writes the values of a row to `to`.
    ///
    /// # Panics
    /// If the row has fewer.
    #[inline(always)]
    fn widen<S: Simd>(simd: S, row: &[Self], to: &mut [f32]) {
        assert!(Self::cells(to.len()) <= row.len(), "{} values of {} cells", to.len(), row.len());
        let (row, whole) = (row.as_ptr(), to.len() / S::LANES * S::LANES);
        for column in (0..whole).step_by(S::LANES) {
            // SAFETY: the row holds as many values as `to` has room for, as asserted, and `column + LANES` is not beyond them.
            unsafe { simd.store(to.as_mut_ptr().add(column), Self::load(simd, row, column)) };
        }
        let rest = &mut to[whole..];
        if !rest.is_empty() {
            // SAFETY: as above, of the values that are left.
            simd.store_partial(rest, unsafe { Self::load_partial(simd, row, whole, rest.len()) });
        }
    }
}

/// The lanes of a row whose last vector ends inside it.
///
/// # Safety
/// `count` values must be readable at `row + column`.
#[inline(always)]
unsafe fn lanes<E: Copy + Default>(row: *const E, column: usize, count: usize) -> [E; MAX_LANES] {
    let mut lanes = [E::default(); MAX_LANES];
    // SAFETY: the caller's promise.
    lanes[..count].copy_from_slice(unsafe { std::slice::from_raw_parts(row.add(column), count) });
    lanes
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, row: *const f32, column: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load(row.add(column)) }
    }
    #[inline(always)]
    unsafe fn load_partial<S: Simd>(simd: S, row: *const f32, column: usize, count: usize) -> S::V {
        // SAFETY: the caller's promise.
        simd.load_partial(unsafe { std::slice::from_raw_parts(row.add(column), count) })
    }
}

/// A type that holds one value, and how the instruction set loads it.
macro_rules! one_value {
    ($element:ty, $load:ident) => {
        impl Element for $element {
            #[inline(always)]
            unsafe fn load<S: Simd>(simd: S, row: *const Self, column: usize) -> S::V {
                // SAFETY: the caller's promise.
                unsafe { simd.$load(row.add(column)) }
            }
            #[inline(always)]
            unsafe fn load_partial<S: Simd>(simd: S, row: *const Self, column: usize, count: usize) -> S::V {
                // SAFETY: the caller's promise; `lanes` gives as many as any vector has.
                unsafe { simd.$load(lanes(row, column, count).as_ptr()) }
            }
        }
    };
}

one_value!(bf16, load_bf16);
one_value!(f16, load_f16);
one_value!(i8, load_i8);

impl Element for Int4 {
    const VALUES: usize = Int4::VALUES;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, row: *const Int4, column: usize) -> S::V {
        // SAFETY: the caller's promise. A vector that begins at a multiple of its lanes lies in one group.
        unsafe {
            let group = &*row.add(column / Int4::VALUES);
            simd.mul(simd.load_i4(group.pairs.as_ptr().add(column % Int4::VALUES / 2)), simd.splat(group.step.to_f32()))
        }
    }
    #[inline(always)]
    unsafe fn load_partial<S: Simd>(simd: S, row: *const Int4, column: usize, _: usize) -> S::V {
        // SAFETY: the caller's promise; the rest of a group is there, and holds zeros.
        unsafe { Self::load(simd, row, column) }
    }
}
