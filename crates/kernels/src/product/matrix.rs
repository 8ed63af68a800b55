//! Matrices in place: strided views that are checked once, when they are made.

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
    // Every entry lies inside `data` and `row_stride >= cols`, so rows do not overlap; the constructors check both.
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// Values that a matrix spans from its first entry to its last, or nothing if that exceeds `usize`.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
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

impl<'a> MatrixRef<'a> {
    /// `data` as `[rows, cols]`, rows one after the other.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    #[track_caller]
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// `data` as `[rows, cols]` with entry `(i, j)` at `i * row_stride + j * col_stride`. Entries may coincide.
    ///
    /// # Panics
    /// If an entry lies outside `data`.
    #[track_caller]
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        check("a matrix to read", data.len(), rows, cols, row_stride, col_stride);
        MatrixRef { data, rows, cols, row_stride, col_stride }
    }

    /// The same entries as `[cols, rows]`.
    pub fn transposed(self) -> Self {
        let MatrixRef { data, rows, cols, row_stride, col_stride } = self;
        MatrixRef { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between entries of one column.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance between entries of one row.
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Entry `(i, j)`.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        assert!(i < self.rows && j < self.cols, "entry ({i}, {j}) of [{}, {}]", self.rows, self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// The slice that the entries lie in.
    pub(crate) fn data(&self) -> &'a [f32] {
        self.data
    }
}

impl<'a> MatrixMut<'a> {
    /// `data` as `[rows, cols]`, rows one after the other.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    #[track_caller]
    pub fn row_major(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `data` as `[rows, cols]`, rows `row_stride` apart.
    ///
    /// # Panics
    /// If an entry lies outside `data`, or `row_stride` is below `cols` so that rows would overlap.
    #[track_caller]
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check("a matrix to write", data.len(), rows, cols, row_stride, 1);
        assert!(rows <= 1 || row_stride >= cols, "row stride of a matrix to write: want at least {cols}, got {row_stride}");
        MatrixMut { data, rows, cols, row_stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    pub fn row(&self, i: usize) -> &[f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.row_stride..][..self.cols]
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &mut self.data[i * self.row_stride..][..self.cols]
    }
}
