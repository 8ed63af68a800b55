//! The state of one sequence: a store for every plane of every layer.

use crate::layout::{Growth, StateLayout};
use crate::storage::Storage;
use crate::store::PlaneStore;
use attendant_core::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// The planes of one layer.
#[derive(Clone, Debug)]
pub struct LayerState {
    planes: Vec<PlaneStore>,
}

impl LayerState {
    /// A plane by its place in the layout.
    pub fn plane(&self, index: usize) -> &PlaneStore {
        &self.planes[index]
    }

    /// A plane by its place in the layout, to change.
    pub fn plane_mut(&mut self, index: usize) -> &mut PlaneStore {
        &mut self.planes[index]
    }

    /// All planes, in the order of the layout.
    pub fn planes(&self) -> &[PlaneStore] {
        &self.planes
    }
}

/// Everything one sequence keeps between calls.
///
/// A call appends to the planes of every layer and then advances. [`SequenceState::truncate`] goes back for nothing where the
/// rows are still there; [`SequenceState::snapshot`] works for every plane.
#[derive(Clone, Debug)]
pub struct SequenceState {
    position: usize,
    storage: Storage,
    layers: Vec<LayerState>,
}

/// A state to rewind to, as often as wanted, whatever the sequence went through since.
///
/// It shares pages with the sequence until one of them writes. In a paged store a step after a snapshot copies one page of
/// each plane; a contiguous plane is one page, so there it copies all that the plane holds.
#[derive(Clone, Debug)]
pub struct Snapshot(SequenceState);

impl Snapshot {
    /// Tokens that the sequence had.
    pub fn position(&self) -> usize {
        self.0.position
    }
}

impl SequenceState {
    /// An empty state for one layer of each layout.
    ///
    /// # Panics
    /// If the storage has pages of no rows, or room for none at first.
    pub fn new(layouts: &[StateLayout], storage: Storage) -> SequenceState {
        let layer = |layout: &StateLayout| LayerState {
            planes: layout.planes().iter().map(|&plane| PlaneStore::new(plane, storage)).collect(),
        };
        SequenceState { position: 0, storage, layers: layouts.iter().map(layer).collect() }
    }

    /// Tokens so far: the position of the next one.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Counts tokens whose rows every layer has appended.
    pub fn advance(&mut self, tokens: usize) {
        self.position += tokens;
        self.planes_mut().for_each(|plane| plane.replaced = false);
    }

    /// How its planes are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// How many layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// One layer.
    pub fn layer(&self, index: usize) -> &LayerState {
        &self.layers[index]
    }

    /// One layer, to change.
    pub fn layer_mut(&mut self, index: usize) -> &mut LayerState {
        &mut self.layers[index]
    }

    pub(crate) fn planes(&self) -> impl Iterator<Item = &PlaneStore> {
        self.layers.iter().flat_map(|layer| &layer.planes)
    }

    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut PlaneStore> {
        self.layers.iter_mut().flat_map(|layer| &mut layer.planes)
    }

    /// Makes room for `tokens` tokens in all in every plane that grows with them: see [`PlaneStore::reserve`].
    pub fn reserve(&mut self, tokens: usize) {
        for plane in self.planes_mut() {
            match plane.plane().growth {
                Growth::PerToken | Growth::Ring { .. } => plane.reserve(tokens),
                Growth::PerBlock { tokens: block } => plane.reserve(tokens / block),
                Growth::Constant | Growth::PerSource => {}
            }
        }
    }

    /// Bytes of the memory that holds the rows, counted from what is allocated; pages shared with forks included.
    pub fn allocated_bytes(&self) -> usize {
        self.planes().map(PlaneStore::allocated_bytes).sum()
    }

    /// The same by the declaration: the sum of [`PlaneStore::declared_bytes`].
    pub fn declared_bytes(&self) -> usize {
        self.planes().map(PlaneStore::declared_bytes).sum()
    }

    /// Bytes that several sequences have allocated together: a page that forks share counts once.
    pub fn allocated_together<'a>(sequences: impl IntoIterator<Item = &'a SequenceState>) -> usize {
        let mut seen = HashSet::new();
        let pages = sequences.into_iter().flat_map(SequenceState::planes).flat_map(PlaneStore::pages);
        pages.filter(|page| seen.insert(Arc::as_ptr(page))).map(|page| page.bytes()).sum()
    }

    /// An independent continuation from here. Pages are shared until one side writes.
    pub fn fork(&self) -> SequenceState {
        self.clone()
    }

    /// A state to come back to.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.clone())
    }

    /// Goes back to a snapshot, of this sequence or of one like it.
    ///
    /// # Panics
    /// If the snapshot is of a sequence with other planes or another storage.
    pub fn rewind(&mut self, snapshot: &Snapshot) {
        let declared = |state: &SequenceState| -> Vec<Vec<_>> {
            state.layers.iter().map(|layer| layer.planes.iter().map(|plane| *plane.plane()).collect()).collect()
        };
        let alike = self.storage == snapshot.0.storage && declared(self) == declared(&snapshot.0);
        assert!(alike, "the snapshot is of a sequence with other planes or another storage");
        self.clone_from(&snapshot.0);
    }

    /// Forgets the tokens from `position` on, and rows of a call that failed before it advanced. Source rows stay.
    ///
    /// Exact wherever it is allowed: planes of rows per token and per block always are; a ring is as long as nothing was
    /// overwritten that it held at `position`; a constant plane only if the position stays the same, or becomes 0.
    ///
    /// # Errors
    /// If the sequence has fewer tokens, or a plane no longer holds what it held at `position`; then nothing changes, and the
    /// way back is a snapshot.
    pub fn truncate(&mut self, position: usize) -> Result<()> {
        if position > self.position {
            let why = format!("cannot truncate to {position}, the sequence has {} tokens", self.position);
            return Err(Error::State { plane: "position".into(), why });
        }
        let rows: Vec<usize> = self.planes().map(|plane| plane.rows_at(position, self.position)).collect::<Result<_>>()?;
        self.planes_mut().zip(rows).for_each(|(plane, rows)| plane.truncate(position, rows));
        self.position = position;
        Ok(())
    }

    pub(crate) fn restored(self, position: usize) -> SequenceState {
        SequenceState { position, ..self }
    }
}
