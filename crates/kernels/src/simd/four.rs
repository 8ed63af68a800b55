//! Vectors of four `f32`, which every x86-64 and every Arm64 processor has, and other processors an array for.

/// Value intrinsics as functions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! value_operations {
    ($($name:ident($($arg:ident),+) = $intrinsic:expr;)+) => {
        $(
            #[inline(always)]
            pub(in crate::simd) fn $name($($arg: Four),+) -> Four {
                // SAFETY: x86-64 has SSE2, Arm64 has NEON.
                unsafe { $intrinsic }
            }
        )+
    };
}

#[cfg(target_arch = "aarch64")]
pub(super) use arm::*;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use plain::*;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::*;

#[cfg(target_arch = "aarch64")]
mod arm;
// Elsewhere the tests hold the others against it.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod plain;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;
