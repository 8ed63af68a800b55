//! Regions of huge pages, which memories too small for one of their own share: the pages of a cache and the matrices of a small model
//! lie side by side.

use super::{HUGE, Line};
use memmap2::MmapMut;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a region. What is never touched of it costs nothing.
const SIZE: usize = 16 << 20;

/// Bytes of a piece, at most: so little is lost where the next piece does not fit.
pub(super) const LARGEST: usize = HUGE;

static REGIONS: Mutex<Vec<Region>> = Mutex::new(Vec::new());

fn regions() -> MutexGuard<'static, Vec<Region>> {
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Region {
    /// Its pages.
    _map: MmapMut,
    /// The first huge page of the map, in which `SIZE` bytes follow.
    first: NonNull<u8>,
    /// What no piece has: ascending, and never one beside another.
    free: Vec<Range<usize>>,
    /// Beyond this nothing was ever used.
    touched: usize,
}

// SAFETY: the map stays where it is, and what it holds is reached through pieces alone, each of which has bytes of its own.
unsafe impl Send for Region {}

impl Region {
    /// One of zeros; none if the system refuses.
    fn new() -> Option<Region> {
        let (mut map, first) = super::map(SIZE)?;
        let first = NonNull::from(&mut map[first..][..SIZE]).cast();
        let all = 0..SIZE;
        Some(Region { _map: map, first, free: vec![all], touched: 0 })
    }

    /// The first room for `bytes`, a multiple of a line.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let at = self.free.iter().position(|free| free.len() >= bytes)?;
        let start = self.free[at].start;
        self.free[at].start += bytes;
        if self.free[at].is_empty() {
            self.free.remove(at);
        }
        Some(start)
    }

    fn is_free(&self) -> bool {
        matches!(&self.free[..], [all] if all.len() == SIZE)
    }

    fn give_back(&mut self, mut bytes: Range<usize>) {
        let at = self.free.partition_point(|free| free.start < bytes.start);
        if self.free.get(at).is_some_and(|next| next.start == bytes.end) {
            bytes.end = self.free.remove(at).end;
        }
        match at.checked_sub(1).map(|before| &mut self.free[before]) {
            Some(before) if before.end == bytes.start => before.end = bytes.end,
            _ => self.free.insert(at, bytes),
        }
    }
}

/// Some bytes of a region, which nothing else reaches.
pub(super) struct Piece {
    first: NonNull<u8>,
    bytes: usize,
}

// SAFETY: its bytes are its own.
unsafe impl Send for Piece {}
// SAFETY: as above; whoever borrows the piece shared only reads them.
unsafe impl Sync for Piece {}

impl Piece {
    /// Zeros on a cache line; none if the system has no room.
    ///
    /// # Panics
    /// If there are more of them than [`LARGEST`].
    pub(super) fn zeroed(bytes: usize) -> Option<Piece> {
        assert!(bytes <= LARGEST, "a piece of {bytes} bytes");
        let taken = lines(bytes);
        let mut regions = regions();
        let found = regions.iter_mut().find_map(|region| Some((region.take(taken)?, &mut *region)));
        let (start, region) = match found {
            Some(found) => found,
            None => {
                regions.push(Region::new()?);
                let region = regions.last_mut()?;
                (region.take(taken)?, region)
            }
        };
        // SAFETY: the region has that many bytes beyond its first.
        let mut piece = Piece { first: unsafe { region.first.add(start) }, bytes };
        let used_before = bytes.min(region.touched.saturating_sub(start));
        region.touched = region.touched.max(start + taken);
        drop(regions);
        piece.bytes_mut()[..used_before].fill(0);
        Some(piece)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: a region has these bytes as long as it is not wholly free, and no other piece has them. They are zeros or were written.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.bytes) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the piece is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.bytes) }
    }
}

/// Bytes that a piece takes: whole lines, and one at least.
fn lines(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(size_of::<Line>())
}

/// Its bytes are free again. A region that is wholly free goes back to the system, unless it is the only one.
impl Drop for Piece {
    fn drop(&mut self) {
        let (mut regions, first) = (regions(), self.first.addr().get());
        let of = |region: &Region| first.checked_sub(region.first.addr().get()).filter(|&start| start < SIZE);
        let found = regions.iter().enumerate().find_map(|(at, region)| Some((at, of(region)?)));
        let (at, start) = found.expect("the region of a piece");
        regions[at].give_back(start..start + lines(self.bytes));
        if regions.len() > 1 && regions[at].is_free() {
            regions.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_apart_and_are_zeros_when_used_again() {
        let lens = [0, 1, 64, 65, 40_000, LARGEST];
        let mut pieces: Vec<(u8, Piece)> = Vec::new();
        // Few enough for an interpreter.
        let count = if cfg!(miri) { 5 } else { 120 };
        for i in 0..count {
            let mut piece = Piece::zeroed(lens[i % lens.len()]).expect("room");
            assert!(piece.bytes().as_ptr().addr().is_multiple_of(size_of::<Line>()));
            assert!(piece.bytes().iter().all(|&byte| byte == 0), "piece {i}");
            piece.bytes_mut().fill(i as u8 + 1);
            pieces.push((i as u8 + 1, piece));
            // Some go while others stay, in any order.
            if i % 3 == 2 {
                pieces.swap_remove(i * 7 % pieces.len());
            }
        }
        for (filled, piece) in &pieces {
            assert!(piece.bytes().iter().all(|byte| byte == filled), "piece {filled}");
        }
    }

    #[test]
    fn what_is_given_back_joins_what_is_free_beside_it() {
        let mut region = Region::new().expect("room");
        for start in [0, 64, 128, 192] {
            assert_eq!(region.take(64), Some(start));
        }
        region.give_back(64..128);
        assert_eq!((region.take(128), region.take(64)), (Some(256), Some(64)), "the first room that is large enough");
        for bytes in [0..64, 128..192, 64..128] {
            region.give_back(bytes);
        }
        assert_eq!(region.free, [0..192, 384..SIZE]);
        region.give_back(192..384);
        assert!(region.is_free());
    }
}
