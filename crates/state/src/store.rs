//! The store of one plane of one sequence.

use crate::layout::{Growth, Paging, Plane, Rings, Storage};
use crate::page::Page;
use attendant_core::kernels::attention::Run;
use attendant_core::{Error, Result};
use std::ops::Range;

/// Rows of one plane of one sequence.
#[derive(Clone, Debug)]
pub struct PlaneStore {
    plane: Plane,
    storage: Storage,
    pages: Vec<Page>,
    /// Rows appended so far, forgotten ones among them.
    appended: usize,
}

impl PlaneStore {
    /// An empty plane; a constant one holds zeros.
    pub fn new(plane: Plane, storage: Storage) -> PlaneStore {
        let pages = match (plane.growth, storage.rings, storage.paging) {
            (Growth::Constant, ..) => vec![Page::new(1, plane.width)],
            (Growth::Ring { window, keep }, Rings::Overwrite, _) => {
                [keep, window].into_iter().map(|rows| Page::new(rows, plane.width)).collect()
            }
            (_, _, Paging::Contiguous { rows }) => vec![Page::new(rows, plane.width)],
            (_, _, Paging::Paged { .. }) => Vec::new(),
        };
        PlaneStore { plane, storage, pages, appended: 0 }
    }

    /// The declaration.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Rows appended so far, forgotten ones among them.
    pub fn appended(&self) -> usize {
        self.appended
    }

    /// Bytes of the memory that holds the rows, free room included.
    pub fn allocated_bytes(&self) -> usize {
        self.pages.iter().map(Page::bytes).sum()
    }

    fn ring(&self) -> Option<(usize, usize)> {
        match (self.plane.growth, self.storage.rings) {
            (Growth::Ring { window, keep }, Rings::Overwrite) => Some((window, keep)),
            _ => None,
        }
    }

    /// Positions that are held, as two ascending ranges of which either may be empty.
    pub fn held(&self) -> [Range<usize>; 2] {
        match self.ring() {
            Some((window, keep)) => {
                let start = self.appended.saturating_sub(window).max(keep).min(self.appended);
                [0..keep.min(self.appended), start..self.appended]
            }
            None => [0..0, 0..self.appended],
        }
    }

    /// Where a position lies: page, and row in the page.
    fn place(&self, position: usize) -> (usize, usize) {
        match (self.ring(), self.storage.paging) {
            (Some((_, keep)), _) if position < keep => (0, position),
            (Some((window, keep)), _) => (1, (position - keep) % window),
            (None, Paging::Contiguous { .. }) => (0, position),
            (None, Paging::Paged { rows }) => (position / rows, position % rows),
        }
    }

    /// Appends rows `[n, width]`.
    ///
    /// # Panics
    /// If the values are not whole rows, or the plane is constant.
    pub fn append(&mut self, rows: &[f32]) {
        assert!(rows.len() % self.plane.width == 0, "plane {}: rows of {}", self.plane.name, self.plane.width);
        assert!(self.plane.growth != Growth::Constant, "plane {} is constant: set it", self.plane.name);
        for row in rows.chunks_exact(self.plane.width) {
            self.make_room();
            let forgotten = self.ring().is_some_and(|(window, keep)| window == 0 && self.appended >= keep);
            if !forgotten {
                let (page, at) = self.place(self.appended);
                self.pages[page].write(at, row, self.plane.heads);
            }
            self.appended += 1;
        }
    }

    fn make_room(&mut self) {
        if self.ring().is_some() {
            return;
        }
        match self.storage.paging {
            Paging::Contiguous { .. } if self.appended == self.pages[0].rows() => {
                self.pages[0] = self.pages[0].grown(2 * self.appended, self.plane.heads);
            }
            Paging::Paged { rows } if self.appended == self.pages.len() * rows => {
                self.pages.push(Page::new(rows, self.plane.width));
            }
            _ => {}
        }
    }

    /// Every row held, in ascending position, in place.
    pub fn runs(&self) -> Vec<Run<'_>> {
        let mut runs = Vec::new();
        for range in self.held() {
            let mut position = range.start;
            while position < range.end {
                let (page, at) = self.place(position);
                let count = (self.pages[page].rows() - at).min(range.end - position);
                runs.push(self.pages[page].run(at, count, position, self.plane.heads));
                position += count;
            }
        }
        runs
    }

    /// Appends every row held to `out`, token-major, in ascending position.
    pub fn read(&self, out: &mut Vec<f32>) {
        let part = self.plane.width / self.plane.heads;
        for run in self.runs() {
            for row in 0..run.rows {
                for head in 0..self.plane.heads {
                    let start = head * run.head_stride + row * run.row_stride;
                    out.extend_from_slice(&run.data[start..start + part]);
                }
            }
        }
    }

    /// The row of a constant plane.
    ///
    /// # Panics
    /// If the plane is not constant.
    pub fn constant(&self) -> &[f32] {
        assert!(self.plane.growth == Growth::Constant, "plane {} is not constant", self.plane.name);
        self.pages[0].run(0, 1, 0, 1).data
    }

    /// Replaces the row of a constant plane.
    ///
    /// # Panics
    /// If the plane is not constant, or the row has another width.
    pub fn set_constant(&mut self, row: &[f32]) {
        assert!(self.plane.growth == Growth::Constant, "plane {} is not constant", self.plane.name);
        assert_eq!(row.len(), self.plane.width, "plane {}", self.plane.name);
        self.pages[0].write(0, row, 1);
    }

    /// Forgets the rows of tokens from `position` on. `before` is how many tokens the sequence has.
    ///
    /// # Errors
    /// If the plane no longer holds what it held at `position`: a ring that has overwritten rows, a constant. A snapshot
    /// taken there can be rewound to.
    pub fn truncate(&mut self, position: usize, before: usize) -> Result<()> {
        let lost = |why: &str| {
            let plane = self.plane.name.into();
            Error::State { plane, why: format!("cannot go back to position {position} of {before}: {why}; rewind to a snapshot") }
        };
        let rows = match self.plane.growth {
            Growth::Constant => return if position == before { Ok(()) } else { Err(lost("it holds the latest state only")) },
            Growth::PerSource => return Ok(()),
            Growth::PerBlock { tokens } => position / tokens,
            Growth::PerToken | Growth::Ring { .. } => position,
        };
        if let Some((window, keep)) = self.ring()
            && self.appended > window + keep
            && rows < self.appended
        {
            return Err(lost("the ring has overwritten rows that it would see"));
        }
        self.appended = self.appended.min(rows);
        if let (None, Paging::Paged { rows: page }) = (self.ring(), self.storage.paging) {
            self.pages.truncate(self.appended.div_ceil(page));
        }
        Ok(())
    }
}
