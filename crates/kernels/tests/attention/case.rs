//! Random calls: specifications, ragged sequences, and keys and values cut into runs in any layout.

use crate::check::{INTERPRETED, Random, affordable, poison};
use attendant_kernels::attention::{Attention, Cells, DistanceBias, Run, Sequence, Visible, forward, forward_scratch};
use attendant_kernels::int4::Int4;
use attendant_kernels::{Machine, Precision, naive};
use half::{bf16, f16};
use std::ops::Range;

/// An [`Attention`] that owns its tables.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) d_qk: usize,
    pub(crate) d_v: usize,
    pub(crate) scale: f32,
    pub(crate) visible: Visible,
    pub(crate) softcap: Option<f32>,
    pub(crate) bias: Option<(Vec<f32>, isize, usize)>,
    pub(crate) sink: Option<Vec<f32>>,
    pub(crate) precision: Precision,
}

impl Spec {
    pub(crate) fn random(random: &mut Random) -> Spec {
        let [kv_heads, group] = if INTERPRETED {
            random.pick(&[[1, 1], [1, 2], [2, 1]])
        } else {
            [random.pick(&[1, 1, 2, 3]), random.pick(&[1, 1, 2, 3, 5])]
        };
        let heads = kv_heads * group;
        let [d_qk, d_v] = [random.pick(&[1, 3, 8, 17, 32, 40]), random.pick(&[1, 3, 8, 17, 32, 70])].map(affordable);
        Spec {
            heads,
            kv_heads,
            d_qk,
            d_v,
            scale: random.pick(&[1.0, 0.3, -0.5]) / (d_qk as f32).sqrt(),
            visible: any_visible(random),
            softcap: random.chance(3).then(|| random.pick(&[0.5, 2.0, 30.0])),
            bias: random.chance(3).then(|| (random.values(heads * 1000), -600, 1000)),
            sink: random.chance(3).then(|| random.values(heads)),
            precision: Precision::F32,
        }
    }

    pub(crate) fn view(&self) -> Attention<'_> {
        Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_qk: self.d_qk,
            d_v: self.d_v,
            scale: self.scale,
            visible: self.visible,
            softcap: self.softcap,
            bias: self.bias.as_ref().map(|(table, first, width)| DistanceBias { table, first: *first, width: *width }),
            sink: self.sink.as_deref(),
            precision: self.precision,
        }
    }

    /// Whether any of the queries at `positions` sees the key at `k_pos`.
    pub(crate) fn sees(&self, positions: Range<usize>, k_end: usize, k_pos: usize) -> bool {
        positions.into_iter().any(|q_pos| self.visible.spans(q_pos, k_end).iter().any(|span| span.contains(&k_pos)))
    }
}

pub(crate) fn any_visible(random: &mut Random) -> Visible {
    let n = random.pick(&[1, 2, 5, 16, 64, 100, 150]);
    let keep = random.pick(&[0, 0, 1, 4, 20, 130]);
    random.pick(&[
        Visible::All,
        Visible::Causal,
        Visible::Causal,
        Visible::Window { window: n, keep },
        Visible::Chunk(n),
        Visible::Prefix(n),
        Visible::Near(n),
    ])
}

/// Rows at consecutive positions, stored somehow.
pub(crate) struct Stored {
    first: usize,
    rows: usize,
    data: Data,
    row_stride: usize,
    head_stride: usize,
}

enum Data {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
    /// Values, scales, and how far the scales of heads are apart.
    Int8(Vec<i8>, Vec<f32>, usize),
    Int4(Vec<Int4>),
}

impl Data {
    /// In one of the types, of which those of fewer bits keep what they can.
    fn random(random: &mut Random, data: Vec<f32>, heads: usize, rows: usize) -> Data {
        let kind = random.pick(&["f32", "bf16", "f16", "int8"]);
        Data::of(kind, random, data, heads, rows)
    }

    fn of(kind: &str, random: &mut Random, data: Vec<f32>, heads: usize, rows: usize) -> Data {
        match kind {
            "f32" => Data::F32(data),
            "bf16" => Data::Bf16(data.into_iter().map(bf16::from_f32).collect()),
            "f16" => Data::F16(data.into_iter().map(f16::from_f32).collect()),
            _ => {
                let scale_stride = rows + random.pick(&[0, 3]);
                let scales = random.values(heads * scale_stride).into_iter().map(|x| x / 50.0).collect();
                Data::Int8(data.into_iter().map(|x| (x * 50.0) as i8).collect(), scales, scale_stride)
            }
        }
    }

    fn cells(&self) -> Cells<'_> {
        match self {
            Data::F32(data) => Cells::F32(data),
            Data::Bf16(data) => Cells::Bf16(data),
            Data::F16(data) => Cells::F16(data),
            Data::Int8(values, scales, scale_stride) => Cells::Int8 { values, scales, scale_stride: *scale_stride },
            Data::Int4(groups) => Cells::Int4(groups),
        }
    }
}

/// Keys or values of one sequence: `[positions, heads, width]`, and the same in runs.
pub(crate) struct Plane {
    pub(crate) dense: Vec<f32>,
    pub(crate) runs: Vec<Stored>,
    heads: usize,
    width: usize,
}

impl Plane {
    pub(crate) fn new(dense: Vec<f32>, heads: usize, width: usize) -> Plane {
        let rows = dense.len() / (heads * width);
        let whole = Stored { first: 0, rows, data: Data::F32(dense.clone()), row_stride: heads * width, head_stride: width };
        Plane { dense, runs: vec![whole], heads, width }
    }

    /// Stores the positions that are `needed`, and some of the others, in f32, in runs of random lengths and layouts.
    pub(crate) fn scatter(&mut self, random: &mut Random, needed: impl Fn(usize) -> bool) {
        let positions = self.dense.len() / (self.heads * self.width);
        self.runs.clear();
        let mut first = 0;
        while first < positions {
            let rows = random.pick(&[1, 2, 7, 16, 16, 64, 200]).min(positions - first);
            if !needed(first) && random.chance(2) {
                first += 1;
                continue;
            }
            // Now and then a run without rows, which is nothing.
            if random.chance(4) {
                self.runs.push(self.store(random, first, 0));
            }
            self.runs.push(self.store(random, first, rows));
            first += rows;
        }
    }

    fn store(&self, random: &mut Random, first: usize, rows: usize) -> Stored {
        let gap = random.pick(&[0, 3]);
        let (row_stride, head_stride) = match random.chance(2) {
            true => (self.heads * self.width + gap, self.width),
            false => (self.width + gap, rows * (self.width + gap)),
        };
        let mut data = poison((self.heads - 1) * head_stride + rows * row_stride + self.width);
        for row in 0..rows {
            for head in 0..self.heads {
                let from = &self.dense[((first + row) * self.heads + head) * self.width..][..self.width];
                data[head * head_stride + row * row_stride..][..self.width].copy_from_slice(from);
            }
        }
        Stored { first, rows, data: Data::F32(data), row_stride, head_stride }
    }

    /// Stores each run anew in a type at random. `dense` is then no longer what is stored.
    pub(crate) fn encode(&mut self, random: &mut Random) {
        let mut runs = std::mem::take(&mut self.runs);
        for stored in &mut runs {
            if random.chance(5) {
                *stored = self.grouped(random, stored.first, stored.rows);
            } else if let Data::F32(data) = &mut stored.data {
                stored.data = Data::random(random, std::mem::take(data), self.heads, stored.rows);
            }
        }
        self.runs = runs;
    }

    /// Stores each run anew in one type.
    pub(crate) fn encode_as(&mut self, kind: &str, random: &mut Random) {
        for stored in &mut self.runs {
            if let Data::F32(data) = &mut stored.data {
                stored.data = Data::of(kind, random, std::mem::take(data), self.heads, stored.rows);
            }
        }
    }

    /// Makes the scale of the last row no number, of bytes of one head.
    pub(crate) fn spoil_last_scale(&mut self) {
        let last = self.runs.last_mut().expect("a run");
        let Data::Int8(_, scales, _) = &mut last.data else { panic!("rows of bytes have scales") };
        scales[last.rows - 1] = f32::NAN;
    }

    /// Rows in groups of four-bit values; groups of no row have a step that is not a number.
    fn grouped(&self, random: &mut Random, first: usize, rows: usize) -> Stored {
        let groups = self.width.div_ceil(Int4::VALUES);
        let row_stride = groups + random.pick(&[0, 3]);
        let head_stride = rows * row_stride;
        let mut data = vec![Int4 { step: bf16::NAN, ..Int4::default() }; self.heads * head_stride];
        for (row, head) in (0..rows).flat_map(|row| (0..self.heads).map(move |head| (row, head))) {
            let from = &self.dense[((first + row) * self.heads + head) * self.width..][..self.width];
            let to = &mut data[head * head_stride + row * row_stride..][..groups];
            to.iter_mut().zip(from.chunks(Int4::VALUES)).for_each(|(to, from)| *to = Int4::nearest(from));
        }
        Stored { first, rows, data: Data::Int4(data), row_stride, head_stride }
    }

    pub(crate) fn views(&self) -> Vec<Run<'_>> {
        let view = |stored: &'_ Stored| (stored.first, stored.rows, stored.row_stride, stored.head_stride);
        self.runs
            .iter()
            .map(|stored| {
                let (first, rows, row_stride, head_stride) = view(stored);
                Run { first, rows, data: stored.data.cells(), row_stride, head_stride }
            })
            .collect()
    }
}

/// One sequence and what it holds.
pub(crate) struct Sequenced {
    pub(crate) rows: Range<usize>,
    pub(crate) q_first: usize,
    pub(crate) k_end: usize,
    pub(crate) keys: Plane,
    pub(crate) values: Plane,
}

/// A whole call.
pub(crate) struct Case {
    pub(crate) spec: Spec,
    pub(crate) q: Vec<f32>,
    pub(crate) sequences: Vec<Sequenced>,
}

impl Case {
    pub(crate) fn random(random: &mut Random) -> Case {
        let spec = Spec::random(random);
        let mut sequences = Vec::new();
        let mut rows = 0;
        for _ in 0..random.in_range(1..=if INTERPRETED { 2 } else { 4 }) {
            let t = affordable(random.pick(&[0, 1, 2, 5, 8, 9, 17, 63, 65, 100, 200]));
            let q_first = affordable(random.pick(&[0, 0, 1, 40, 150]));
            let k_end = if random.chance(2) { q_first + t } else { random.in_range(0..=q_first + t + 20) };
            // Now and then rows that belong to nobody.
            rows += random.pick(&[0, 0, 2]);
            sequences.push(Sequenced::random(random, &spec, rows..rows + t, q_first, k_end));
            rows += t;
        }
        let q = random.values(rows * spec.heads * spec.d_qk);
        Case { spec, q, sequences }
    }

    pub(crate) fn rows(&self) -> usize {
        self.q.len() / (self.spec.heads * self.spec.d_qk)
    }

    /// `out` and `lse`, from poisoned buffers.
    pub(crate) fn forward(&self, machine: Machine<'_>) -> (Vec<f32>, Vec<f32>) {
        self.call(|spec, sequences, q, out, lse| {
            let mut scratch = poison(forward_scratch(spec, sequences, machine.executor.workers()));
            forward(machine, spec, sequences, q, out, Some(lse), &mut scratch);
        })
    }

    pub(crate) fn twin(&self) -> (Vec<f32>, Vec<f32>) {
        self.call(|spec, sequences, q, out, lse| naive::attention_forward(spec, sequences, q, out, Some(lse)))
    }

    fn call(&self, f: impl FnOnce(&Attention<'_>, &[Sequence<'_>], &[f32], &mut [f32], &mut [f32])) -> (Vec<f32>, Vec<f32>) {
        let mut out = poison(self.rows() * self.spec.heads * self.spec.d_v);
        let mut lse = poison(self.rows() * self.spec.heads);
        self.described(|spec, sequences, q| f(spec, sequences, q, &mut out, &mut lse));
        (out, lse)
    }

    /// Calls `f` with what a kernel takes.
    pub(crate) fn described(&self, f: impl FnOnce(&Attention<'_>, &[Sequence<'_>], &[f32])) {
        let runs: Vec<_> = self.sequences.iter().map(|sequence| (sequence.keys.views(), sequence.values.views())).collect();
        let sequences: Vec<_> = self
            .sequences
            .iter()
            .zip(&runs)
            .map(|(sequence, (keys, values))| Sequence {
                rows: sequence.rows.clone(),
                q_first: sequence.q_first,
                k_end: sequence.k_end,
                keys,
                values,
            })
            .collect();
        f(&self.spec.view(), &sequences, &self.q);
    }

    /// What `values`, one row after the other, hold for rows of sequences.
    pub(crate) fn owned_rows(&self, values: &[f32]) -> Vec<f32> {
        let width = values.len() / self.rows().max(1);
        let rows = self.sequences.iter().flat_map(|sequence| sequence.rows.clone());
        rows.flat_map(|row| &values[row * width..][..width]).copied().collect()
    }
}

impl Sequenced {
    pub(crate) fn random(random: &mut Random, spec: &Spec, rows: Range<usize>, q_first: usize, k_end: usize) -> Sequenced {
        let positions = q_first..q_first + rows.len();
        let mut plane = |width: usize| {
            let mut dense = random.values(k_end * spec.kv_heads * width);
            // What nobody sees must not be read into any result.
            for (k_pos, row) in dense.chunks_mut(spec.kv_heads * width).enumerate() {
                if !spec.sees(positions.clone(), k_end, k_pos) {
                    row.fill(f32::NAN);
                }
            }
            let mut plane = Plane::new(dense, spec.kv_heads, width);
            plane.scatter(random, |k_pos| spec.sees(positions.clone(), k_end, k_pos));
            plane
        };
        let (keys, values) = (plane(spec.d_qk), plane(spec.d_v));
        Sequenced { rows, q_first, k_end, keys, values }
    }
}
