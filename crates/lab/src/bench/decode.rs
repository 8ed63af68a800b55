//! One new token over a long cache, in every type that a cache is kept in: what is measured is how fast stored keys and values
//! are read. Each stored byte counts once.
//!
//! Over bf16 and int8 queries and weights are rounded to bf16, as other programs do; else they are f32.
//!
//! Rotated, calls go round caches of 256 MiB together, so that each comes from memory; warm, it is one cache again and again.

use super::attention::{HEADS, Shapes};
use super::{Figure, Timing, limits, values, zeros};
use attendant_core::kernels::attention::{Attention, Cells, Run, Sequence, forward, forward_scratch};
use attendant_core::kernels::int4::Int4;
use attendant_core::kernels::memory::Memory;
use attendant_core::{Precision, Processor};
use bytemuck::Pod;
use half::{bf16, f16};
use std::time::{Duration, Instant};

/// Types of a cache.
pub const DTYPES: [&str; 5] = ["f32", "bf16", "f16", "int8", "int4"];

/// Heads, latent width and rotated width of latent attention.
const LATENT: (usize, usize, usize) = (16, 512, 64);

/// One sequence's keys or values: head after head, in one type.
enum Stored {
    F32(Memory<f32>),
    Bf16(Memory<bf16>),
    F16(Memory<f16>),
    Int8(Memory<i8>, Vec<f32>),
    Int4(Memory<Int4>),
}

impl Stored {
    fn new(dtype: &str, rows: usize, width: usize) -> Stored {
        let data = values(rows * width);
        match dtype {
            "bf16" => Stored::Bf16(stored(&data, bf16::from_f32)),
            "f16" => Stored::F16(stored(&data, f16::from_f32)),
            "int8" => Stored::Int8(stored(&data, |x| (x * 127.0) as i8), vec![1.0 / 127.0; rows]),
            "int4" => {
                let rows = data.chunks(width).flat_map(|row| row.chunks(Int4::VALUES).map(Int4::nearest));
                Stored::Int4(Memory::from(&rows.collect::<Vec<_>>()[..]))
            }
            _ => Stored::F32(Memory::from(&data[..])),
        }
    }

    fn cells(&self, length: usize) -> Cells<'_> {
        match self {
            Stored::F32(values) => Cells::F32(values),
            Stored::Bf16(values) => Cells::Bf16(values),
            Stored::F16(values) => Cells::F16(values),
            Stored::Int8(values, scales) => Cells::Int8 { values, scales, scale_stride: length },
            Stored::Int4(groups) => Cells::Int4(groups),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Stored::F32(values) => size_of_val(&values[..]),
            Stored::Bf16(values) => size_of_val(&values[..]),
            Stored::F16(values) => size_of_val(&values[..]),
            Stored::Int8(values, scales) => size_of_val(&values[..]) + size_of_val(&scales[..]),
            Stored::Int4(groups) => size_of_val(&groups[..]),
        }
    }
}

/// Each value in another type, in the memory that caches have.
fn stored<T: Pod>(values: &[f32], one: impl Fn(f32) -> T) -> Memory<T> {
    let mut memory = Memory::zeroed(values.len());
    memory.iter_mut().zip(values).for_each(|(to, &from)| *to = one(from));
    memory
}

/// Grouped attention: every combination, for every type and batch.
pub fn figures(
    processor: &Processor,
    shapes: &Shapes,
    dtypes: &[&'static str],
    batches: &[usize],
    budget: Duration,
    mut each: impl FnMut(Figure),
) {
    for &batch in batches {
        for (&d, &kv) in shapes.widths.iter().flat_map(|d| shapes.kv_heads.iter().map(move |kv| (d, kv))) {
            for (&length, &dtype) in shapes.lengths.iter().flat_map(|length| dtypes.iter().map(move |dtype| (length, dtype))) {
                let caches = |copies| (0..2 * copies * batch).map(|_| Stored::new(dtype, length * kv, d)).collect();
                let spec = Attention { precision: precision(dtype), ..Attention::causal(HEADS, kv, d) };
                let call = Call { spec, length, batch, planes: 2 };
                for figure in call.figures(processor, "decode", dtype, budget, caches) {
                    let operations = (4 * batch * HEADS * length * d) as f64;
                    let gflops = Some(operations / figure.ms / 1e6);
                    each(Figure { kv: Some(kv), d: Some(d), length: Some(length), batch: Some(batch), gflops, ..figure });
                }
            }
        }
    }
}

/// Absorbed latent attention: values are the first part of the keys' rows.
pub fn latent_figures(
    processor: &Processor,
    lengths: &[usize],
    dtypes: &[&'static str],
    batches: &[usize],
    budget: Duration,
    mut each: impl FnMut(Figure),
) {
    let (heads, latent, rotated) = LATENT;
    let width = latent + rotated;
    for &batch in batches {
        for (&length, &dtype) in lengths.iter().flat_map(|length| dtypes.iter().map(move |dtype| (length, dtype))) {
            let caches = |copies| (0..copies * batch).map(|_| Stored::new(dtype, length, width)).collect();
            let spec = Attention { d_v: latent, precision: precision(dtype), ..Attention::causal(heads, 1, width) };
            let call = Call { spec, length, batch, planes: 1 };
            for figure in call.figures(processor, "mla", dtype, budget, caches) {
                let operations = (2 * batch * heads * length * (width + latent)) as f64;
                let gflops = Some(operations / figure.ms / 1e6);
                each(Figure { length: Some(length), batch: Some(batch), gflops, ..figure });
            }
        }
    }
}

fn precision(dtype: &str) -> Precision {
    if matches!(dtype, "bf16" | "int8") { Precision::Bf16 } else { Precision::F32 }
}

/// One token for each of `batch` sequences.
struct Call {
    spec: Attention<'static>,
    length: usize,
    batch: usize,
    /// Planes of a sequence: keys and values, or one that is both.
    planes: usize,
}

impl Call {
    /// Rotated, and warm if that is something else.
    fn figures(
        &self,
        processor: &Processor,
        what: &'static str,
        dtype: &'static str,
        budget: Duration,
        caches: impl Fn(usize) -> Vec<Stored>,
    ) -> Vec<Figure> {
        let one = caches(1);
        let bytes: usize = one.iter().map(Stored::bytes).sum();
        let copies = limits::MEMORY.div_ceil(bytes);
        let memory = values(bytes.max(limits::MEMORY) / 4);
        let mut figures = Vec::new();
        for (variant, caches, read) in [("warm", one, bytes), ("rotated", caches(copies), memory.len() * 4)] {
            if variant == "warm" && copies == 1 {
                continue;
            }
            let read = &memory[..read / 4];
            let before = limits::bytes_per_second(processor, read);
            let timing = self.time(processor, &caches, budget);
            let ceiling = (before + limits::bytes_per_second(processor, read)) / 2.0;
            let figure = Figure::new(processor, what, dtype, timing).bytes(bytes as f64, ceiling);
            figures.push(Figure { variant: Some(variant), ..figure });
        }
        figures
    }

    /// Calls that go round the caches.
    fn time(&self, processor: &Processor, caches: &[Stored], budget: Duration) -> Timing {
        let (machine, spec, length) = (processor.machine(), &self.spec, self.length);
        let runs: Vec<_> =
            caches.iter().map(|stored| [Run::by_head(0, length, stored.cells(length), length, spec.d_qk)]).collect();
        let calls: Vec<Vec<Sequence<'_>>> = runs
            .chunks(self.planes * self.batch)
            .map(|runs| {
                runs.chunks(self.planes)
                    .enumerate()
                    .map(|(i, planes)| Sequence {
                        rows: i..i + 1,
                        q_first: length - 1,
                        k_end: length,
                        keys: &planes[0],
                        values: &planes[self.planes - 1],
                    })
                    .collect()
            })
            .collect();
        let q = values(self.batch * spec.heads * spec.d_qk);
        let mut out = zeros(self.batch * spec.heads * spec.d_v);
        let mut scratch = zeros(forward_scratch(spec, &calls[0], machine.executor.workers()));
        let (begin, mut seconds) = (Instant::now(), Vec::new());
        for sequences in calls.iter().cycle() {
            let start = Instant::now();
            forward(machine, spec, sequences, &q, &mut out, None, &mut scratch);
            seconds.push(start.elapsed().as_secs_f64());
            if seconds.len() > calls.len().max(5) && begin.elapsed() > budget {
                break;
            }
        }
        // The first round only brings pages in.
        Timing::of(seconds.split_off(calls.len().min(seconds.len() - 1)))
    }
}
