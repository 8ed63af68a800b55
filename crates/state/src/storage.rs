//! How a store lays rows out. The same for every plane of a sequence, and no mechanism's business.

use attendant_core::kernels::int4::Int4;

/// How a store lays rows out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// One stretch of memory, or pages.
    pub paging: Paging,
    /// Whether planes that may forget rows do.
    pub rings: Rings,
    /// The type of the values of planes that may be kept in fewer bits.
    pub dtype: Dtype,
}

/// One stretch of memory, or pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Room for this many rows at once, doubled when full.
    Contiguous {
        /// Rows to make room for at first, at least 1.
        rows: usize,
    },
    /// Pages of this many rows, made when a row needs them and shared between forks until written.
    Paged {
        /// Rows of a page, at least 1.
        rows: usize,
    },
}

/// Whether planes of [`Growth::Ring`](crate::Growth::Ring) forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// They keep what they declare and overwrite the rest.
    Overwrite,
    /// They keep every row, so that any position can be truncated to.
    KeepAll,
}

/// The type in which values are stored. Rounding is to the nearest; what is stored is read back exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 4 bytes.
    F32,
    /// 2 bytes: the range of f32, a relative error up to 2^-8.
    Bf16,
    /// 2 bytes: a relative error up to 2^-11, infinite beyond 65,504.
    F16,
    /// 1 byte, and 4 for the scale of each head of each row: an error up to half a step, which is the head's largest
    /// magnitude in that row over 127. A head with a value that is not finite reads back as NaN.
    Int8,
    /// 18 bytes for 32 values of a head of a row, the last group of which may hold fewer: an error up to half a step, which is the
    /// group's largest magnitude over 7. A group with a value that is not finite reads back as NaN.
    Int4,
}

impl Storage {
    /// Rows of a page that models are run with: few enough that a short text wastes little, many enough that reading streams.
    pub const PAGE: usize = 256;

    /// Contiguous with room for `rows` rows at first, with rings, in f32.
    pub fn contiguous(rows: usize) -> Storage {
        Storage { paging: Paging::Contiguous { rows: rows.max(1) }, rings: Rings::Overwrite, dtype: Dtype::F32 }
    }

    /// Pages of `rows` rows, with rings, in f32.
    pub fn paged(rows: usize) -> Storage {
        Storage { paging: Paging::Paged { rows: rows.max(1) }, ..Storage::contiguous(1) }
    }

    /// The same with other rings.
    pub fn rings(self, rings: Rings) -> Storage {
        Storage { rings, ..self }
    }

    /// The same in another type.
    pub fn dtype(self, dtype: Dtype) -> Storage {
        Storage { dtype, ..self }
    }
}

impl Paging {
    /// Rows that are allocated once `rows` slots of `all` were in use, however the rows came.
    pub(crate) fn allocated_rows(self, rows: usize, all: usize) -> usize {
        match self {
            Paging::Contiguous { rows: first } => (first * rows.div_ceil(first).next_power_of_two()).min(all),
            Paging::Paged { rows: page } => rows.next_multiple_of(page),
        }
    }

    /// Where a slot lies: page, and row in the page. Contiguous memory is one page that grows.
    pub(crate) fn place(self, slot: usize) -> (usize, usize) {
        match self {
            Paging::Contiguous { .. } => (0, slot),
            Paging::Paged { rows } => (slot / rows, slot % rows),
        }
    }

    /// Rows from row `at` of a page to where the next page begins.
    pub(crate) fn rows_left(self, at: usize) -> usize {
        match self {
            Paging::Contiguous { .. } => usize::MAX,
            Paging::Paged { rows } => rows - at,
        }
    }
}

impl Dtype {
    /// All of them, the most exact first.
    pub const ALL: &'static [Dtype] = &[Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Int8, Dtype::Int4];

    /// What it is called in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Int8 => "int8",
            Dtype::Int4 => "int4",
        }
    }

    /// Bytes of a row of `heads` parts, `width` values in all.
    pub fn row_bytes(self, heads: usize, width: usize) -> usize {
        match self {
            Dtype::F32 => 4 * width,
            Dtype::Bf16 | Dtype::F16 => 2 * width,
            Dtype::Int8 => width + 4 * heads,
            Dtype::Int4 => heads * Dtype::groups(width / heads) * size_of::<Int4>(),
        }
    }

    /// Groups of four-bit values that hold the `part` values of one head.
    pub(crate) fn groups(part: usize) -> usize {
        part.div_ceil(Int4::VALUES)
    }
}
