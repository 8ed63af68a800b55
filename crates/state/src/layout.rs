//! The declaration: planes, how they grow, and how many bytes that is.

use crate::retention::Retention;
use crate::storage::{Dtype, Storage};
use attendant_core::{Error, Result};

/// Rows that a mechanism keeps between calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// What it is called in `remember` and `recall`.
    pub name: &'static str,
    /// Parts of a row that are read separately: key heads. A store keeps each part's rows together.
    pub heads: usize,
    /// Values in a row, all heads together.
    pub width: usize,
    /// When rows are added.
    pub growth: Growth,
    /// Whether a store may keep fewer bits.
    pub precision: Precision,
}

/// When a plane gains rows, and which it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// A row per token: keys, values, an MLA latent.
    PerToken,
    /// A row per block of tokens: compressed keys, summaries. Row `b` is made once token `(b + 1) * tokens - 1` is there and
    /// must not depend on later ones. It may look back beyond its own block, which is how overlapping blocks are declared.
    PerBlock {
        /// Tokens of a block.
        tokens: usize,
    },
    /// A row per token, of which the first `keep` and the last `window` stay. A layer whose queries see `w` keys, their own
    /// among them, needs `window = w - 1`, since new rows come from the call itself. That is only enough if a call commits
    /// after it has read: the first query of a chunk needs old rows that the rows of the chunk's other queries overwrite.
    Ring {
        /// Latest rows that stay.
        window: usize,
        /// First rows that stay (attention sinks).
        keep: usize,
    },
    /// One row, replaced: recurrent state, convolution tail, fast weights. Zeros at first, and f32 in every store: it is made
    /// from its predecessor, so that rounding would add up.
    Constant,
    /// Rows of the source, written once: cross attention.
    PerSource,
}

/// Whether a store may keep fewer bits than f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// It may.
    Cache,
    /// f32 always.
    Exact,
}

impl Plane {
    /// A plane with one head.
    pub fn new(name: &'static str, width: usize, growth: Growth) -> Plane {
        Plane { name, heads: 1, width, growth, precision: Precision::Cache }
    }

    /// The same, its rows split into heads.
    pub fn heads(self, heads: usize) -> Plane {
        Plane { heads, ..self }
    }

    /// The same, in f32 always.
    pub fn exact(self) -> Plane {
        Plane { precision: Precision::Exact, ..self }
    }

    /// The type that a store of `dtype` keeps it in.
    pub fn dtype(&self, dtype: Dtype) -> Dtype {
        match (self.precision, self.growth) {
            (Precision::Exact, _) | (_, Growth::Constant) => Dtype::F32,
            (Precision::Cache, _) => dtype,
        }
    }

    /// Bytes of one row in a store of `dtype`.
    pub fn row_bytes(&self, dtype: Dtype) -> usize {
        self.dtype(dtype).row_bytes(self.heads, self.width)
    }

    /// Bytes that one more token adds before a ring is full; 0 for planes that do not grow with tokens.
    pub fn bytes_per_token(&self, dtype: Dtype) -> f64 {
        let row = self.row_bytes(dtype) as f64;
        match self.growth {
            Growth::PerToken | Growth::Ring { .. } => row,
            Growth::PerBlock { tokens } => row / tokens as f64,
            Growth::Constant | Growth::PerSource => 0.0,
        }
    }

    /// Bytes that a store has allocated for this plane after `tokens` tokens and `source` source rows, in whatever chunks
    /// they came. A contiguous store keeps its room when it is truncated, a paged one gives back whole pages.
    pub fn bytes(&self, tokens: usize, source: usize, storage: Storage) -> usize {
        let rows = match self.growth {
            Growth::PerToken | Growth::Ring { .. } => tokens,
            Growth::PerBlock { tokens: block } => tokens / block,
            Growth::PerSource => source,
            Growth::Constant => 1,
        };
        self.allocated_rows(rows, storage) * self.row_bytes(storage.dtype)
    }

    /// Rows that a store has room for once `rows` were appended.
    pub(crate) fn allocated_rows(&self, rows: usize, storage: Storage) -> usize {
        let retention = Retention::new(self.growth, storage.rings);
        match self.growth {
            Growth::Constant => 1,
            _ => storage.paging.allocated_rows(retention.used(rows), retention.slots()),
        }
    }
}

/// Every plane of one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateLayout {
    planes: Vec<Plane>,
}

impl StateLayout {
    /// The given planes.
    ///
    /// # Panics
    /// If two have the same name, a width or a block is 0, or heads do not divide a width.
    pub fn new(planes: impl Into<Vec<Plane>>) -> StateLayout {
        let planes = planes.into();
        for (i, plane) in planes.iter().enumerate() {
            assert!(planes[..i].iter().all(|other| other.name != plane.name), "two planes named {}", plane.name);
            let Plane { name, heads, width, growth, .. } = *plane;
            assert!(width > 0 && heads > 0 && width % heads == 0, "plane {name}: {heads} heads of a row of {width}");
            assert!(growth != Growth::PerBlock { tokens: 0 }, "plane {name}: blocks of no tokens");
        }
        StateLayout { planes }
    }

    /// The planes in order.
    pub fn planes(&self) -> &[Plane] {
        &self.planes
    }

    /// Where a plane stands.
    ///
    /// # Errors
    /// If none has that name.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.planes.iter().position(|plane| plane.name == name).ok_or_else(|| Error::State {
            plane: name.into(),
            why: format!("not declared; declared are {:?}", self.planes.iter().map(|plane| plane.name).collect::<Vec<_>>()),
        })
    }

    /// Bytes that one more token adds before its rings are full.
    pub fn bytes_per_token(&self, dtype: Dtype) -> f64 {
        self.planes.iter().map(|plane| plane.bytes_per_token(dtype)).sum()
    }

    /// Bytes of the planes that do not grow.
    pub fn constant_bytes(&self) -> usize {
        let constant = self.planes.iter().filter(|plane| plane.growth == Growth::Constant);
        constant.map(|plane| plane.row_bytes(Dtype::F32)).sum()
    }

    /// Bytes allocated after `tokens` tokens and `source` source rows: the sum of [`Plane::bytes`].
    pub fn bytes(&self, tokens: usize, source: usize, storage: Storage) -> usize {
        self.planes.iter().map(|plane| plane.bytes(tokens, source, storage)).sum()
    }
}
