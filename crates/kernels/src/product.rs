//! Matrix products, all by one function over strided views: a linear layer, both its gradients, and products per head.
//!
//! Every entry of C is one accumulator: the products are added in ascending `k`, whatever the shape of C, the place
//! of the entry in it and the number of threads. So a row's result does not depend on which rows share the call.
//!
//! An item is a block of rows by a group of columns of C. Its worker goes through `k` in blocks, and for each through the
//! panels of the group: it packs one into its own scratch, where it stays in the first-level cache while all rows of
//! the block pass by. Each row block packs B again, which costs little beside the hundred and more rows that use it, and saves the
//! shared buffer, its memory traffic and a second region. With few rows B is read from memory once.

pub mod bf16;
mod cut;
pub(crate) mod matrix;

pub use matrix::{MatrixMut, MatrixRef};

use crate::Machine;
use crate::disjoint::{Disjoint, run};
use crate::dots::{FEW_ROWS, multiply_rows};
use crate::simd::{Kernel, Simd};
use crate::tile::{MAX_PANEL, Single, TILE_ROWS, multiply_panel, pack_panels, panel_width};
use cut::{Cut, even};

/// Columns of B packed at a time: four cache lines of each row, whose rows may be pages apart.
const PACKED: usize = MAX_PANEL;

/// What becomes of the values that C holds before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// They are overwritten without being read.
    Store,
    /// They are where the sums start.
    Add,
}

/// How far the next matrix of a batch lies from the one before, for each operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Between matrices of C.
    pub c: usize,
    /// Between matrices of A.
    pub a: usize,
    /// Between matrices of B.
    pub b: usize,
}

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`.
///
/// A linear layer over W `[out, in]` is `product(y, x, w.transposed())`; its gradients are `product(dx, dy, w)` and
/// `product(dw, dy.transposed(), x)`.
///
/// # Panics
/// If the shapes do not agree, or `scratch` is shorter than [`product_scratch`] says.
pub fn product(
    machine: Machine<'_>,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    product_batched(machine, 1, Steps { c: 0, a: 0, b: 0 }, c, a, b, accumulate, scratch);
}

/// `batch` products of one shape in one parallel region, as [`product`]; `c`, `a` and `b` are the operands of the first. A step
/// of 0 gives every product the same operand.
///
/// The matrices of C may follow each other or lie beside each other, as heads in a row do.
///
/// # Panics
/// As [`product`]; if a matrix of the batch does not lie in its slice; if matrices of C overlap.
pub fn product_batched(
    machine: Machine<'_>,
    batch: usize,
    steps: Steps,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    let plan = Plan::new(c.rows(), c.cols(), a.cols(), a.col_stride() == 1, Plan::row_block(machine));
    check(batch, steps, &c, a, b);
    let workers = machine.executor.workers();
    let want = product_scratch(c.rows(), a.cols(), workers);
    assert!(scratch.len() >= want, "scratch of a product: want {want}, got {}", scratch.len());
    let scratch = Disjoint::new(scratch);
    let items = plan.cut.items();
    run(machine, batch * items, &|item, worker| {
        let (index, [rows, cols]) = (item / items, plan.cut.item(item % items));
        // SAFETY: matrices of C do not overlap (checked above), nor do the parts of one, and each item runs once.
        let c = unsafe { c.part(index * steps.c, rows.clone(), cols.clone()) };
        let a = a.moved(index * steps.a).part(rows, 0..a.cols());
        let b = b.moved(index * steps.b).part(0..b.rows(), cols);
        // SAFETY: this is the worker's own part, and a worker runs one item at a time.
        let scratch = unsafe { scratch.slice(worker * plan.scratch()..(worker + 1) * plan.scratch()) };
        machine.isa.run(Block { c, a, b, accumulate, k_block: plan.k_block, scratch });
    });
}

/// Values of scratch that [`product`] of an A `[m, k]` needs, and [`product_batched`] of such, whatever the columns of C.
pub fn product_scratch(m: usize, k: usize, workers: usize) -> usize {
    Plan::scratch_of(even(m, Plan::MOST_ROWS).next_multiple_of(TILE_ROWS), Plan::k_block(k)) * workers
}

#[track_caller]
fn check(batch: usize, steps: Steps, c: &MatrixMut<'_>, a: MatrixRef<'_>, b: MatrixRef<'_>) {
    let (m, n, k) = (c.rows(), c.cols(), a.cols());
    assert!(
        a.rows() == m && b.rows() == k && b.cols() == n,
        "product: want [{m}, {n}] = [{m}, {k}] [{k}, {n}], got [{m}, {n}] = [{}, {k}] [{}, {}]",
        a.rows(),
        b.rows(),
        b.cols()
    );
    let Some(last) = batch.checked_sub(1) else { return };
    let furthest = |step: usize| last.checked_mul(step).unwrap_or_else(|| panic!("{batch} matrices, {step} values apart"));
    a.moved(furthest(steps.a));
    b.moved(furthest(steps.b));
    let (furthest, extent) = (furthest(steps.c), c.extent());
    let inside = extent == 0 || furthest.checked_add(extent).is_some_and(|end| end <= c.len());
    assert!(inside, "{batch} matrices of C [{m}, {n}], {} apart, in {} values", steps.c, c.len());
    let beside = steps.c >= n && furthest.checked_add(n).is_some_and(|end| end <= c.row_stride());
    assert!(last == 0 || steps.c >= extent || beside, "matrices of C [{m}, {n}], {} apart, overlap", steps.c);
}

/// How a product is cut, from its shape alone.
#[derive(Clone, Copy)]
struct Plan {
    cut: Cut,
    k_block: usize,
}

impl Plan {
    /// Rows of a block on any processor, at most.
    const MOST_ROWS: usize = 384;
    /// Columns of A between two visits to an entry of C. A panel of 16 columns, with AVX2, and a row tile of A then fit in 32 KiB; a
    /// panel of AVX-512 does not, and shorter blocks were slower all the same: C is read and written more often.
    const K_BLOCK: usize = 384;
    /// What it costs to copy an entry of A, to read one where it lies, and to pack one of B, in multiply-adds.
    const COPYING: usize = 48;
    const READING: usize = 4;
    const PACKING: usize = 48;
    /// What an item costs the queue, in multiply-adds.
    const QUEUE: usize = 1 << 17;

    /// Rows of a block, at most. With `K_BLOCK` columns of A they take less than two thirds of the second-level cache, which has a
    /// mebibyte or more where there is AVX-512: the more rows, the less often B is packed.
    fn row_block(machine: Machine<'_>) -> usize {
        if machine.isa.has_wide_tiles() { Self::MOST_ROWS } else { Self::MOST_ROWS / 2 }
    }

    /// The cheapest of a few cuts. With more blocks of rows B is packed more often, with more groups of columns A is copied more often;
    /// with fewer items a worker waits longer for another one that took the last of them, up to the time of an item.
    fn new(m: usize, n: usize, k: usize, a_in_place: bool, most_rows: usize) -> Plan {
        let (entry_of_a, queue) = (if a_in_place { Self::READING } else { Self::COPYING }, Self::QUEUE / k.max(1));
        let fewest = m.div_ceil(most_rows).max(1);
        let cuts = (fewest..fewest + 4).flat_map(|blocks| {
            let rows = m.div_ceil(blocks).max(1).next_multiple_of(TILE_ROWS);
            // Where the cost of `groups` groups is least, but for what rounding to whole panels changes.
            let (rising, falling) = (entry_of_a * m + blocks * queue, (rows + Self::PACKING) * n);
            let groups = (falling / rising.max(1)).isqrt().max(1);
            [groups, groups + 1].map(|groups| [rows, n.div_ceil(groups).max(1).next_multiple_of(PACKED)])
        });
        let cost = |&[rows, cols]: &[usize; 2]| {
            let items = m.div_ceil(rows) * n.div_ceil(cols);
            (items + 1) * (rows * cols + entry_of_a * rows + Self::PACKING * cols + queue)
        };
        let part = cuts.min_by_key(cost).expect("a few cuts");
        Plan { cut: Cut { whole: [m, n], part }, k_block: Self::k_block(k) }
    }

    fn k_block(k: usize) -> usize {
        even(k, Self::K_BLOCK)
    }

    /// Values that one worker needs: a panel of B and a block of A.
    fn scratch(&self) -> usize {
        Self::scratch_of(self.cut.part[0], self.k_block)
    }

    fn scratch_of(rows: usize, k_block: usize) -> usize {
        k_block * PACKED + rows * copy_stride(k_block)
    }
}

/// One item: a block of rows by a group of columns.
struct Block<'a> {
    c: MatrixMut<'a>,
    a: MatrixRef<'a>,
    b: MatrixRef<'a>,
    accumulate: Accumulate,
    k_block: usize,
    scratch: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Block { c, a, b, mut accumulate, k_block, scratch } = self;
        let (m, n, k) = (c.rows(), c.cols(), a.cols());
        if m <= FEW_ROWS && a.col_stride() == 1 && b.row_stride() == 1 {
            return multiply_rows(simd, c, a, b.transposed(), accumulate);
        }
        let width = panel_width::<S>();
        let (panels, a_scratch) = scratch.split_at_mut(k_block * PACKED);
        let mut first = 0;
        loop {
            let ks = first..(first + k_block).min(k);
            let a = rows_contiguous(simd, a.part(0..m, ks.clone()), a_scratch);
            for col in (0..n).step_by(PACKED) {
                let packed = col..(col + PACKED).min(n);
                pack_panels(simd, b.part(ks.clone(), packed.clone()), panels, ks.len(), 0);
                for (col, panel) in packed.step_by(width).zip(panels.chunks(width * ks.len().max(1))) {
                    // SAFETY: the only part of `c` in use.
                    let c = unsafe { c.part(0, 0..m, col..(col + width).min(n)) };
                    multiply_panel::<Single, _>(simd, c, a, panel, accumulate);
                }
            }
            accumulate = Accumulate::Add;
            first = ks.end;
            if first >= k {
                return;
            }
        }
    }
}

/// A with unit column stride: in place, or copied so that a row tile's values lie on few cache lines.
#[inline(always)]
fn rows_contiguous<'a, S: Simd>(simd: S, a: MatrixRef<'a>, scratch: &'a mut [f32]) -> MatrixRef<'a> {
    if a.col_stride() == 1 {
        return a;
    }
    simd.call(Copy { from: a, to: scratch });
    MatrixRef::strided(scratch, a.rows(), a.cols(), copy_stride(a.cols()), 1)
}

/// Distance between rows of a copy: an odd number of cache lines, so that the lines of many rows that a transpose writes to by
/// turns fall into different sets of the first-level cache.
fn copy_stride(cols: usize) -> usize {
    (cols.div_ceil(16) | 1) * 16
}

/// Copies a matrix into contiguous rows, [`copy_stride`] apart.
struct Copy<'a> {
    from: MatrixRef<'a>,
    to: &'a mut [f32],
}

impl Kernel for Copy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Copy { from, to } = self;
        let (rows, cols, lanes) = (from.rows(), from.cols(), S::LANES);
        let stride = copy_stride(cols);
        let to = &mut to[..rows * stride];
        let (mut whole_rows, mut whole_cols) = (0, 0);
        if from.row_stride() == 1 {
            (whole_rows, whole_cols) = (rows / lanes * lanes, cols / lanes * lanes);
        }
        for j in (0..whole_cols).step_by(lanes) {
            for i in (0..whole_rows).step_by(lanes) {
                // SAFETY: the square at `(i, j)` lies within `from`, whose row_stride is 1, and within `to`.
                unsafe {
                    let at = from.as_ptr().add(i + j * from.col_stride());
                    simd.transpose(at, from.col_stride(), to.as_mut_ptr().add(i * stride + j), stride);
                }
            }
        }
        for i in 0..rows {
            let done = if i < whole_rows { whole_cols } else { 0 };
            for j in done..cols {
                to[i * stride + j] = from.at(i, j);
            }
        }
    }
}
