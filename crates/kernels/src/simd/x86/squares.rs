//! AMX: registers of 16 rows of 64 bytes, and products of pairs of bf16, or of four bytes, between them. Sums are in the first four, two by two; the
//! next two hold rows of A, the last two columns of B.
//!
//! Registers keep what they hold from one block of assembly to the next: the compiler uses none of them.

use crate::simd::SQUARE;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// What the eight registers are configured to: all of them whole.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < 8 {
        (row_bytes[register], rows[register]) = (4 * SQUARE as u16, SQUARE as u8);
        register += 1;
    }
    Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// Whether the processor has AMX with bf16 and bytes, and the system lets this process use it. Linux gives the state of the registers to those
/// who ask.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        const BYTES: u32 = 1 << 25;
        let has = cfg!(target_os = "linux") && !cfg!(miri) && __cpuid_count(0, 0).eax >= 7;
        has && __cpuid_count(7, 0).edx & (BF16 | TILES | BYTES) == BF16 | TILES | BYTES && permitted()
    })
}

/// Asks Linux for the state of tiles.
#[cfg(all(target_os = "linux", not(miri)))]
fn permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_COMPONENT: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that changes no memory and clobbers what is said here.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") REQUEST_COMPONENT,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn permitted() -> bool {
    false
}

/// Configures the registers of this thread.
///
/// # Safety
/// [`available`] must have said so, as for all that follows.
#[inline(always)]
pub(super) unsafe fn configure() {
    // SAFETY: 64 bytes of a valid configuration are read.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags, readonly)) }
}

/// Gives the registers back, so that nobody saves them.
///
/// # Safety
/// As [`configure`].
#[inline(always)]
pub(super) unsafe fn release() {
    // SAFETY: touches nothing but the registers.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
}

/// Bytes from one row to the next.
#[inline(always)]
fn bytes(stride: usize) -> usize {
    stride * size_of::<f32>()
}

/// # Safety
/// As [`crate::simd::Simd::load_squares`], between [`configure`] and [`release`].
#[inline(always)]
pub(super) unsafe fn load<const ROWS: usize, const COLS: usize>(from: Option<*const f32>, stride: usize) {
    let Some(from) = from else {
        // SAFETY: touches nothing but the registers.
        unsafe {
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, preserves_flags, nomem));
        }
        return;
    };
    // SAFETY: the caller promises these rows.
    unsafe {
        asm!("tileloadd tmm0, [{} + {}]", in(reg) from, in(reg) bytes(stride), options(nostack, preserves_flags, readonly));
        if COLS == 2 {
            asm!("tileloadd tmm1, [{} + {} + 64]", in(reg) from, in(reg) bytes(stride), options(nostack, preserves_flags, readonly));
        }
        if ROWS == 2 {
            let from = from.add(SQUARE * stride);
            asm!("tileloadd tmm2, [{} + {}]", in(reg) from, in(reg) bytes(stride), options(nostack, preserves_flags, readonly));
            if COLS == 2 {
                asm!("tileloadd tmm3, [{} + {} + 64]", in(reg) from, in(reg) bytes(stride), options(nostack, preserves_flags, readonly));
            }
        }
    }
}

/// # Safety
/// As [`crate::simd::Simd::multiply_squares`], between [`configure`] and [`release`].
#[inline(always)]
pub(super) unsafe fn multiply<const ROWS: usize, const COLS: usize, const BYTES: bool>(
    a: [*const f32; 2],
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    steps: usize,
) {
    let [mut upper, mut lower] = a;
    let (mut b, a_bytes, b_bytes) = (b, bytes(a_stride), bytes(b_stride));
    // One step, with the instruction that multiplies what a cell holds.
    macro_rules! step {
        ($dot:literal) => {
            match (ROWS, COLS) {
                (1, 1) => asm!(
                    "tileloadd tmm4, [{upper} + {a_bytes}]",
                    "tileloadd tmm6, [{b} + {b_bytes}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    upper = in(reg) upper, a_bytes = in(reg) a_bytes, b = in(reg) b, b_bytes = in(reg) b_bytes,
                    options(nostack, preserves_flags, readonly),
                ),
                (1, _) => asm!(
                    "tileloadd tmm4, [{upper} + {a_bytes}]",
                    "tileloadd tmm6, [{b} + {b_bytes}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{b} + {b_bytes} + 64]",
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    upper = in(reg) upper, a_bytes = in(reg) a_bytes, b = in(reg) b, b_bytes = in(reg) b_bytes,
                    options(nostack, preserves_flags, readonly),
                ),
                (_, 1) => asm!(
                    "tileloadd tmm6, [{b} + {b_bytes}]",
                    "tileloadd tmm4, [{upper} + {a_bytes}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{lower} + {a_bytes}]",
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    upper = in(reg) upper, lower = in(reg) lower, a_bytes = in(reg) a_bytes,
                    b = in(reg) b, b_bytes = in(reg) b_bytes,
                    options(nostack, preserves_flags, readonly),
                ),
                _ => asm!(
                    "tileloadd tmm4, [{upper} + {a_bytes}]",
                    "tileloadd tmm6, [{b} + {b_bytes}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{b} + {b_bytes} + 64]",
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    "tileloadd tmm5, [{lower} + {a_bytes}]",
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    concat!($dot, " tmm3, tmm5, tmm7"),
                    upper = in(reg) upper, lower = in(reg) lower, a_bytes = in(reg) a_bytes,
                    b = in(reg) b, b_bytes = in(reg) b_bytes,
                    options(nostack, preserves_flags, readonly),
                ),
            }
        };
    }
    for _ in 0..steps {
        // SAFETY: the caller promises the rows of A and B that are read here.
        unsafe {
            if BYTES {
                step!("tdpbssd");
            } else {
                step!("tdpbf16ps");
            }
        }
        // After the last step these may point past the operands, and are not used.
        (upper, lower, b) = (upper.wrapping_add(SQUARE), lower.wrapping_add(SQUARE), b.wrapping_add(SQUARE * b_stride));
    }
}

/// # Safety
/// As [`crate::simd::Simd::store_squares`], between [`configure`] and [`release`].
#[inline(always)]
pub(super) unsafe fn store<const ROWS: usize, const COLS: usize>(to: *mut f32, stride: usize) {
    // SAFETY: the caller promises room for these rows.
    unsafe {
        asm!("tilestored [{} + {}], tmm0", in(reg) to, in(reg) bytes(stride), options(nostack, preserves_flags));
        if COLS == 2 {
            asm!("tilestored [{} + {} + 64], tmm1", in(reg) to, in(reg) bytes(stride), options(nostack, preserves_flags));
        }
        if ROWS == 2 {
            let to = to.add(SQUARE * stride);
            asm!("tilestored [{} + {}], tmm2", in(reg) to, in(reg) bytes(stride), options(nostack, preserves_flags));
            if COLS == 2 {
                asm!("tilestored [{} + {} + 64], tmm3", in(reg) to, in(reg) bytes(stride), options(nostack, preserves_flags));
            }
        }
    }
}
