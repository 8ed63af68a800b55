//! The plain model: lists of rows, and what must be held by counting positions one at a time.

use crate::cases::{any_rows, pick};
use attendant_core::Random;
use attendant_core::kernels::attention::Run;
use attendant_state::{Dtype, Growth, Paging, Plane, PlaneStore, Precision, Rings, SequenceState, StateLayout, Storage};

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) position: usize,
    pub(crate) storage: Storage,
    pub(crate) planes: Vec<ModelPlane>,
}

#[derive(Clone)]
pub(crate) struct ModelPlane {
    pub(crate) layer: usize,
    pub(crate) index: usize,
    plane: Plane,
    /// Every row up to now; for a constant plane the one row.
    rows: Vec<Vec<f32>>,
    /// The most rows that there were since the memory was made.
    peak: usize,
    replaced: bool,
}

impl Model {
    pub(crate) fn new(layouts: &[StateLayout], storage: Storage) -> Model {
        let mut planes = Vec::new();
        for (layer, layout) in layouts.iter().enumerate() {
            for (index, &plane) in layout.planes().iter().enumerate() {
                let rows = if plane.growth == Growth::Constant { vec![vec![0.0; plane.width]] } else { Vec::new() };
                planes.push(ModelPlane { layer, index, plane, rows, peak: 0, replaced: false });
            }
        }
        Model { position: 0, storage, planes }
    }

    /// Does with both what a call of `tokens` tokens does, but for advancing.
    pub(crate) fn append(&mut self, state: &mut SequenceState, random: &mut Random, tokens: usize) {
        for plane in &mut self.planes {
            let store = state.layer_mut(plane.layer).plane_mut(plane.index);
            plane.append(store, random, self.position, tokens);
        }
    }

    pub(crate) fn advance(&mut self, state: &mut SequenceState, tokens: usize) {
        state.advance(tokens);
        self.position += tokens;
        self.planes.iter_mut().for_each(|plane| plane.replaced = false);
    }

    pub(crate) fn may_truncate(&self, position: usize) -> bool {
        position <= self.position && self.planes.iter().all(|plane| plane.may_truncate(position, self.position, self.storage))
    }

    pub(crate) fn truncate(&mut self, position: usize) {
        self.planes.iter_mut().for_each(|plane| plane.truncate(position, self.storage));
        self.position = position;
    }

    /// The memory was made anew for what there is.
    pub(crate) fn compact(&mut self, paging: Paging) {
        self.storage.paging = paging;
        self.planes.iter_mut().for_each(|plane| plane.peak = if plane.constant() { 0 } else { plane.rows.len() });
    }

    pub(crate) fn verify(&self, state: &SequenceState, random: &mut Random) {
        assert_eq!(state.position(), self.position);
        for plane in &self.planes {
            plane.verify(state.layer(plane.layer).plane(plane.index), self.storage, random);
        }
        let bytes: usize = self.planes.iter().map(|plane| plane.allocated_bytes(self.storage)).sum();
        assert_eq!((state.allocated_bytes(), state.declared_bytes()), (bytes, bytes), "{:?}", self.storage);
    }
}

impl ModelPlane {
    fn constant(&self) -> bool {
        self.plane.growth == Growth::Constant
    }

    fn append(&mut self, store: &mut PlaneStore, random: &mut Random, position: usize, tokens: usize) {
        let count = match self.plane.growth {
            Growth::PerToken | Growth::Ring { .. } => tokens,
            Growth::PerBlock { tokens: block } => (position + tokens) / block - self.rows.len(),
            Growth::PerSource => pick(random, &[0, 0, 1, 17]),
            Growth::Constant => 1,
        };
        let rows = any_rows(random, count, self.plane.width);
        let list = rows.chunks_exact(self.plane.width).map(<[f32]>::to_vec);
        if self.constant() {
            self.rows = list.collect();
            self.replaced = true;
            store.set_constant(&rows);
        } else {
            self.rows.extend(list);
            self.peak = self.peak.max(self.rows.len());
            store.append(&rows);
        }
    }

    /// The positions that must be held after `end` rows.
    fn held(&self, end: usize, storage: Storage) -> Vec<usize> {
        match (self.plane.growth, storage.rings) {
            (Growth::Ring { window, keep }, Rings::Overwrite) => (0..end).filter(|&p| p < keep || p + window >= end).collect(),
            (Growth::Constant, _) => Vec::new(),
            _ => (0..end).collect(),
        }
    }

    fn rows_at(&self, position: usize) -> usize {
        match self.plane.growth {
            Growth::PerToken | Growth::Ring { .. } => self.rows.len().min(position),
            Growth::PerBlock { tokens } => (0..self.rows.len()).filter(|row| (row + 1) * tokens <= position).count(),
            Growth::Constant | Growth::PerSource => self.rows.len(),
        }
    }

    fn may_truncate(&self, position: usize, before: usize, storage: Storage) -> bool {
        if self.constant() {
            return position == 0 || position == before && !self.replaced;
        }
        let now = self.held(self.rows.len(), storage);
        self.held(self.rows_at(position), storage).iter().all(|p| now.contains(p))
    }

    fn truncate(&mut self, position: usize, storage: Storage) {
        if self.constant() {
            if position == 0 {
                self.rows = vec![vec![0.0; self.plane.width]];
                self.replaced = false;
            }
            return;
        }
        self.rows.truncate(self.rows_at(position));
        if let Paging::Paged { .. } = storage.paging {
            self.peak = self.rows.len();
        }
    }

    fn dtype(&self, storage: Storage) -> Dtype {
        let exact = self.plane.precision == Precision::Exact || self.constant();
        if exact { Dtype::F32 } else { storage.dtype }
    }

    fn allocated_bytes(&self, storage: Storage) -> usize {
        let (heads, width) = (self.plane.heads, self.plane.width);
        let row = match self.dtype(storage) {
            Dtype::F32 => width * 4,
            Dtype::Bf16 | Dtype::F16 => width * 2,
            Dtype::Int8 => width + heads * 4,
            Dtype::Int4 => heads * 18 * (width / heads).div_ceil(32),
        };
        let most = match (self.plane.growth, storage.rings) {
            (Growth::Ring { window, keep }, Rings::Overwrite) => window + keep,
            _ => usize::MAX,
        };
        let used = self.peak.min(most);
        let rows = match storage.paging {
            _ if self.constant() => 1,
            Paging::Contiguous { rows } => {
                let mut room = rows;
                while room < used {
                    room *= 2;
                }
                room.min(most)
            }
            Paging::Paged { rows } => used.div_ceil(rows) * rows,
        };
        rows * row
    }

    fn verify(&self, store: &PlaneStore, storage: Storage, random: &mut Random) {
        assert_eq!(store.dtype(), self.dtype(storage));
        assert_eq!(store.allocated_bytes(), self.allocated_bytes(storage), "{:?} in {storage:?}", self.plane);
        if self.constant() {
            assert_eq!(store.constant(), self.rows[0]);
            return;
        }
        assert_eq!(store.appended(), self.rows.len());
        let held: Vec<usize> = store.held().into_iter().flatten().collect();
        assert_eq!(held, self.held(self.rows.len(), storage), "{:?} in {storage:?}", self.plane);
        let mut values = Vec::new();
        store.read(&mut values);
        assert_eq!(values.len(), held.len() * self.plane.width);
        for (&position, row) in held.iter().zip(values.chunks_exact(self.plane.width)) {
            self.close(position, row, self.dtype(storage));
        }
        self.verify_runs(store, &values);
        self.verify_range(store, random, &held, &values);
    }

    fn close(&self, position: usize, got: &[f32], dtype: Dtype) {
        let part = self.plane.width / self.plane.heads;
        for (got, want) in got.chunks_exact(part).zip(self.rows[position].chunks_exact(part)) {
            let bound = error_bound(want, dtype);
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                let fits = (got - want).abs() <= bound(*want);
                assert!(fits, "{:?} as {dtype:?}, position {position}, value {i}: wanted {want}, got {got}", self.plane);
            }
        }
    }

    /// Runs, as they are stored, hold the same values at ascending positions.
    fn verify_runs(&self, store: &PlaneStore, values: &[f32]) {
        let (runs, heads) = (store.runs(), self.plane.heads);
        let positions: Vec<usize> = runs.iter().flat_map(|run| run.first..run.first + run.rows).collect();
        assert_eq!(positions, store.held().into_iter().flatten().collect::<Vec<_>>());
        let parts = |run: Run<'_>| (0..run.rows).flat_map(move |row| (0..heads).map(move |head| (row, head)));
        let part = |run: &Run<'_>, (row, head)| run.values(row, head, self.plane.width / heads);
        let read: Vec<f32> = runs.iter().flat_map(|run| parts(*run).flat_map(|place| part(run, place))).collect();
        assert_eq!(read, values);
    }

    /// Any range is read if it is held, and refused if a position of it is not.
    fn verify_range(&self, store: &PlaneStore, random: &mut Random, held: &[usize], values: &[f32]) {
        let width = self.plane.width;
        let start = random.below(self.rows.len() + 2);
        let range = start..start + random.below(4);
        let mut out = vec![f32::NAN; range.len() * width];
        let read = store.read_range(range.clone(), &mut out);
        assert_eq!(read.is_ok(), range.clone().all(|p| held.contains(&p)), "{range:?} of {held:?}: {read:?}");
        if read.is_ok() {
            let want = range.flat_map(|p| {
                let at = held.iter().position(|&held| held == p).expect("checked above");
                &values[at * width..(at + 1) * width]
            });
            assert!(out.iter().eq(want));
        }
    }
}

/// How far a value of one head of a row may be off.
pub(crate) fn error_bound(head: &[f32], dtype: Dtype) -> impl Fn(f32) -> f32 + use<> {
    let largest = head.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    move |x| match dtype {
        Dtype::F32 => 0.0,
        Dtype::Bf16 => x.abs() * 2f32.powi(-8),
        // Below 2^-14 the steps of f16 no longer shrink.
        Dtype::F16 => (x.abs() * 2f32.powi(-11)).max(2f32.powi(-25)),
        // Half a step, and the rounding of the step, of the quotient and of their product.
        Dtype::Int8 => largest / 127.0 * 0.5 + largest * 4.0 * f32::EPSILON,
        // A group may be a part of the head with a smaller step. The step has eight bits, none below 2^-133.
        Dtype::Int4 => (largest / 7.0 * 0.5 + largest * 4.0 * f32::EPSILON).max(7.0 * 2f32.powi(-133)),
    }
}
