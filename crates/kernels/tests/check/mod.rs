//! What the tests of this crate share: seeded random numbers, the error metric, and machines to run on.
// Each test file is a crate that uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use attendant_kernels::{Executor, Inline, Isa, Machine, Pool};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sizes that are no multiple of a vector, or just beside one.
pub const ODD: &[usize] = if INTERPRETED { &[1, 3, 17] } else { &[1, 3, 17, 63, 65, 100] };

/// Whether an interpreter runs the tests (`cargo miri test`), some thousand times as slow as the processor: then a test sees one
/// random case, small sizes and one instruction set.
pub const INTERPRETED: bool = cfg!(miri);

/// Whether an emulator computes each instruction of the tests (`cargo x emulate`), some hundred times as slow as the processor: then a
/// test sees the one instruction set that is emulated.
pub const EMULATED: bool = cfg!(emulated);

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn in_range(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        let choices = range.end() - range.start() + 1;
        range.start() + self.below(if INTERPRETED { choices.min(9) } else { choices })
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// Uniform with mean 0 and variance 1.
    pub fn value(&mut self) -> f32 {
        ((self.bits() >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 12f32.sqrt()
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// A size as a test wants it; where an interpreter runs it, at most 13: some tiles of rows or vectors of columns, and a part of one.
pub fn affordable(size: usize) -> usize {
    if INTERPRETED { size.min(13) } else { size }
}

/// A length that is cut into several work items.
pub const LONG: usize = if INTERPRETED { 150 } else { 50_001 };

/// All of the shapes, which begin with the smallest; where an interpreter runs the tests, the first two.
pub fn shapes<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    all.into_iter().take(if INTERPRETED { 2 } else { usize::MAX })
}

/// Runs `test` with `cases` generators, all of them from one seed. The seed is new each time and printed if the test fails, with
/// the case; `ATTENDANT_SEED` repeats one.
pub fn for_random_cases(cases: u64, test: impl Fn(&mut Random)) {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
    let seed: u64 = std::env::var("ATTENDANT_SEED")
        .map_or_else(|_| clock(), |seed| seed.parse().unwrap_or_else(|_| panic!("ATTENDANT_SEED: want a number, got {seed:?}")));
    for case in 0..if INTERPRETED { 1 } else { cases } {
        println!("ATTENDANT_SEED={seed}, case {case}");
        test(&mut Random(Random(seed.wrapping_add(case)).bits()));
    }
}

/// Bounds of RMS(got - want) / RMS(want) for f32 kernels against f64 sums. The unit roundoff is 6e-8.
pub mod bound {
    /// One sum of up to a few thousand products of mixed sign: roundings grow as the square root of their number.
    pub const PRODUCT: f64 = 2e-6;
    /// Two products with a softmax between them, whose scores carry absolute errors into its exponents.
    pub const ATTENTION: f64 = 4e-6;
    /// Gradients: five products, and differences of sums that partly cancel.
    pub const ATTENTION_GRADIENT: f64 = 1e-5;
    /// As [`ATTENTION`] with operands of bf16, which the twin rounds as well: of 10,000 weights a few fall on another side of the middle
    /// between two bf16, which are up to 2^-7 of themselves apart.
    pub const ATTENTION_BF16: f64 = 3e-4;
    /// As [`ATTENTION_GRADIENT`], likewise; outputs that are off as above make some more fall on another side.
    pub const ATTENTION_GRADIENT_BF16: f64 = 1e-3;
    /// Attention of bf16 against that of f32, with five roundings of up to 2^-8 on the way.
    pub const BF16_FOR_F32: f64 = 1e-2;
}

/// # Panics
/// If RMS(got - want) / RMS(want) exceeds `bound` or anything is not a number; the message has the worst index.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], bound: f64) {
    assert_close_at(what, got, want, 0.0, bound);
}

/// As [`assert_close`], but errors are relative to `scale` where RMS(want) is below it: for few sums of many terms, which may
/// cancel.
#[track_caller]
pub fn assert_close_at(what: &str, got: &[f32], want: &[f32], scale: f64, bound: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let (mut error, mut norm, mut worst) = (0.0, 0.0f64, (0.0, 0));
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        if got == want {
            // Also equal infinities, whose difference is not a number.
            norm += if want.is_finite() { f64::from(want).powi(2) } else { 0.0 };
            continue;
        }
        let off = (f64::from(got) - f64::from(want)).abs();
        assert!(off.is_finite(), "{what}: at {i} got {got}, want {want}");
        error += off * off;
        norm += f64::from(want).powi(2);
        if off > worst.0 {
            worst = (off, i);
        }
    }
    let norm = norm.max(scale * scale * got.len() as f64);
    let relative = if error == 0.0 { 0.0 } else { (error / norm).sqrt() };
    let i = worst.1;
    assert!(relative <= bound, "{what}: error {relative:.2e} above {bound:.0e}; worst at {i}: got {}, want {}", got[i], want[i]);
}

/// # Panics
/// If a bit differs.
#[track_caller]
pub fn assert_same_bits(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let differs = got.iter().zip(want).position(|(got, want)| got.to_bits() != want.to_bits());
    if let Some(i) = differs {
        panic!("{what}: at {i} got {}, want {}", got[i], want[i]);
    }
}

/// Two workers, whatever the machine has.
pub static TWO: LazyLock<Pool> = LazyLock::new(|| Pool::new(2));

/// Every instruction set of this processor.
pub fn instruction_sets() -> Vec<Isa> {
    match (INTERPRETED, EMULATED) {
        (true, _) => vec![Isa::SCALAR],
        (_, true) => vec![Isa::best()],
        _ => Isa::available(),
    }
}

/// Every instruction set, each on one thread and on two.
pub fn machines() -> Vec<Machine<'static>> {
    let executors: [&dyn Executor; 2] = [&Inline, &*TWO];
    instruction_sets().into_iter().flat_map(|isa| executors.map(|executor| Machine { isa, executor })).collect()
}

/// Every instruction set on one thread.
pub fn inline_machines() -> Vec<Machine<'static>> {
    instruction_sets().into_iter().map(|isa| Machine { isa, executor: &Inline }).collect()
}

/// Values that nothing may read: NaN, of which every byte is the same, so that an interpreter fills them in one go.
pub fn poison(n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    bytemuck::cast_slice_mut::<f32, u8>(&mut values).fill(0xff);
    values
}
