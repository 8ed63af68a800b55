//! The state of one sequence: a store for every plane of every layer.

use crate::layout::{StateLayout, Storage};
use crate::store::PlaneStore;
use attendant_core::Result;

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
#[derive(Clone, Debug)]
pub struct SequenceState {
    position: usize,
    layers: Vec<LayerState>,
}

/// A state to rewind to.
#[derive(Clone, Debug)]
pub struct Snapshot(SequenceState);

impl SequenceState {
    /// An empty state for one layer of each layout.
    pub fn new(layouts: &[StateLayout], storage: Storage) -> SequenceState {
        let layer = |layout: &StateLayout| LayerState {
            planes: layout.planes().iter().map(|&plane| PlaneStore::new(plane, storage)).collect(),
        };
        SequenceState { position: 0, layers: layouts.iter().map(layer).collect() }
    }

    /// Tokens so far: the position of the next one.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Counts tokens whose rows every layer has appended.
    pub fn advance(&mut self, tokens: usize) {
        self.position += tokens;
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

    /// Bytes of the memory that holds the rows, counted from what is allocated.
    pub fn allocated_bytes(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.planes).map(PlaneStore::allocated_bytes).sum()
    }

    /// An independent continuation from here. Pages are shared until one side writes.
    pub fn fork(&self) -> SequenceState {
        self.clone()
    }

    /// A state to come back to.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.clone())
    }

    /// Goes back to a snapshot.
    pub fn rewind(&mut self, snapshot: &Snapshot) {
        self.clone_from(&snapshot.0);
    }

    /// Forgets the tokens from `position` on.
    ///
    /// # Errors
    /// If a plane no longer holds what it held at `position`; then nothing changes. A snapshot can still be rewound to.
    pub fn truncate(&mut self, position: usize) -> Result<()> {
        let mut shorter = self.clone();
        for plane in shorter.layers.iter_mut().flat_map(|layer| &mut layer.planes) {
            plane.truncate(position, self.position)?;
        }
        shorter.position = position.min(self.position);
        *self = shorter;
        Ok(())
    }
}
