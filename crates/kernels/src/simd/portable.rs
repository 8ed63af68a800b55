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
                let mut v = self.splat(0.0);
                for i in 0..FOURS {
                    v[i] = four::$name($($arg[i]),+);
                }
                v
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
        for row in 0..FOURS {
            for column in 0..FOURS {
                let mut square = [four::splat(0.0); 4];
                for i in 0..4 {
                    // SAFETY: the caller promises `LANES` readable values at each of `LANES` places.
                    square[i] = unsafe { four::load(from.add((4 * row + i) * stride + 4 * column)) };
                }
                let square = four::transpose(square);
                for j in 0..4 {
                    columns[4 * column + j][row] = square[j];
                }
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
        let mut v = self.splat(0.0);
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES` readable values.
            v[i] = unsafe { four::load(p.add(4 * i)) };
        }
        v
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
        let mut v = self.splat(0.0);
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES` readable values.
            v[i] = unsafe { four::load_bf16(p.add(4 * i)) };
        }
        v
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
        let mut v = self.splat(0.0);
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES` readable values.
            v[i] = unsafe { four::load_f16(p.add(4 * i)) };
        }
        v
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> Self::V {
        let mut v = self.splat(0.0);
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES` readable values.
            v[i] = unsafe { four::load_i8(p.add(4 * i)) };
        }
        v
    }
    #[inline(always)]
    unsafe fn load_i4(self, p: *const u8) -> Self::V {
        let mut v = self.splat(0.0);
        for i in 0..FOURS {
            // SAFETY: the caller promises `LANES / 2` readable bytes.
            let [a, b] = unsafe { p.add(2 * i).cast::<[i8; 2]>().read() };
            let numbers = [a << 4 >> 4, a >> 4, b << 4 >> 4, b >> 4];
            // SAFETY: the array has four values.
            v[i] = unsafe { four::load_i8(numbers.as_ptr()) };
        }
        v
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> Self::V {
        let mut all = [[0.0; 4]; FOURS];
        for (lane, x) in all.as_flattened_mut().iter_mut().zip(x) {
            *lane = *x;
        }
        // SAFETY: an array has four values.
        all.map(|four| unsafe { four::load(four.as_ptr()) })
    }
    #[inline(always)]
    fn store_partial(self, y: &mut [f32], v: Self::V) {
        for (y, lane) in y.iter_mut().zip(v.map(four::to_array).as_flattened()) {
            *y = *lane;
        }
    }
    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V {
        // A product of two bf16 is exact, so that rounding it makes no difference to a fused sum.
        let mut sums = sum;
        for i in 0..FOURS {
            sums[i] = four::fma(four::upper(a[i]), four::upper(b[i]), sums[i]);
            sums[i] = four::fma(four::lower(a[i]), four::lower(b[i]), sums[i]);
        }
        sums
    }
    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        let [a, b, c, d] = four::to_array(Self::folded(a, four::add));
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn sum_each(self, vectors: [Self::V; MAX_LANES]) -> Self::V {
        let mut sums = self.splat(0.0);
        for i in 0..FOURS {
            let mut square = [four::splat(0.0); 4];
            for j in 0..4 {
                square[j] = Self::folded(vectors[4 * i + j], four::add);
            }
            let [a, b, c, d] = four::transpose(square);
            sums[i] = four::add(four::add(a, c), four::add(b, d));
        }
        sums
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        four::to_array(Self::folded(a, four::max)).into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
