//! Which instruction set the kernels use, decided once at run time.

use crate::simd::integer::IntegerKernel;
use crate::simd::{Kernel, Portable};
use std::env::VarError;
use std::fmt;
use std::sync::OnceLock;

/// An instruction set that this processor has. A value is a proof: none can be made for a set the processor lacks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Level);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Level {
    Scalar,
    #[cfg(debug_assertions)]
    Scalar16,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Isa {
    /// Portable code in vectors of four (SSE2, NEON), two as one; runs on every processor.
    pub const SCALAR: Isa = Isa(Level::Scalar);
    /// Portable code in the register shape of AVX-512, so that its tiling is tested on processors without it. Only builds with
    /// debug assertions have it: nobody would choose it for speed, and it is long to compile.
    #[cfg(debug_assertions)]
    pub const SCALAR_16: Isa = Isa(Level::Scalar16);

    /// Every instruction set this processor has, the plainest first.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut all = vec![Isa::SCALAR];
        #[cfg(debug_assertions)]
        all.push(Isa::SCALAR_16);
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            if avx2 {
                all.push(Isa(Level::Avx2));
            }
            if avx2 && is_x86_feature_detected!("avx512f") {
                all.push(Isa(Level::Avx512));
                let bytes_and_words = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq");
                if bytes_and_words && is_x86_feature_detected!("avx512bf16") {
                    all.push(Isa(Level::Avx512Bf16));
                    if crate::simd::has_amx() {
                        all.push(Isa(Level::Amx));
                    }
                }
            }
        }
        all
    }

    /// The set to use: the best one available, or the one that `ATTENDANT_ISA` names if the processor has it.
    ///
    /// # Panics
    /// If `ATTENDANT_ISA` names a set that does not exist or that this processor lacks. [`Isa::from_environment`] returns
    /// the same as an error.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::from_environment().unwrap_or_else(|why| panic!("{why}")))
    }

    /// What [`Isa::best`] would give.
    ///
    /// # Errors
    /// One line that names the variable, what it held and what this processor has.
    pub fn from_environment() -> Result<Isa, String> {
        let all = Isa::available();
        match std::env::var("ATTENDANT_ISA") {
            Ok(name) => all.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|isa| isa.name()).collect();
                format!("ATTENDANT_ISA: got {name:?}, this processor has {}", names.join(", "))
            }),
            Err(VarError::NotPresent) => Ok(*all.last().expect("scalar code is always available")),
            Err(VarError::NotUnicode(name)) => Err(format!("ATTENDANT_ISA: got {name:?}, wanted the name of an instruction set")),
        }
    }

    /// Whether products of bf16 are faster than those of f32. Where instructions for them are all there is on an Intel processor they are
    /// not: one takes as long as four multiply-adds of f32, for the work of two.
    pub fn gains_by_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Amx => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => !crate::simd::is_intel(),
            _ => false,
        }
    }

    /// Whether whole squares of bf16 are multiplied at once, much faster than anything else.
    pub(crate) fn has_squares(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Amx => true,
            _ => false,
        }
    }

    /// Whether there are instructions for products of bf16. Elsewhere they are widened first.
    pub fn multiplies_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 | Level::Amx => true,
            _ => false,
        }
    }

    /// Whether a register tile has columns of sixteen lanes: AVX-512, whose processors have second-level caches of a mebibyte and more.
    pub(crate) fn has_wide_tiles(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Bf16 | Level::Amx => true,
            _ => false,
        }
    }

    /// `scalar`, `scalar16`, `avx2`, `avx512`, `avx512bf16` or `amx`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
            #[cfg(debug_assertions)]
            Level::Scalar16 => "scalar16",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Level::Amx => "amx",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Scalar => kernel.run(Portable::<2>),
            #[cfg(debug_assertions)]
            Level::Scalar16 => kernel.run(Portable::<4>),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` makes this level only after detecting avx2, fma and f16c.
            Level::Avx2 => unsafe { crate::simd::run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` makes these levels only after detecting avx512f, avx2, fma and f16c.
            Level::Avx512 | Level::Avx512Bf16 => unsafe { crate::simd::run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above, and only after detecting avx512bw, avx512dq and avx512bf16 and after `has_amx`.
            Level::Amx => unsafe { crate::simd::run_avx512_beside_amx(kernel) },
        }
    }

    /// Runs `kernel`, which multiplies pairs of bf16, compiled for this instruction set. Others are compiled once for AVX-512, whatever
    /// it has for bf16.
    #[inline]
    pub(crate) fn run_pairs<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` makes this level only after detecting avx512bf16, avx512bw, avx512dq and what AVX-512 takes.
            Level::Avx512Bf16 => unsafe { crate::simd::run_avx512_bf16(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above, and only after `has_amx`.
            Level::Amx => unsafe { crate::simd::run_amx(kernel) },
            _ => self.run(kernel),
        }
    }

    /// Runs `kernel` compiled for this instruction set. AVX-512 without VNNI has nothing for bytes: there it is AVX2.
    #[inline]
    pub(crate) fn run_integer<K: IntegerKernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Scalar => kernel.run(Portable::<2>),
            #[cfg(debug_assertions)]
            Level::Scalar16 => kernel.run(Portable::<4>),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` makes these levels only after detecting the others, and vnni is detected here.
            Level::Avx512 | Level::Avx512Bf16 | Level::Amx if is_x86_feature_detected!("avx512vnni") => unsafe {
                crate::simd::run_integer_vnni(kernel)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` makes these levels only after detecting avx2, fma and f16c.
            Level::Avx2 | Level::Avx512 | Level::Avx512Bf16 | Level::Amx => unsafe { crate::simd::run_integer_avx2(kernel) },
        }
    }

    /// As [`Isa::run_integer`], with squares of bf16 if the processor has them. Others widen them.
    #[inline]
    pub(crate) fn run_integer_pairs<K: IntegerKernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` makes this level only after `has_amx` and detecting the others, and vnni is detected here.
            Level::Amx if is_x86_feature_detected!("avx512vnni") => unsafe { crate::simd::run_integer_amx(kernel) },
            _ => self.run_integer(kernel),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
