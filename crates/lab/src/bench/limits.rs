//! What the machine reaches when it does nothing else: multiply-adds in registers, and reading.

use super::{Figure, Timing, time, values};
use attendant_core::Processor;
use attendant_core::kernels::limits;
use std::time::{Duration, Instant};

/// Bytes that are read to learn the rate of memory: more than any cache of the processors this is for.
pub const MEMORY: usize = 256 << 20;

/// Working sets whose read rate is measured.
const SETS: [(&str, usize); 4] = [("24 KiB", 24 << 10), ("384 KiB", 384 << 10), ("8 MiB", 8 << 20), ("256 MiB", MEMORY)];

/// Operations a second of f32 multiply-adds.
pub fn operations_per_second(processor: &Processor) -> f64 {
    let mut operations = 0.0;
    let timing = time(Duration::from_millis(150), || operations = limits::multiply_adds(processor.machine()));
    operations / timing.minimum
}

/// Operations a second of products of bf16.
pub fn bf16_operations_per_second(processor: &Processor) -> f64 {
    let mut operations = 0.0;
    let timing = time(Duration::from_millis(150), || operations = limits::bf16_multiply_adds(processor.machine()));
    operations / timing.minimum
}

/// Bytes a second at which `values` are read over and over.
pub fn bytes_per_second(processor: &Processor, values: &[f32]) -> f64 {
    size_of_val(values) as f64 / reading(processor, values).median
}

fn reading(processor: &Processor, values: &[f32]) -> Timing {
    // Many passes between two looks at the clock, so that waking the workers counts for little.
    let passes = ((4 << 20) / size_of_val(values).max(1)).max(1);
    let mut seconds = Vec::new();
    let begin = Instant::now();
    limits::read(processor.machine(), values);
    while seconds.len() < 5 || begin.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        (0..passes).for_each(|_| limits::read(processor.machine(), values));
        seconds.push(start.elapsed().as_secs_f64() / passes as f64);
    }
    Timing::of(seconds)
}

/// All of them.
pub fn figures(processor: &Processor, mut each: impl FnMut(Figure)) {
    let machine = processor.machine();
    for (what, dtype, limit) in
        [("fma", "f32", limits::multiply_adds as fn(_) -> f64), ("dot", "bf16", limits::bf16_multiply_adds)]
    {
        let mut operations = 0.0;
        let timing = time(Duration::from_millis(500), || operations = limit(machine));
        each(Figure { gflops: Some(operations / timing.median / 1e9), ..Figure::new(processor, what, dtype, timing) });
    }
    let memory = values(MEMORY / 4);
    for (name, bytes) in SETS {
        let values = &memory[..bytes / 4];
        let timing = reading(processor, values);
        let mut figure = Figure::new(processor, "read", "f32", timing);
        (figure.variant, figure.gbs) = (Some(name), Some(bytes as f64 / timing.median / 1e9));
        each(figure);
    }
}
