//! Lanes in fours, for every processor.

use super::four::{self, Four};
use super::{Kernel, MAX_LANES, Simd};
use half::{bf16, f16};

/// Vectors of `4 * FOURS` lanes.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const FOURS: usize>;

/// Operations on vectors that are those of their fours.
macro_rules! each_four {
    ($($name:ident($($arg:ident),+);)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: Self::V),+) -> Self::V {
                std::array::from_fn(|i| four::$name($($arg[i]),+))
            }
        )+
    };
}

impl<const FOURS: usize> Portable<FOURS> {
    /// A vector's fours joined: those of the second half to those of the first, and so on.
    #[inline(always)]
    fn folded(mut a: [Four; FOURS], join: impl Fn(Four, Four) -> Four) -> Four {
        let mut n = FOURS / 2;
        while n > 0 {
            for i in 0..n {
                a[i] = join(a[i], a[i + n]);
            }
            n /= 2;
        }
        a[0]
    }
}

impl<const FOURS: usize> Simd for Portable<FOURS> {
    const LANES: usize = 4 * FOURS;
    const TILE_VECTORS: usize = if FOURS == 4 { 4 } else { 2 };
    type V = [Four; FOURS];

    each_four! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        fma(a, b, c);
        max(a, b);
        min(a, b);
        sqrt(a);
        round(a);
        pow2(n);
        select_lt(a, b, yes, no);
        pair(first, second);
    }

    // Not inlined: as single values the square would be too much for the optimiser.
    #[inline(never)]
    unsafe fn load_columns(self, from: *const f32, stride: usize) -> [Self::V; MAX_LANES] {
        let mut columns = [self.splat(0.0); MAX_LANES];
        for (row, column) in (0..FOURS).flat_map(|row| (0..FOURS).map(move |column| (row, column))) {
            // SAFETY: the caller promises `LANES` readable values at each of `LANES` places.
            let square = [0, 1, 2, 3].map(|i| unsafe { four::load(from.add((4 * row + i) * stride + 4 * column)) });
            for (j, values) in four::transpose(square).into_iter().enumerate() {
                columns[4 * column + j][row] = values;
            }
        }
        columns
    }
    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [four::splat(x); FOURS]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller promises `LANES` readable values.
        std::array::from_fn(|i| unsafe { four::load(p.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES` writable values.
            unsafe { four::store(p.add(4 * i), v[i]) };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> Self::V {
        // SAFETY: the caller promises `LANES` readable values.
        std::array::from_fn(|i| unsafe { four::load_bf16(p.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, v: Self::V) {
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES` writable values.
            unsafe { four::store_bf16(p.add(4 * i), v[i]) };
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const f16) -> Self::V {
        // SAFETY: the caller promises `LANES` readable values.
        std::array::from_fn(|i| unsafe { four::load_f16(p.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> Self::V {
        // SAFETY: the caller promises `LANES` readable values.
        std::array::from_fn(|i| unsafe { four::load_i8(p.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn load_i4(self, p: *const u8) -> Self::V {
        std::array::from_fn(|i| {
            // SAFETY: the caller promises `LANES / 2` readable bytes.
            let [a, b] = unsafe { p.add(2 * i).cast::<[u8; 2]>().read() }.map(u8::cast_signed);
            let numbers = [a << 4 >> 4, a >> 4, b << 4 >> 4, b >> 4];
            // SAFETY: the array has four values.
            unsafe { four::load_i8(numbers.as_ptr()) }
        })
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> Self::V {
        let mut all = [[0.0; 4]; FOURS];
        all.as_flattened_mut().iter_mut().zip(x).for_each(|(lane, x)| *lane = *x);
        // SAFETY: an array has four values.
        all.map(|four| unsafe { four::load(four.as_ptr()) })
    }
    #[inline(always)]
    fn store_partial(self, y: &mut [f32], v: Self::V) {
        y.iter_mut().zip(v.map(four::to_array).as_flattened()).for_each(|(y, lane)| *y = *lane);
    }
    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V {
        // A product of two bf16 is exact, so that rounding it makes no difference to a fused sum.
        std::array::from_fn(|i| {
            let sum = four::fma(four::upper(a[i]), four::upper(b[i]), sum[i]);
            four::fma(four::lower(a[i]), four::lower(b[i]), sum)
        })
    }
    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        let [a, b, c, d] = four::to_array(Self::folded(a, four::add));
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn sum_each(self, vectors: [Self::V; MAX_LANES]) -> Self::V {
        std::array::from_fn(|i| {
            let [a, b, c, d] = four::transpose([0, 1, 2, 3].map(|j| Self::folded(vectors[4 * i + j], four::add)));
            four::add(four::add(a, c), four::add(b, d))
        })
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        four::to_array(Self::folded(a, four::max)).into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
