//! Rows in pages. Contiguous memory is one page that grows.

use attendant_core::kernels::attention::Run;
use std::sync::Arc;

/// Rows of `heads` parts, head-major inside a page: a head's rows follow one another.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    values: Arc<Vec<f32>>,
    rows: usize,
}

impl Page {
    pub(crate) fn new(rows: usize, width: usize) -> Page {
        Page { values: Arc::new(vec![0.0; rows * width]), rows }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Writes one token-major row; a page shared with a fork is copied first.
    pub(crate) fn write(&mut self, at: usize, row: &[f32], heads: usize) {
        let part = row.len() / heads;
        let values = Arc::make_mut(&mut self.values);
        for (head, row) in row.chunks_exact(part).enumerate() {
            let start = (head * self.rows + at) * part;
            values[start..start + part].copy_from_slice(row);
        }
    }

    /// The same rows with room for `rows`.
    pub(crate) fn grown(&self, rows: usize, heads: usize) -> Page {
        let part = self.values.len() / (self.rows * heads);
        let mut page = Page::new(rows, part * heads);
        let values = Arc::make_mut(&mut page.values);
        for head in 0..heads {
            let from = &self.values[head * self.rows * part..(head + 1) * self.rows * part];
            values[head * rows * part..head * rows * part + from.len()].copy_from_slice(from);
        }
        page
    }

    /// Rows `at .. at + count`, the first of them at position `first`.
    pub(crate) fn run(&self, at: usize, count: usize, first: usize, heads: usize) -> Run<'_> {
        let part = self.values.len() / (self.rows * heads);
        Run { first, rows: count, data: &self.values[at * part..], row_stride: part, head_stride: self.rows * part }
    }
}
