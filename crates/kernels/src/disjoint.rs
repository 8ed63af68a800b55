//! Mutable slices shared by work items, of which each takes its own part.

use crate::{Inline, Machine};
use std::marker::PhantomData;
use std::ops::Range;

/// Values or multiply-adds, a few microseconds' worth, for which it does not pay to wake another thread. Under Miri even small cases
/// are shared, so that it sees their races.
pub(crate) const SMALL: usize = if cfg!(miri) { 1 << 7 } else { 1 << 14 };

/// A mutable slice that several threads may take parts of, each its own.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Disjoint` is only a place; what may be done with its parts is promised at each call of `slice`.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// The values in `range`.
    ///
    /// # Safety
    /// While the result lives, no other part that shares a value with `range` may be taken.
    ///
    /// # Panics
    /// If `range` does not lie within the slice.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of a slice of {}", self.len);
        // SAFETY: the range is within the slice (asserted), and the caller promises that nobody else has a part of it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Runs `task(item, parts)` for every item, in parallel when there is more than one. Item `i` gets part `i` of every slice:
/// `size` values from `i * size`, fewer or none at the slice's end.
pub(crate) fn each_part<T: Send, const N: usize>(
    machine: Machine<'_>,
    items: usize,
    slices: [(&mut [T], usize); N],
    task: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let slices = slices.map(|(slice, size)| (Disjoint::new(slice), size));
    run(machine, items, &|item, _worker| {
        let parts = std::array::from_fn(|k| {
            let (slice, size) = &slices[k];
            let start = (item * size).min(slice.len);
            // SAFETY: parts of different items do not overlap, and an executor runs each item once.
            unsafe { slice.slice(start..(start + size).min(slice.len)) }
        });
        task(item, parts);
    });
}

/// Runs work items on the machine's executor, or at once when there is only one.
pub(crate) fn run(machine: Machine<'_>, items: usize, task: &(dyn Fn(usize, usize) + Sync)) {
    match items {
        0 => {}
        1 => task(0, 0),
        _ => machine.executor.run(items, task),
    }
}

/// The machine for `work` multiply-adds or values: the calling thread alone if waking another costs more.
pub(crate) fn sized(machine: Machine<'_>, work: usize) -> Machine<'_> {
    if work < SMALL { Machine { isa: machine.isa, executor: &Inline } } else { machine }
}

/// Panics unless `sequences` are ascending, disjoint ranges of `rows` rows: then items that have different sequences
/// have different rows.
pub(crate) fn check_sequences(sequences: &[Range<usize>], rows: usize) {
    let mut end = 0;
    for sequence in sequences {
        assert!(
            end <= sequence.start && sequence.start <= sequence.end && sequence.end <= rows,
            "sequence {sequence:?} after row {end} of {rows}"
        );
        end = sequence.end;
    }
}
