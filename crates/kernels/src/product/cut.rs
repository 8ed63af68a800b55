//! How the result of a product is cut into items: blocks of rows by groups of columns.

use std::ops::Range;

#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Rows and columns of the whole.
    pub(super) whole: [usize; 2],
    /// Those of a part, but for the last ones.
    pub(super) part: [usize; 2],
}

impl Cut {
    pub(super) fn items(&self) -> usize {
        self.whole[0].div_ceil(self.part[0]) * self.whole[1].div_ceil(self.part[1])
    }

    /// Rows and columns of an item.
    pub(super) fn item(&self, item: usize) -> [Range<usize>; 2] {
        let groups = self.whole[1].div_ceil(self.part[1]);
        let range = |i: usize, index: usize| {
            let start = index * self.part[i];
            start..(start + self.part[i]).min(self.whole[i])
        };
        [range(0, item / groups), range(1, item % groups)]
    }
}

/// The size of equal parts, none above `most`, that `whole` is cut into.
pub(super) fn even(whole: usize, most: usize) -> usize {
    whole.div_ceil(whole.div_ceil(most).max(1)).max(1)
}
