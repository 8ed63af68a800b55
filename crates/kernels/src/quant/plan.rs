//! How products are cut into items, from their shapes alone.

use super::layout::GROUP;
use super::matrix::Matrix;
use crate::Machine;
use crate::disjoint::{Disjoint, run, sized};
use crate::product::MatrixMut;
use crate::simd::SQUARE;
use std::ops::Range;

/// A block of rows by a run of groups: their part of the result, and a worker's scratch.
pub(super) struct Item<'a> {
    pub(super) y: MatrixMut<'a>,
    pub(super) rows: Range<usize>,
    pub(super) groups: Range<usize>,
    pub(super) scratch: &'a mut [f32],
}

/// Runs `task` for every item of the plan.
pub(super) fn each_item(
    machine: Machine<'_>,
    plan: Plan,
    w: &Matrix,
    y: &MatrixMut<'_>,
    panel: usize,
    scratch: &mut [f32],
    task: &(dyn Fn(Item<'_>) + Sync),
) {
    let want = panel * machine.executor.workers();
    assert!(scratch.len() >= want, "scratch of a product with {w:?}: want {want}, got {}", scratch.len());
    let scratch = Disjoint::new(scratch);
    run(sized(machine, y.rows() * w.rows() * w.width()), plan.items(w), &|item, worker| {
        let (rows, groups) = plan.part(item, w);
        let columns = groups.start * GROUP..(groups.end * GROUP).min(w.rows());
        // SAFETY: parts of different items do not overlap, and an executor runs each item once.
        let y = unsafe { y.part(0, rows.clone(), columns) };
        // SAFETY: this is the worker's own part, and a worker runs one item at a time.
        let scratch = unsafe { scratch.slice(worker * panel..(worker + 1) * panel) };
        task(Item { y, rows, groups, scratch });
    });
}

/// How a product is cut, from its shape alone: blocks of activations by runs of groups.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    m: usize,
    row_block: usize,
    groups: usize,
}

impl Plan {
    /// Items to aim for, so that a dynamic queue evens out what the workers get.
    const ITEMS: usize = 64;
    /// Bytes of weights that make an item of few rows worth the queue.
    const BYTES: usize = 32 << 10;
    /// Multiply-adds that make an item of many rows worth the queue.
    const COST: usize = 1 << 20;
    /// Runs of groups to aim for in bf16, and twice the items to have at least.
    const RUNS: usize = 16;
    /// Rows of a block, at most: their bytes stay in the second-level cache.
    const ROW_BLOCK: usize = 128;

    pub(super) fn few(m: usize, w: &Matrix) -> Plan {
        Plan::new(m, m, w, w.bytes() / Self::BYTES)
    }

    pub(super) fn many(m: usize, w: &Matrix) -> Plan {
        let blocks = m.div_ceil(Self::ROW_BLOCK).max(1);
        Plan::new(m, m.div_ceil(blocks), w, m * w.rows() * w.width() / Self::COST)
    }

    pub(super) fn exact(m: usize, w: &Matrix) -> Plan {
        // Decoding a weight costs as much as several rows.
        Plan::new(m, m, w, (m + 8) * w.rows() * w.width() / Self::COST)
    }

    /// Whole squares, two by two. Rows are cut only where there are too few columns, since each block takes the weights apart anew.
    pub(super) fn bf16(m: usize, w: &Matrix) -> Plan {
        let groups = w.groups().div_ceil(Self::RUNS).next_multiple_of(2);
        let (runs, most) = (w.groups().div_ceil(groups.max(1)).max(1), m.div_ceil(4 * SQUARE));
        let blocks = (Self::RUNS / 2).div_ceil(runs).min(most).max(1);
        Plan { m, row_block: m.div_ceil(blocks).next_multiple_of(2 * SQUARE).max(1), groups: groups.max(1) }
    }

    fn new(m: usize, row_block: usize, w: &Matrix, items: usize) -> Plan {
        let runs = items.clamp(1, Self::ITEMS).div_ceil(m.div_ceil(row_block.max(1)).max(1));
        Plan { m, row_block: row_block.max(1), groups: w.groups().div_ceil(runs).max(1) }
    }

    fn items(&self, w: &Matrix) -> usize {
        self.m.div_ceil(self.row_block) * w.groups().div_ceil(self.groups)
    }

    fn part(&self, item: usize, w: &Matrix) -> (Range<usize>, Range<usize>) {
        let runs = w.groups().div_ceil(self.groups);
        let (row, group) = (item / runs * self.row_block, item % runs * self.groups);
        (row..(row + self.row_block).min(self.m), group..(group + self.groups).min(w.groups()))
    }
}
