//! Regions of huge pages, which memories too small for one of their own share: the pages of a cache and the matrices of a small model
//! lie side by side.

use super::{HUGE, Line};
use memmap2::MmapMut;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a region. What is never touched of it costs nothing.
const SIZE: usize = 16 << 20;

/// Bytes of a piece, at most: so little is lost where the next piece does not fit.
pub(super) const LARGEST: usize = HUGE;

/// The region that pieces are taken from.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

fn open() -> MutexGuard<'static, Option<Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Region {
    /// Its pages, which are given back with the last piece.
    _map: MmapMut,
    /// The first huge page of the map, in which `SIZE` bytes follow.
    first: NonNull<u8>,
}

// SAFETY: the map stays where it is, and what it holds is reached through pieces alone, each of which has bytes of its own.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// One of zeros; none if the system refuses.
    fn new() -> Option<Region> {
        let (mut map, first) = super::map(SIZE)?;
        let first = NonNull::from(&mut map[first..][..SIZE]).cast();
        Some(Region { _map: map, first })
    }
}

/// A region, and how far its pieces go.
struct Open {
    region: Arc<Region>,
    used: usize,
    /// Beyond this nothing was ever used.
    touched: usize,
}

/// Some bytes of a region, which nothing else reaches.
pub(super) struct Piece {
    region: Arc<Region>,
    first: usize,
    bytes: usize,
}

impl Piece {
    /// Zeros on a cache line; none if there is no room.
    ///
    /// # Panics
    /// If there are more of them than [`LARGEST`].
    pub(super) fn zeroed(bytes: usize) -> Option<Piece> {
        assert!(bytes <= LARGEST, "a piece of {bytes} bytes");
        let mut open = open();
        if open.as_ref().is_none_or(|open| bytes > SIZE - open.used) {
            *open = Some(Open { region: Arc::new(Region::new()?), used: 0, touched: 0 });
        }
        let Open { region, used, touched } = open.as_mut()?;
        let mut piece = Piece { region: region.clone(), first: *used, bytes };
        let used_before = bytes.min(touched.saturating_sub(piece.first));
        *used = piece.end();
        *touched = piece.end().max(*touched);
        piece.bytes_mut()[..used_before].fill(0);
        Some(piece)
    }

    /// Where the next piece begins.
    fn end(&self) -> usize {
        (self.first + self.bytes).next_multiple_of(size_of::<Line>())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the region has these bytes for as long as the piece, and no other piece has them: each begins beyond the ones that
        // are in use. They were written, or are zeros.
        unsafe { slice::from_raw_parts(self.region.first.add(self.first).as_ptr(), self.bytes) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the piece is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.region.first.add(self.first).as_ptr(), self.bytes) }
    }
}

/// Room at the end of the open region is used again, and all of it when no piece is left; that of others when they are no more.
impl Drop for Piece {
    fn drop(&mut self) {
        let mut open = open();
        let Some(open) = open.as_mut().filter(|open| Arc::ptr_eq(&open.region, &self.region)) else { return };
        // Two have the region: this piece and who opened it.
        if Arc::strong_count(&self.region) == 2 {
            open.used = 0;
        } else if open.used == self.end() {
            open.used = self.first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_apart_and_are_zeros_when_used_again() {
        let lens = [1, 64, 65, 40_000, LARGEST];
        for round in 0..3 {
            let mut pieces = Vec::new();
            for (i, &len) in lens.iter().cycle().take(40).enumerate() {
                let mut piece = Piece::zeroed(len).expect("room");
                assert!(piece.bytes().as_ptr().addr().is_multiple_of(size_of::<Line>()));
                assert!(piece.bytes().iter().all(|&byte| byte == 0), "round {round}, piece {i}");
                piece.bytes_mut().fill(i as u8 + 1);
                pieces.push((i, piece));
                // Some come and go while others stay.
                if i % 3 == round {
                    pieces.pop();
                }
            }
            for (i, piece) in &pieces {
                assert!(piece.bytes().iter().all(|&byte| byte == *i as u8 + 1), "round {round}, piece {i}");
            }
        }
    }
}
