//! Matrices in place: strided views that are checked once, when they are made.

use std::marker::PhantomData;
use std::ops::Range;

/// A matrix to read: entry `(i, j)` lies at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRef<'a> {
    // Every entry lies inside `data`; the constructors check it and nothing changes it.
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to write, its rows contiguous: entry `(i, j)` lies at `i * row_stride + j`.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    // A pointer and not a slice, since parts of one matrix that lie beside each other interleave in memory. Every entry is
    // within `len` values of `start` and `row_stride >= cols` unless there is one row; the constructors check both.
    start: *mut f32,
    len: usize,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatrixMut` stands for a mutable borrow of its entries and of nothing else.
unsafe impl Send for MatrixMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for MatrixMut<'_> {}

/// Values that a matrix spans from its first entry to its last, or nothing if that exceeds `usize`.
pub(crate) fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?.checked_add(1)
}

#[track_caller]
fn check(what: &str, got: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) {
    let want = extent(rows, cols, row_stride, col_stride);
    assert!(
        want.is_some_and(|want| want <= got),
        "{what} [{rows}, {cols}] with strides ({row_stride}, {col_stride}): want at least {want:?} values, got {got}"
    );
}

#[inline(always)]
fn check_part(rows: &Range<usize>, cols: &Range<usize>, of_rows: usize, of_cols: usize) {
    let inside = |part: &Range<usize>, of| part.start <= part.end && part.end <= of;
    assert!(inside(rows, of_rows) && inside(cols, of_cols), "part ({rows:?}, {cols:?}) of [{of_rows}, {of_cols}]");
}

impl<'a> MatrixRef<'a> {
    /// `data` as `[rows, cols]`, rows one after the other.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    #[track_caller]
    #[inline]
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// `data` as `[rows, cols]` with entry `(i, j)` at `i * row_stride + j * col_stride`. Entries may coincide.
    ///
    /// # Panics
    /// If an entry lies outside `data`.
    #[track_caller]
    #[inline]
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        check("a matrix to read", data.len(), rows, cols, row_stride, col_stride);
        MatrixRef { data, rows, cols, row_stride, col_stride }
    }

    /// The same entries as `[cols, rows]`.
    #[inline]
    pub fn transposed(self) -> Self {
        let MatrixRef { data, rows, cols, row_stride, col_stride } = self;
        MatrixRef { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between entries of one column.
    #[inline]
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance between entries of one row.
    #[inline]
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Entry `(i, j)`.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> f32 {
        assert!(i < self.rows && j < self.cols, "entry ({i}, {j}) of [{}, {}]", self.rows, self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// Row `i` of a matrix with contiguous rows.
    ///
    /// # Panics
    /// If there is none, or the rows are not contiguous.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows && self.col_stride == 1, "row {i} of {}, entries {} apart", self.rows, self.col_stride);
        // Rows without entries may be said to lie anywhere.
        if self.cols == 0 { &[] } else { &self.data[i * self.row_stride..][..self.cols] }
    }

    /// Where entry `(0, 0)` lies; entry `(i, j)` is `i * row_stride + j * col_stride` further.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// Whether as many rows and columns can be read from entry `(0, 0)` on, were the matrix so large: contiguous rows, within the slice
    /// that it was made of.
    #[inline(always)]
    pub(crate) fn reaches(&self, rows: usize, cols: usize) -> bool {
        self.col_stride == 1 && extent(rows, cols, self.row_stride, 1).is_some_and(|end| end <= self.data.len())
    }

    /// Copies the entries in `cols` of every row to rows of `to`, `stride` values apart.
    ///
    /// # Panics
    /// If the matrix has not all of them, or `to` has no room.
    #[inline(always)]
    pub(crate) fn copy_to(&self, cols: Range<usize>, to: &mut [f32], stride: usize) {
        for (i, to) in (0..self.rows).zip(to.chunks_mut(stride)) {
            to[..cols.len()].copy_from_slice(&self.row(i)[cols.clone()]);
        }
    }

    /// The entries in `rows` and `cols`.
    ///
    /// # Panics
    /// If the matrix has not all of them.
    #[inline(always)]
    pub(crate) fn part(&self, rows: Range<usize>, cols: Range<usize>) -> Self {
        check_part(&rows, &cols, self.rows, self.cols);
        let start =
            if rows.is_empty() || cols.is_empty() { 0 } else { rows.start * self.row_stride + cols.start * self.col_stride };
        MatrixRef { data: &self.data[start..], rows: rows.len(), cols: cols.len(), ..*self }
    }

    /// The matrix of the same shape whose first entry lies `step` further.
    ///
    /// # Panics
    /// If an entry would lie outside the slice that this matrix was made of.
    #[track_caller]
    #[inline]
    pub(crate) fn moved(&self, step: usize) -> Self {
        Self::strided(self.data.get(step..).unwrap_or(&[]), self.rows, self.cols, self.row_stride, self.col_stride)
    }
}

impl<'a> MatrixMut<'a> {
    /// `data` as `[rows, cols]`, rows one after the other.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    #[track_caller]
    #[inline]
    pub fn row_major(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `data` as `[rows, cols]`, rows `row_stride` apart.
    ///
    /// # Panics
    /// If an entry lies outside `data`, or `row_stride` is below `cols` so that rows would overlap.
    #[track_caller]
    #[inline]
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check("a matrix to write", data.len(), rows, cols, row_stride, 1);
        assert!(rows <= 1 || row_stride >= cols, "row stride of a matrix to write: want at least {cols}, got {row_stride}");
        MatrixMut { start: data.as_mut_ptr(), len: data.len(), rows, cols, row_stride, borrow: PhantomData }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn row(&self, i: usize) -> &[f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return &[];
        }
        // SAFETY: the row has entries, which lie within the borrowed values (checked when the matrix was made and above).
        unsafe { std::slice::from_raw_parts(self.start.add(i * self.row_stride), self.cols) }
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return &mut [];
        }
        // SAFETY: as in `row`; rows do not overlap and this matrix is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.row_stride), self.cols) }
    }

    /// Distance between rows.
    #[inline]
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Values of the slice that this matrix was made of.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Values from the first entry to the last.
    pub(crate) fn extent(&self) -> usize {
        extent(self.rows, self.cols, self.row_stride, 1).expect("checked when the matrix was made")
    }

    /// Where entry `(0, 0)` lies; entry `(i, j)` is `i * row_stride + j` further.
    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.start
    }

    /// The entries in `rows` and `cols`, `step` values further.
    ///
    /// # Safety
    /// While the result lives, nobody else may use these entries: neither through this matrix nor through another part.
    ///
    /// # Panics
    /// If an entry would lie outside the slice that this matrix was made of.
    #[inline(always)]
    pub(crate) unsafe fn part(&self, step: usize, rows: Range<usize>, cols: Range<usize>) -> MatrixMut<'_> {
        check_part(&rows, &cols, self.rows, self.cols);
        let len = extent(rows.len(), cols.len(), self.row_stride, 1).expect("a part is no larger than its matrix");
        let first = || rows.start.checked_mul(self.row_stride)?.checked_add(cols.start)?.checked_add(step);
        let mut start = self.start;
        if len > 0 {
            let first = first().filter(|first| first.checked_add(len).is_some_and(|end| end <= self.len));
            // Within the values (checked by the line above).
            start =
                start.wrapping_add(first.unwrap_or_else(|| panic!("a part of {len} values, {step} further, of {}", self.len)));
        }
        MatrixMut { start, len, rows: rows.len(), cols: cols.len(), ..*self }
    }
}
