//! Rows in memory, encoded, a head's rows one after another so that an attention streams through them.

use crate::layout::Plane;
use crate::storage::Dtype;
use attendant_core::kernels::attention::{self, Run};
use attendant_core::kernels::int4::Int4;
use attendant_core::kernels::memory::Memory;
use bytemuck::Pod;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// Room for rows of `heads` parts of `part` values.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    heads: usize,
    part: usize,
    rows: usize,
    cells: Cells,
}

/// Values `[heads, rows, part]`, in groups from the first value of a part on; scales `[heads, rows]`.
#[derive(Clone, Debug)]
enum Cells {
    F32(Memory<f32>),
    Bf16(Memory<bf16>),
    F16(Memory<f16>),
    Int8 { values: Memory<i8>, scales: Memory<f32> },
    Int4(Memory<Int4>),
}

/// One head of one row.
struct Part {
    /// Where its values lie in the page.
    cells: Range<usize>,
    /// Where its scale lies in the page.
    scale: usize,
    /// Where its values lie among token-major rows.
    values: Range<usize>,
}

impl Page {
    pub(crate) fn new(plane: &Plane, dtype: Dtype, rows: usize) -> Page {
        let cells = match dtype {
            Dtype::F32 => Cells::F32(Memory::zeroed(rows * plane.width)),
            Dtype::Bf16 => Cells::Bf16(Memory::zeroed(rows * plane.width)),
            Dtype::F16 => Cells::F16(Memory::zeroed(rows * plane.width)),
            Dtype::Int8 => Cells::Int8 { values: Memory::zeroed(rows * plane.width), scales: Memory::zeroed(rows * plane.heads) },
            Dtype::Int4 => Cells::Int4(Memory::zeroed(rows * plane.heads * Dtype::groups(plane.width / plane.heads))),
        };
        Page { heads: plane.heads, part: plane.width / plane.heads, rows, cells }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.cells {
            Cells::F32(values) => size_of_val(&**values),
            Cells::Bf16(values) => size_of_val(&**values),
            Cells::F16(values) => size_of_val(&**values),
            Cells::Int8 { values, scales } => size_of_val(&**values) + size_of_val(&**scales),
            Cells::Int4(groups) => size_of_val(&**groups),
        }
    }

    fn parts(&self, at: usize, count: usize) -> impl Iterator<Item = Part> + use<> {
        let &Page { heads, part, rows, .. } = self;
        (0..count * heads).map(move |i| {
            let scale = i % heads * rows + at + i / heads;
            Part { cells: scale * part..(scale + 1) * part, scale, values: i * part..(i + 1) * part }
        })
    }

    /// Encodes token-major rows into rows `at ..`.
    pub(crate) fn encode(&mut self, at: usize, rows: &[f32]) {
        let part = self.part;
        for Part { cells, scale, values } in self.parts(at, rows.len() / (self.heads * self.part)) {
            let from = &rows[values];
            match &mut self.cells {
                Cells::F32(to) => to[cells].copy_from_slice(from),
                Cells::Bf16(to) => to[cells].convert_from_f32_slice(from),
                Cells::F16(to) => to[cells].convert_from_f32_slice(from),
                Cells::Int8 { values, scales } => scales[scale] = quantise(from, &mut values[cells]),
                Cells::Int4(groups) => {
                    let from = from.chunks(Int4::VALUES).map(Int4::nearest);
                    groups[group_range(scale, part)].iter_mut().zip(from).for_each(|(to, from)| *to = from);
                }
            }
        }
    }

    /// Decodes rows `at ..` into token-major rows.
    pub(crate) fn decode(&self, at: usize, rows: &mut [f32]) {
        let part = self.part;
        for Part { cells, scale, values } in self.parts(at, rows.len() / (self.heads * self.part)) {
            let to = &mut rows[values];
            match &self.cells {
                Cells::F32(from) => to.copy_from_slice(&from[cells]),
                Cells::Bf16(from) => from[cells].convert_to_f32_slice(to),
                Cells::F16(from) => from[cells].convert_to_f32_slice(to),
                Cells::Int8 { values, scales } => {
                    to.iter_mut().zip(&values[cells]).for_each(|(to, &from)| *to = f32::from(from) * scales[scale]);
                }
                Cells::Int4(groups) => {
                    for (to, group) in to.chunks_mut(Int4::VALUES).zip(&groups[group_range(scale, part)]) {
                        to.iter_mut().enumerate().for_each(|(i, to)| *to = group.value(i));
                    }
                }
            }
        }
    }

    /// Appends `count` rows from `at` on to `bytes` as they are stored, little-endian, token-major: for each head its scale
    /// if there are scales, then its values.
    pub(crate) fn save(&self, at: usize, count: usize, bytes: &mut Vec<u8>) {
        let part = self.part;
        for Part { cells, scale, .. } in self.parts(at, count) {
            match &self.cells {
                Cells::F32(from) => bytes.extend(from[cells].iter().flat_map(|x| x.to_le_bytes())),
                Cells::Bf16(from) => bytes.extend(from[cells].iter().flat_map(|x| x.to_le_bytes())),
                Cells::F16(from) => bytes.extend(from[cells].iter().flat_map(|x| x.to_le_bytes())),
                Cells::Int8 { values, scales } => {
                    bytes.extend(scales[scale].to_le_bytes());
                    bytes.extend(values[cells].iter().flat_map(|x| x.to_le_bytes()));
                }
                Cells::Int4(groups) => {
                    for Int4 { step, pairs } in &groups[group_range(scale, part)] {
                        bytes.extend(step.to_le_bytes());
                        bytes.extend(pairs);
                    }
                }
            }
        }
    }

    /// The opposite of [`Page::save`]: takes whole rows.
    pub(crate) fn load(&mut self, at: usize, count: usize, mut bytes: &[u8]) {
        let part = self.part;
        for Part { cells, scale, .. } in self.parts(at, count) {
            match &mut self.cells {
                Cells::F32(to) => to[cells].iter_mut().for_each(|x| *x = f32::from_le_bytes(take(&mut bytes))),
                Cells::Bf16(to) => to[cells].iter_mut().for_each(|x| *x = bf16::from_le_bytes(take(&mut bytes))),
                Cells::F16(to) => to[cells].iter_mut().for_each(|x| *x = f16::from_le_bytes(take(&mut bytes))),
                Cells::Int8 { values, scales } => {
                    scales[scale] = f32::from_le_bytes(take(&mut bytes));
                    values[cells].iter_mut().for_each(|x| *x = i8::from_le_bytes(take(&mut bytes)));
                }
                Cells::Int4(groups) => {
                    for group in &mut groups[group_range(scale, part)] {
                        *group = Int4 { step: bf16::from_le_bytes(take(&mut bytes)), pairs: take(&mut bytes) };
                    }
                }
            }
        }
    }

    /// The same rows with room for `rows`.
    pub(crate) fn grown(&self, rows: usize) -> Page {
        let (heads, width) = (self.heads, self.heads * self.part);
        let cells = match &self.cells {
            Cells::F32(values) => Cells::F32(spread(values, heads, rows * width)),
            Cells::Bf16(values) => Cells::Bf16(spread(values, heads, rows * width)),
            Cells::F16(values) => Cells::F16(spread(values, heads, rows * width)),
            Cells::Int8 { values, scales } => {
                Cells::Int8 { values: spread(values, heads, rows * width), scales: spread(scales, heads, rows * heads) }
            }
            Cells::Int4(groups) => Cells::Int4(spread(groups, heads, rows * heads * Dtype::groups(self.part))),
        };
        Page { rows, cells, ..*self }
    }

    /// Rows `at .. at + count`, the first of them at position `first`, in place.
    pub(crate) fn run(&self, at: usize, count: usize, first: usize) -> Run<'_> {
        let start = at * self.part;
        let data = match &self.cells {
            Cells::F32(values) => attention::Cells::F32(&values[start..]),
            Cells::Bf16(values) => attention::Cells::Bf16(&values[start..]),
            Cells::F16(values) => attention::Cells::F16(&values[start..]),
            Cells::Int8 { values, scales } => {
                attention::Cells::Int8 { values: &values[start..], scales: &scales[at..], scale_stride: self.rows }
            }
            Cells::Int4(groups) => attention::Cells::Int4(&groups[at * Dtype::groups(self.part)..]),
        };
        Run::by_head(first, count, data, self.rows, self.part)
    }

    /// The values, one head after the other, of a page in f32.
    ///
    /// # Panics
    /// If it is in another type.
    pub(crate) fn values(&self) -> &[f32] {
        match &self.cells {
            Cells::F32(values) => values,
            _ => panic!("constant planes are f32"),
        }
    }
}

/// `heads` equal stretches, each with more room after it.
fn spread<T: Pod>(from: &[T], heads: usize, count: usize) -> Memory<T> {
    let mut to = Memory::zeroed(count);
    let (old, new) = (from.len() / heads, count / heads);
    for head in 0..heads {
        to[head * new..][..old].copy_from_slice(&from[head * old..][..old]);
    }
    to
}

/// Symmetric, to the nearest of 255 steps; gives the step. With a step of 0 quotients mean nothing, but then all reads back
/// as 0, and so do the values that are too small to have a step.
fn quantise(from: &[f32], to: &mut [i8]) -> f32 {
    let largest = from.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let step = if from.iter().all(|x| x.is_finite()) { largest / 127.0 } else { f32::NAN };
    to.iter_mut().zip(from).for_each(|(to, x)| *to = (x / step).round_ties_even().clamp(-127.0, 127.0) as i8);
    step
}

/// Where the groups of a part lie: of part number `at`, whose width is `part`.
fn group_range(at: usize, part: usize) -> Range<usize> {
    let groups = Dtype::groups(part);
    at * groups..(at + 1) * groups
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("the caller gives whole rows");
    *bytes = rest;
    *head
}
