//! Rows of any scalar, for the oracles and their comparison.

use crate::real::Real;
use std::ops::{Index, IndexMut};

/// `rows x width` values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<S> {
    rows: usize,
    width: usize,
    data: Vec<S>,
}

impl<S: Real> Rows<S> {
    /// Zeros.
    pub fn zeros(rows: usize, width: usize) -> Rows<S> {
        Rows { rows, width, data: vec![S::from(0.0); rows * width] }
    }

    /// Given values.
    ///
    /// # Panics
    /// If there are not `rows * width` of them.
    pub fn new(rows: usize, width: usize, data: Vec<S>) -> Rows<S> {
        assert_eq!(data.len(), rows * width, "rows of {rows} x {width}");
        Rows { rows, width, data }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values.
    pub fn data(&self) -> &[S] {
        &self.data
    }

    /// All values, to change.
    pub fn data_mut(&mut self) -> &mut [S] {
        &mut self.data
    }
}

impl<S> Index<usize> for Rows<S> {
    type Output = [S];
    fn index(&self, row: usize) -> &[S] {
        &self.data[row * self.width..(row + 1) * self.width]
    }
}

impl<S> IndexMut<usize> for Rows<S> {
    fn index_mut(&mut self, row: usize) -> &mut [S] {
        &mut self.data[row * self.width..(row + 1) * self.width]
    }
}
