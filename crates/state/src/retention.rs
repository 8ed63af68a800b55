//! Which of the rows that were appended a plane still holds, and where.

use crate::layout::Growth;
use crate::storage::Rings;
use std::ops::Range;

/// Which rows stay. Slots are numbered rows of memory: a position below [`Retention::slots`] lies in the slot of its own
/// number, later ones overwrite the window's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    All,
    Ring { window: usize, keep: usize },
}

impl Retention {
    pub(crate) fn new(growth: Growth, rings: Rings) -> Retention {
        match (growth, rings) {
            (Growth::Ring { window, keep }, Rings::Overwrite) => Retention::Ring { window, keep },
            _ => Retention::All,
        }
    }

    /// How many slots there can ever be.
    pub(crate) fn slots(self) -> usize {
        match self {
            Retention::All => usize::MAX,
            Retention::Ring { window, keep } => window + keep,
        }
    }

    /// Slots in use after `end` rows.
    pub(crate) fn used(self, end: usize) -> usize {
        end.min(self.slots())
    }

    /// The slot of a position that is held.
    pub(crate) fn slot(self, position: usize) -> usize {
        match self {
            Retention::Ring { window, keep } if position >= window + keep => keep + (position - keep) % window,
            _ => position,
        }
    }

    /// Positions held after `end` rows, as two ascending ranges. The first is empty unless rows between them are missing.
    pub(crate) fn held(self, end: usize) -> [Range<usize>; 2] {
        match self {
            Retention::Ring { window, keep } if end > window + keep => [0..keep, end - window..end],
            _ => [0..0, 0..end],
        }
    }

    /// Whether what is held after `end` rows contains what was held after the `earlier` first of them.
    pub(crate) fn reaches_back(self, end: usize, earlier: usize) -> bool {
        match self {
            Retention::Ring { window, keep } => {
                let oldest = earlier.saturating_sub(window).max(keep);
                oldest >= earlier || oldest >= end.saturating_sub(window)
            }
            Retention::All => true,
        }
    }
}
