//! The store of one plane of one sequence.

use crate::layout::{Growth, Plane};
use crate::page::Page;
use crate::retention::Retention;
use crate::storage::{Dtype, Paging, Storage};
use attendant_core::kernels::attention::Run;
use attendant_core::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// Rows of one plane of one sequence.
///
/// A clone shares the pages; whoever writes to a shared page first makes its own copy of it.
#[derive(Clone, Debug)]
pub struct PlaneStore {
    plane: Plane,
    storage: Storage,
    retention: Retention,
    pages: Vec<Arc<Page>>,
    /// Rows appended so far, forgotten ones among them.
    appended: usize,
    /// The rows that the room was made for.
    room_for: usize,
    /// A constant row was replaced since the sequence last advanced.
    pub(crate) replaced: bool,
}

/// Rows at consecutive positions and in consecutive slots of one page.
struct Piece {
    page: usize,
    at: usize,
    first: usize,
    rows: usize,
}

impl PlaneStore {
    /// An empty plane; a constant one holds zeros.
    ///
    /// # Panics
    /// If the storage has pages of no rows, or room for none at first.
    pub fn new(plane: Plane, storage: Storage) -> PlaneStore {
        let (Paging::Contiguous { rows } | Paging::Paged { rows }) = storage.paging;
        assert!(rows > 0, "storage of {rows} rows");
        let retention = Retention::new(plane.growth, storage.rings);
        let mut store = PlaneStore { plane, storage, retention, pages: Vec::new(), appended: 0, room_for: 0, replaced: false };
        store.make_room(0);
        store
    }

    /// The declaration.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// How it is stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The type that it is stored in.
    pub fn dtype(&self) -> Dtype {
        self.plane.dtype(self.storage.dtype)
    }

    /// Rows appended so far, forgotten ones among them: the position of the next one.
    pub fn appended(&self) -> usize {
        self.appended
    }

    /// Positions that are held, as two ascending ranges of which either may be empty. The first is empty unless rows
    /// between the two are missing.
    pub fn held(&self) -> [Range<usize>; 2] {
        match self.plane.growth {
            Growth::Constant => [0..0, 0..0],
            _ => self.retention.held(self.appended),
        }
    }

    /// Bytes of the memory that holds the rows, free room and pages shared with forks included.
    pub fn allocated_bytes(&self) -> usize {
        self.pages.iter().map(|page| page.bytes()).sum()
    }

    /// The same by the declaration: [`Plane::bytes`] of the rows that the room was made for.
    pub fn declared_bytes(&self) -> usize {
        self.plane.allocated_rows(self.room_for, self.storage) * self.plane.row_bytes(self.storage.dtype)
    }

    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Makes room for `rows` rows in all, so that a contiguous store need not be moved before. Pages are never moved, and a
    /// paged store makes them as rows come.
    pub fn reserve(&mut self, rows: usize) {
        if let Paging::Contiguous { .. } = self.storage.paging {
            self.make_room(rows);
        }
    }

    fn make_room(&mut self, rows: usize) {
        self.room_for = self.room_for.max(rows);
        let wanted = self.plane.allocated_rows(self.room_for, self.storage);
        let page = |rows| Arc::new(Page::new(&self.plane, self.plane.dtype(self.storage.dtype), rows));
        match (self.storage.paging, self.pages.first_mut()) {
            (Paging::Paged { rows }, _) if self.plane.growth != Growth::Constant => {
                let missing = wanted / rows - self.pages.len();
                self.pages.extend((0..missing).map(|_| page(rows)));
            }
            (_, None) => self.pages.push(page(wanted)),
            (_, Some(first)) if first.rows() < wanted => *first = Arc::new(first.grown(wanted)),
            _ => {}
        }
    }

    /// The pieces that hold a range of positions, all of which must be held.
    fn pieces(&self, mut range: Range<usize>) -> impl Iterator<Item = Piece> + use<> {
        let &PlaneStore { retention, storage, .. } = self;
        std::iter::from_fn(move || {
            let slot = (!range.is_empty()).then(|| retention.slot(range.start))?;
            let (page, at) = storage.paging.place(slot);
            let rows = range.len().min(retention.slots() - slot).min(storage.paging.rows_left(at));
            let piece = Piece { page, at, first: range.start, rows };
            range.start += rows;
            Some(piece)
        })
    }

    fn pieces_held(&self) -> impl Iterator<Item = Piece> + use<> {
        let [kept, window] = self.held();
        self.pieces(kept).chain(self.pieces(window))
    }

    /// Appends rows `[n, width]`. Call it after the call's queries have read: a ring overwrites.
    ///
    /// # Panics
    /// If the values are not whole rows, or the plane is constant.
    pub fn append(&mut self, rows: &[f32]) {
        let Plane { name, width, growth, .. } = self.plane;
        assert!(rows.len().is_multiple_of(width), "plane {name}: {} values are not rows of {width}", rows.len());
        assert!(growth != Growth::Constant, "plane {name} is constant: set it");
        let first = self.appended;
        self.appended += rows.len() / width;
        self.make_room(self.appended);
        for held in self.held() {
            for piece in self.pieces(held.start.max(first)..held.end) {
                let new = &rows[(piece.first - first) * width..][..piece.rows * width];
                Arc::make_mut(&mut self.pages[piece.page]).encode(piece.at, new);
            }
        }
    }

    /// Every row held, in ascending position, in place and as stored: a run for each page, and one more where a ring wraps around.
    pub fn runs(&self) -> Vec<Run<'_>> {
        self.pieces_held().map(|piece| self.pages[piece.page].run(piece.at, piece.rows, piece.first)).collect()
    }

    /// Appends every row held to `out`, token-major, decoded, in ascending position.
    pub fn read(&self, out: &mut Vec<f32>) {
        for held in self.held() {
            let start = out.len();
            out.resize(start + held.len() * self.plane.width, 0.0);
            self.decode(held, &mut out[start..]);
        }
    }

    /// Reads the rows of some positions into `out` `[n, width]`, decoded.
    ///
    /// # Errors
    /// If one of the positions is not held.
    ///
    /// # Panics
    /// If `out` has another size.
    pub fn read_range(&self, positions: Range<usize>, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), positions.len() * self.plane.width, "plane {}: room for {positions:?}", self.plane.name);
        let held = self.held();
        if !positions.is_empty() && !held.iter().any(|held| held.start <= positions.start && positions.end <= held.end) {
            return Err(Error::State {
                plane: self.plane.name.into(),
                why: format!("wanted positions {positions:?}, holds {:?} and {:?}", held[0], held[1]),
            });
        }
        self.decode(positions, out);
        Ok(())
    }

    fn decode(&self, positions: Range<usize>, mut out: &mut [f32]) {
        for piece in self.pieces(positions) {
            let rows = out.split_off_mut(..piece.rows * self.plane.width).expect("out has room for the positions");
            self.pages[piece.page].decode(piece.at, rows);
        }
    }

    /// The row of a constant plane.
    ///
    /// # Panics
    /// If the plane is not constant.
    pub fn constant(&self) -> &[f32] {
        assert!(self.plane.growth == Growth::Constant, "plane {} is not constant", self.plane.name);
        self.pages[0].values()
    }

    /// Replaces the row of a constant plane.
    ///
    /// # Panics
    /// If the plane is not constant, or the row has another width.
    pub fn set_constant(&mut self, row: &[f32]) {
        let Plane { name, width, growth, .. } = self.plane;
        assert!(growth == Growth::Constant, "plane {name} is not constant");
        assert_eq!(row.len(), width, "plane {name}: width of the row");
        Arc::make_mut(&mut self.pages[0]).encode(0, row);
        self.replaced = true;
    }

    /// Rows that the first `position` tokens give, or why the plane cannot go back to them from `before` tokens.
    pub(crate) fn rows_at(&self, position: usize, before: usize) -> Result<usize> {
        let lost = |why: &str| {
            let plane = self.plane.name.into();
            Error::State { plane, why: format!("cannot go back to position {position} of {before}: {why}; rewind to a snapshot") }
        };
        let rows = match self.plane.growth {
            Growth::Constant if position > 0 && (position < before || self.replaced) => {
                return Err(lost("it holds the latest state only"));
            }
            Growth::Constant | Growth::PerSource => self.appended,
            Growth::PerBlock { tokens } => self.appended.min(position / tokens),
            Growth::PerToken | Growth::Ring { .. } => self.appended.min(position),
        };
        if !self.retention.reaches_back(self.appended, rows) {
            return Err(lost("the ring has overwritten rows that it held there"));
        }
        Ok(rows)
    }

    /// Goes back to what `position` tokens gave; only after [`PlaneStore::rows_at`] has allowed it.
    pub(crate) fn truncate(&mut self, position: usize, rows: usize) {
        self.appended = rows;
        match (self.plane.growth, self.storage.paging) {
            (Growth::Constant, _) if position == 0 => *self = PlaneStore::new(self.plane, self.storage),
            (Growth::Constant, _) | (_, Paging::Contiguous { .. }) => {}
            (_, Paging::Paged { rows: page }) => {
                self.room_for = rows;
                self.pages.truncate(self.plane.allocated_rows(rows, self.storage) / page);
            }
        }
    }

    /// Rows that a plane which was given `appended` holds.
    pub(crate) fn rows_held(&self, appended: usize) -> usize {
        match self.plane.growth {
            Growth::Constant => 1,
            _ => self.retention.used(appended),
        }
    }

    /// Appends the rows held to `bytes`, as they are stored, in ascending position.
    pub(crate) fn save(&self, bytes: &mut Vec<u8>) {
        if self.plane.growth == Growth::Constant {
            return self.pages[0].save(0, 1, bytes);
        }
        for piece in self.pieces_held() {
            self.pages[piece.page].save(piece.at, piece.rows, bytes);
        }
    }

    /// Fills an empty store with what [`PlaneStore::save`] gave after `appended` rows.
    pub(crate) fn load(&mut self, appended: usize, mut bytes: &[u8]) {
        if self.plane.growth == Growth::Constant {
            return Arc::make_mut(&mut self.pages[0]).load(0, 1, bytes);
        }
        self.appended = appended;
        self.make_room(appended);
        let row_bytes = self.plane.row_bytes(self.storage.dtype);
        for piece in self.pieces_held() {
            let rows = bytes.split_off(..piece.rows * row_bytes).expect("the caller gives every row held");
            Arc::make_mut(&mut self.pages[piece.page]).load(piece.at, piece.rows, rows);
        }
    }
}
