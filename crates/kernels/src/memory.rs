//! Room for what is read again and again: caches and weights.

mod region;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;
use region::Piece;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Bytes of a huge page, of those that Linux gives without being set up for it.
const HUGE: usize = 2 << 20;

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// From this many bytes on memory lies on huge pages.
const MANY: usize = 16 << 10;

/// Values that begin as zeros, on a cache line. Unless they are few they lie on huge pages, if the system has any: reading through
/// megabytes of small pages, a processor spends a part of its time on finding them. Those that do not fill one share it with others.
/// Memory that nothing has been written to costs nothing, but for the rest of a huge page.
pub struct Memory<T> {
    room: Room,
    len: usize,
    values: PhantomData<T>,
}

enum Room {
    Lines(Vec<Line>),
    Piece(Piece),
    /// A mapping, and where in it the values begin.
    Pages(MmapMut, usize),
}

impl<T: Pod> Memory<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// If so many cannot be counted in bytes.
    pub fn zeroed(len: usize) -> Memory<T> {
        let bytes = len.checked_mul(size_of::<T>()).expect("bytes of memory");
        let room = match bytes {
            // An interpreter has no huge pages, and sees what goes beyond a vector.
            _ if cfg!(miri) && bytes < HUGE => None,
            0..MANY => None,
            MANY..HUGE => Piece::zeroed(bytes).map(Room::Piece),
            _ => map(bytes).map(|(map, first)| Room::Pages(map, first)),
        };
        let lines = || Room::Lines(vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())]);
        Memory { room: room.unwrap_or_else(lines), len, values: PhantomData }
    }
}

/// A mapping of zeros, and where in it the first huge page begins, with as many bytes to follow; none if the system refuses.
fn map(bytes: usize) -> Option<(MmapMut, usize)> {
    let map = MmapMut::map_anon(bytes.checked_add(HUGE)?).ok()?;
    // Where there are no huge pages, small ones do. An interpreter has none.
    #[cfg(all(target_os = "linux", not(miri)))]
    let _ = map.advise(memmap2::Advice::HugePage);
    let first = map.as_ptr().addr().next_multiple_of(HUGE) - map.as_ptr().addr();
    Some((map, first))
}

impl Room {
    fn bytes(&self) -> &[u8] {
        match self {
            Room::Lines(lines) => bytemuck::cast_slice(lines),
            Room::Piece(piece) => piece.bytes(),
            Room::Pages(map, first) => &map[*first..],
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Room::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Room::Piece(piece) => piece.bytes_mut(),
            Room::Pages(map, first) => &mut map[*first..],
        }
    }
}

impl<T: Pod> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.room.bytes()[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = self.len * size_of::<T>();
        bytemuck::cast_slice_mut(&mut self.room.bytes_mut()[..bytes])
    }
}

impl<T: Pod> Default for Memory<T> {
    fn default() -> Memory<T> {
        Memory::zeroed(0)
    }
}

impl<T: Pod> Clone for Memory<T> {
    fn clone(&self) -> Memory<T> {
        let mut copy = Memory::zeroed(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Pod> From<&[T]> for Memory<T> {
    fn from(values: &[T]) -> Memory<T> {
        let mut memory = Memory::zeroed(values.len());
        memory.copy_from_slice(values);
        memory
    }
}

impl<T> fmt::Debug for Memory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory of {} {}", self.len, std::any::type_name::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_begin_as_zeros_on_a_line_and_copy_apart() {
        // An interpreter is slow.
        let step = if cfg!(miri) { 4001 } else { 1 };
        let all = |memory: &Memory<f32>, value| memory.iter().step_by(step).all(|&x| x == value);
        for len in [0, 1, 15, 100, MANY / 4 - 1, MANY / 4, 50_001, HUGE / 4 - 1, HUGE / 4, HUGE + 3] {
            let mut memory = Memory::<f32>::zeroed(len);
            assert_eq!(memory.len(), len);
            assert!(memory.as_ptr().addr().is_multiple_of(64) && all(&memory, 0.0), "{len}");
            let copy = memory.clone();
            memory.iter_mut().step_by(step).for_each(|x| *x = 1.0);
            assert!(all(&copy, 0.0) && all(&memory, 1.0), "{len}");
        }
    }

    #[test]
    fn large_ones_begin_on_a_huge_page() {
        assert!(Memory::<u8>::zeroed(HUGE).as_ptr().addr().is_multiple_of(HUGE));
    }
}
