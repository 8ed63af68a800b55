//! The declaration: planes, how they grow, and how many bytes that is.

use attendant_core::{Error, Result};

/// Bytes of one stored value.
pub(crate) const VALUE_BYTES: usize = size_of::<f32>();

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
    /// A row per block of tokens: compressed keys, summaries.
    PerBlock {
        /// Tokens of a block.
        tokens: usize,
    },
    /// A row per token, of which the first `keep` and the last `window` stay. A layer whose queries see `w` keys, their own
    /// among them, needs `window = w - 1`: their own rows come from the call itself.
    Ring {
        /// Latest rows that stay.
        window: usize,
        /// First rows that stay (attention sinks).
        keep: usize,
    },
    /// One row, replaced: recurrent state, convolution tail, fast weights. Zeros at first.
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

/// How a store lays rows out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// One stretch of memory, or pages.
    pub paging: Paging,
    /// Whether planes that may forget rows do.
    pub rings: Rings,
}

/// One stretch of memory, or pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Room for this many rows at once, doubled when full.
    Contiguous {
        /// Rows to make room for at first, at least 1.
        rows: usize,
    },
    /// Pages of this many rows, shared between forks until written.
    Paged {
        /// Rows of a page, at least 1.
        rows: usize,
    },
}

/// Whether planes of [`Growth::Ring`] forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// They keep what they declare and overwrite the rest.
    Overwrite,
    /// They keep every row, so that any position can be rewound to.
    KeepAll,
}

impl Storage {
    /// Contiguous, with rings.
    pub fn contiguous(rows: usize) -> Storage {
        Storage { paging: Paging::Contiguous { rows: rows.max(1) }, rings: Rings::Overwrite }
    }

    /// Paged, with rings.
    pub fn paged(rows: usize) -> Storage {
        Storage { paging: Paging::Paged { rows: rows.max(1) }, rings: Rings::Overwrite }
    }
}

impl Paging {
    /// Rows that are allocated once `rows` were appended one call after the other.
    pub(crate) fn allocated_rows(self, rows: usize) -> usize {
        match self {
            Paging::Contiguous { rows: first } => {
                let mut room = first;
                while room < rows {
                    room *= 2;
                }
                room
            }
            Paging::Paged { rows: page } => rows.div_ceil(page) * page,
        }
    }
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

    /// Bytes that one more token adds before a ring is full; 0 for planes that do not grow with tokens.
    pub fn bytes_per_token(&self) -> f64 {
        let row = (self.width * VALUE_BYTES) as f64;
        match self.growth {
            Growth::PerToken | Growth::Ring { .. } => row,
            Growth::PerBlock { tokens } => row / tokens as f64,
            Growth::Constant | Growth::PerSource => 0.0,
        }
    }

    /// Bytes that a store has allocated for this plane after `tokens` tokens and `source` source rows.
    pub fn bytes(&self, tokens: usize, source: usize, storage: Storage) -> usize {
        let rows = match (self.growth, storage.rings) {
            (Growth::PerToken, _) | (Growth::Ring { .. }, Rings::KeepAll) => storage.paging.allocated_rows(tokens),
            (Growth::PerBlock { tokens: block }, _) => storage.paging.allocated_rows(tokens / block),
            (Growth::Ring { window, keep }, Rings::Overwrite) => window + keep,
            (Growth::Constant, _) => 1,
            (Growth::PerSource, _) => storage.paging.allocated_rows(source),
        };
        rows * self.width * VALUE_BYTES
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
    /// If two have the same name, or heads do not divide a width.
    pub fn new(planes: impl Into<Vec<Plane>>) -> StateLayout {
        let planes = planes.into();
        for (i, plane) in planes.iter().enumerate() {
            assert!(planes[..i].iter().all(|other| other.name != plane.name), "two planes named {}", plane.name);
            assert!(plane.heads > 0 && plane.width % plane.heads == 0, "plane {}: {} heads", plane.name, plane.heads);
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

    /// Bytes that one more token adds.
    pub fn bytes_per_token(&self) -> f64 {
        self.planes.iter().map(Plane::bytes_per_token).sum()
    }

    /// Bytes allocated after `tokens` tokens and `source` source rows.
    pub fn bytes(&self, tokens: usize, source: usize, storage: Storage) -> usize {
        self.planes.iter().map(|plane| plane.bytes(tokens, source, storage)).sum()
    }
}
