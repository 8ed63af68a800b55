//! Rates of kernels and of a training step, each beside what the machine itself reached just before and after.

pub mod attention;
pub mod decode;
pub mod limits;
pub mod model;
pub mod product;
pub mod quant;
pub mod scan;
pub mod train;

use attendant_core::Processor;
use attendant_core::kernels::memory::Memory;
use serde::Serialize;
use std::time::{Duration, Instant};

/// One measured rate. In JSON only the fields that apply are there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figure {
    /// Whose.
    pub peer: &'static str,
    /// The work.
    pub what: &'static str,
    /// How it was set up, where there are several ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<&'static str>,
    /// The type that operands are stored in.
    pub dtype: &'static str,
    /// Key heads, under 32 query heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv: Option<usize>,
    /// Width of a head.
    #[serde(rename = "D", skip_serializing_if = "Option::is_none")]
    pub d: Option<usize>,
    /// Length.
    #[serde(rename = "L", skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Sequences.
    #[serde(rename = "B", skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Shape of a product, m x n x k.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Threads.
    pub threads: usize,
    /// The instruction set.
    pub isa: &'static str,
    /// Milliseconds, median.
    pub ms: f64,
    /// Milliseconds, minimum.
    pub min_ms: f64,
    /// Calls measured.
    pub n: usize,
    /// 10^9 operations a second, from the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops: Option<f64>,
    /// 10^9 bytes of keys and values read a second, from the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gbs: Option<f64>,
    /// Tokens a second, from the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// What the machine reached at the same time: in operations or in bytes, as the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
    /// The rate over the ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Median and minimum differ by more than 15%: something else ran.
    pub disturbed: bool,
}

/// What several calls took, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub minimum: f64,
    /// How many.
    pub calls: usize,
}

impl Timing {
    /// Of times taken elsewhere.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(mut seconds: Vec<f64>) -> Timing {
        seconds.sort_by(f64::total_cmp);
        Timing { median: seconds[seconds.len() / 2], minimum: seconds[0], calls: seconds.len() }
    }

    /// Whether median and minimum differ by more than 15%.
    pub fn disturbed(&self) -> bool {
        self.median > 1.15 * self.minimum
    }
}

/// Times calls, after one to warm up, until `budget` has passed and there were at least 5.
pub fn time(budget: Duration, mut call: impl FnMut()) -> Timing {
    call();
    let (begin, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || begin.elapsed() < budget {
        let start = Instant::now();
        call();
        seconds.push(start.elapsed().as_secs_f64());
    }
    Timing::of(seconds)
}

impl Figure {
    fn new(processor: &Processor, what: &'static str, dtype: &'static str, timing: Timing) -> Figure {
        Figure {
            peer: "attendant",
            what,
            dtype,
            threads: processor.threads(),
            isa: processor.isa().name(),
            ms: timing.median * 1e3,
            min_ms: timing.minimum * 1e3,
            n: timing.calls,
            disturbed: timing.disturbed(),
            ..Figure::default()
        }
    }

    /// With `operations` a call, beside a ceiling in operations a second.
    fn operations(self, operations: f64, ceiling: f64) -> Figure {
        let rate = operations / self.ms / 1e6;
        Figure { gflops: Some(rate), ceiling: Some(ceiling / 1e9), share: Some(rate * 1e9 / ceiling), ..self }
    }

    /// With `bytes` a call, beside a ceiling in bytes a second.
    fn bytes(self, bytes: f64, ceiling: f64) -> Figure {
        let rate = bytes / self.ms / 1e6;
        Figure { gbs: Some(rate), ceiling: Some(ceiling / 1e9), share: Some(rate * 1e9 / ceiling), ..self }
    }
}

/// Values that are neither all alike nor special.
fn values(count: usize) -> Memory<f32> {
    let mut values = zeros(count);
    for (i, value) in values.iter_mut().enumerate() {
        *value = (i * 7919 % 10007) as f32 / 5003.5 - 1.0;
    }
    values
}

/// Room on cache lines, as buffers of the tape are.
fn zeros(count: usize) -> Memory<f32> {
    Memory::zeroed(count)
}
