//! A ragged batch: new rows of several sequences, one after the other.

use crate::rotary::Rotary;
use attendant_core::Tensor;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

/// New rows of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Where they stand among the rows of the batch.
    pub rows: Range<usize>,
    /// Position of the first of them.
    pub first: usize,
    /// Where its source rows stand among the source rows of the call: those that no plane holds yet.
    pub source: Range<usize>,
    /// How many rows it is to have in the end; at least those it has now. See [`Batch::reaching`].
    pub length: usize,
}

/// New rows of several sequences.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    sequences: Vec<Sequence>,
    tables: RefCell<Vec<(Rotary, Arc<Tensor>)>>,
}

impl Batch {
    /// For each sequence: how many new rows, and the position of the first.
    pub fn new(parts: impl IntoIterator<Item = (usize, usize)>) -> Batch {
        Batch::with_source(parts.into_iter().map(|(rows, first)| (rows, first, 0)))
    }

    /// For each sequence: how many new rows, the position of the first, and how many new source rows.
    pub fn with_source(parts: impl IntoIterator<Item = (usize, usize, usize)>) -> Batch {
        let (mut row, mut source_row) = (0, 0);
        let sequences = parts.into_iter().map(|(rows, first, source)| {
            let source_rows = source_row..source_row + source;
            let sequence = Sequence { rows: row..row + rows, first, source: source_rows, length: first + rows };
            (row, source_row) = (row + rows, source_row + source);
            sequence
        });
        Batch { sequences: sequences.collect(), tables: RefCell::default() }
    }

    /// `count` sequences of `rows` rows from position 0, as in training.
    pub fn even(count: usize, rows: usize) -> Batch {
        Batch::new((0..count).map(|_| (rows, 0)))
    }

    /// The same, of sequences that are to have so many rows in the end.
    ///
    /// Some rotations depend on it ([`Scaling::Dynamic`](crate::rotary::Scaling), `Longrope`), and rows in a cache keep theirs:
    /// every call of a sequence must say the same. Without it a call's last row is taken for the sequence's.
    pub fn reaching(mut self, lengths: impl IntoIterator<Item = usize>) -> Batch {
        for (sequence, length) in self.sequences.iter_mut().zip(lengths) {
            sequence.length = sequence.length.max(length);
        }
        self
    }

    /// The sequences, in the order of their rows.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.sequences.last().map_or(0, |sequence| sequence.rows.end)
    }

    /// The row ranges of the sequences.
    pub fn row_ranges(&self) -> Vec<Range<usize>> {
        self.sequences.iter().map(|sequence| sequence.rows.clone()).collect()
    }

    /// The position of every row.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.sequences.iter().flat_map(|sequence| (0..sequence.rows.len()).map(|i| sequence.first + i))
    }

    /// Cosines and sines of every row, computed once for all layers.
    pub(crate) fn rotary_table(&self, rotary: &Rotary) -> Arc<Tensor> {
        let mut tables = self.tables.borrow_mut();
        if let Some((_, table)) = tables.iter().find(|(known, _)| known == rotary) {
            return table.clone();
        }
        let lengths = self.sequences.iter().flat_map(|sequence| std::iter::repeat_n(sequence.length, sequence.rows.len()));
        let table = Arc::new(rotary.table(self.positions().zip(lengths), self.rows()));
        tables.push((rotary.clone(), table.clone()));
        table
    }
}
