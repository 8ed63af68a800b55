//! Products of bf16 with sums in f32: operands are rounded to the nearest, twice as many of them fit in a register and in a cache,
//! and processors with instructions for it multiply them twice as fast as f32.
//!
//! What is exact: a product of two bf16 is an f32, so only sums round, those of f32. An entry of C is one accumulator; the
//! products of two that follow each other along `k` are added together, the later one first, in ascending order of `k`. Where
//! bf16 is widened to f32 and multiplied as such, every processor gives the same bits. Instructions for bf16 may add the two
//! in their own order, which is bounded as any order of sums is, and take numbers below 2^-126, the smallest normal f32, for zero:
//! operands, and sums on their way. NaN and infinity stay what they are, and what rounds beyond the largest bf16 is infinity.
//!
//! Whatever the instruction set, bits depend neither on the number of threads nor on which rows share the call.
//!
//! The right operand is packed once, in panels of pairs along `k`. An item is a block of rows by a group of columns of C; its worker
//! rounds the rows to its scratch, which they do not leave before every panel of the group has passed by. There is no blocking
//! along `k` up to 1,536: sums stay in registers.

use super::cut::{Cut, even};
use super::{Accumulate, MatrixMut, MatrixRef};
use crate::Machine;
use crate::disjoint::{Disjoint, each_part, run};
use crate::isa::Isa;
use crate::memory::Memory;
use crate::pairs::Pair;
use crate::simd::{Kernel, Simd};
use crate::tile::{MAX_PANEL, Operand, TILE_ROWS, multiply_panel, panel_width};
use std::fmt;

/// A right operand B `[k, n]`, rounded and packed for one instruction set. It takes 2 bytes a value, columns in whole blocks of 64.
#[derive(Clone)]
pub struct Packed {
    isa: Isa,
    k: usize,
    n: usize,
    panels: Memory<f32>,
}

impl Packed {
    /// Rounds and packs `b`, in any layout: of weights W `[out, in]` the transposed view for a linear layer, W itself for the
    /// gradient of its input.
    pub fn new(machine: Machine<'_>, b: MatrixRef<'_>) -> Packed {
        let mut panels = Memory::zeroed(panels_len(b.rows(), b.cols()));
        pack(machine, b, &mut panels);
        Packed { isa: machine.isa, k: b.rows(), n: b.cols(), panels }
    }

    /// Number of rows, `k`.
    pub fn rows(&self) -> usize {
        self.k
    }

    /// Number of columns, `n`.
    pub fn cols(&self) -> usize {
        self.n
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.panels[..])
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bf16 [{}, {}] for {:?}", self.k, self.n, self.isa)
    }
}

/// C `[m, n]` = or += A `[m, k]` B `[k, n]`, both rounded to bf16, in any layout.
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
    check(&c, a, b.rows(), b.cols());
    let want = product_scratch(c.rows(), c.cols(), a.cols(), machine.executor.workers());
    assert!(scratch.len() >= want, "scratch of a bf16 product: want {want}, got {}", scratch.len());
    let (panels, scratch) = scratch.split_at_mut(panels_len(b.rows(), b.cols()));
    pack(machine, b, panels);
    multiply(machine, c, a, panels, accumulate, scratch);
}

/// Values of scratch that [`product`] needs.
pub fn product_scratch(m: usize, n: usize, k: usize, workers: usize) -> usize {
    panels_len(k, n) + product_packed_scratch(m, n, k, workers)
}

/// As [`product`], with a right operand that was packed before.
///
/// # Panics
/// If the shapes do not agree, if `b` was packed for another instruction set, or if `scratch` is shorter than
/// [`product_packed_scratch`] says.
pub fn product_packed(
    machine: Machine<'_>,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    b: &Packed,
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    check(&c, a, b.k, b.n);
    assert!(b.isa == machine.isa, "a product on {:?} of an operand packed for {:?}", machine.isa, b.isa);
    let want = product_packed_scratch(c.rows(), c.cols(), a.cols(), machine.executor.workers());
    assert!(scratch.len() >= want, "scratch of a bf16 product: want {want}, got {}", scratch.len());
    multiply(machine, c, a, &b.panels, accumulate, scratch);
}

/// Values of scratch that [`product_packed`] needs.
pub fn product_packed_scratch(m: usize, n: usize, k: usize, workers: usize) -> usize {
    Plan::new(m, n, k).scratch() * workers
}

#[track_caller]
fn check(c: &MatrixMut<'_>, a: MatrixRef<'_>, b_rows: usize, b_cols: usize) {
    let (m, n, k) = (c.rows(), c.cols(), a.cols());
    assert!(
        a.rows() == m && b_rows == k && b_cols == n,
        "bf16 product: want [{m}, {n}] = [{m}, {k}] [{k}, {n}], got [{m}, {n}] = [{}, {k}] [{b_rows}, {b_cols}]",
        a.rows()
    );
}

/// Values that the panels of B `[k, n]` take.
fn panels_len(k: usize, n: usize) -> usize {
    Pair::cells(k) * n.next_multiple_of(MAX_PANEL)
}

/// Packs B into panels, some of its columns an item.
fn pack(machine: Machine<'_>, b: MatrixRef<'_>, panels: &mut [f32]) {
    let (depth, groups) = (Pair::cells(b.rows()), b.cols().div_ceil(MAX_PANEL));
    each_part(machine, groups, [(panels, depth * MAX_PANEL)], |group, [panels]| {
        let columns = group * MAX_PANEL..((group + 1) * MAX_PANEL).min(b.cols());
        machine.isa.run_pairs(Pack { b: b.part(0..b.rows(), columns), panels, depth });
    });
}

struct Pack<'a> {
    b: MatrixRef<'a>,
    panels: &'a mut [f32],
    depth: usize,
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        Pair::pack(simd, self.b, self.panels, self.depth, 0);
    }
}

fn multiply(
    machine: Machine<'_>,
    c: MatrixMut<'_>,
    a: MatrixRef<'_>,
    panels: &[f32],
    accumulate: Accumulate,
    scratch: &mut [f32],
) {
    let (plan, depth) = (Plan::new(c.rows(), c.cols(), a.cols()), Pair::cells(a.cols()));
    let scratch = Disjoint::new(scratch);
    run(machine, plan.cut.items(), &|item, worker| {
        let [rows, cols] = plan.cut.item(item);
        let panels = &panels[cols.start * depth..];
        // SAFETY: the parts of C do not overlap, and each item runs once.
        let c = unsafe { c.part(0, rows.clone(), cols) };
        let a = a.part(rows, 0..a.cols());
        // SAFETY: this is the worker's own part, and a worker runs one item at a time.
        let scratch = unsafe { scratch.slice(worker * plan.scratch()..(worker + 1) * plan.scratch()) };
        machine.isa.run_pairs(Block { c, a, panels, accumulate, k_block: plan.k_block, scratch });
    });
}

/// Rows that are whole strips of register tiles and whole squares, two by two.
const STRIPS: usize = 96;

/// How a product is cut, from its shape alone.
#[derive(Clone, Copy)]
struct Plan {
    cut: Cut,
    /// Even.
    k_block: usize,
}

impl Plan {
    /// Rows of a block, at most.
    const ROW_BLOCK: usize = 192;
    /// Values of a block of A, at most: they take 288 KiB, more than half of a second-level cache.
    const BLOCK: usize = 192 * 768;
    /// Columns of A between two visits to an entry of C.
    const K_BLOCK: usize = 1536;
    /// Items to aim for, so that a dynamic queue evens out what the workers get. More would round the same rows more often.
    const ITEMS: usize = 16;
    /// An item should cost this many multiply-adds, or it costs less than the queue.
    const ITEM_COST: usize = 1 << 20;

    fn new(m: usize, n: usize, k: usize) -> Plan {
        let k_block = even(k, Self::K_BLOCK).next_multiple_of(2);
        let unit = if m < STRIPS { TILE_ROWS } else { STRIPS };
        let row_block = even(m, Self::ROW_BLOCK.min(Self::BLOCK / k_block)).next_multiple_of(unit);
        let items = (m * n * k / Self::ITEM_COST).clamp(1, Self::ITEMS);
        let groups = items.div_ceil(m.div_ceil(row_block).max(1));
        let col_group = n.div_ceil(groups).max(1).next_multiple_of(MAX_PANEL);
        Plan { cut: Cut { whole: [m, n], part: [row_block, col_group] }, k_block }
    }

    /// Values that one worker needs for a block of A, whichever way it lies.
    fn scratch(&self) -> usize {
        Pair::left_scratch(self.cut.part[0], self.k_block)
    }
}

/// One item: a block of rows by a group of columns, with the panels of these and of all that follow.
struct Block<'a> {
    c: MatrixMut<'a>,
    a: MatrixRef<'a>,
    panels: &'a [f32],
    accumulate: Accumulate,
    k_block: usize,
    scratch: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Block { c, a, panels, mut accumulate, k_block, scratch } = self;
        let (m, n, k, width) = (c.rows(), c.cols(), a.cols(), panel_width::<S>());
        let mut first = 0;
        loop {
            let ks = first..(first + k_block).min(k);
            let a = a.part(0..m, ks.clone());
            Pair::round(simd, a, scratch);
            let a = Pair::left(simd, a, scratch);
            for col in (0..n).step_by(width) {
                let panel = &panels[col * Pair::cells(k) + Pair::cells(first) * width..];
                // SAFETY: the only part of `c` in use.
                let c = unsafe { c.part(0, 0..m, col..(col + width).min(n)) };
                multiply_panel::<Pair, _>(simd, c, a, panel, accumulate);
            }
            accumulate = Accumulate::Add;
            first = ks.end;
            if first >= k {
                return;
            }
        }
    }
}
