//! Rows of a table by number.

use crate::Machine;
use crate::disjoint::{Disjoint, each_part, run, sized};
use crate::elementwise::AddAssign;
use crate::expect;
use crate::simd::{Kernel, Simd};
use crate::vector::{apply, rows, rows_per_item};
use std::ops::Range;

/// Columns of one work item of the gradient.
const COLUMNS: usize = 64;

/// `y [n, width] = table [vocab, width]`'s rows `ids [n]`.
///
/// # Panics
/// If a length does not fit, or an id is not a row of the table.
pub fn embedding(machine: Machine<'_>, y: &mut [f32], table: &[f32], ids: &[u32], width: usize) {
    assert_eq!(y.len(), ids.len() * width, "y has one row of {width} per id");
    expect::below("id of a row", ids.iter().copied(), rows(table.len(), width));
    let per_item = rows_per_item(width);
    each_part(machine, rows(y.len(), width).div_ceil(per_item), [(y, per_item * width)], |item, [y]| {
        for (y, id) in y.chunks_exact_mut(width).zip(&ids[item * per_item..]) {
            y.copy_from_slice(&table[*id as usize * width..(*id as usize + 1) * width]);
        }
    });
}

/// Gradient of [`embedding`]: rows `ids [n]` of `d_table [vocab, width] += d_y [n, width]`, in the order of the ids.
///
/// # Panics
/// If a length does not fit, or an id is not a row of the table.
pub fn embedding_backward(machine: Machine<'_>, d_table: &mut [f32], d_y: &[f32], ids: &[u32], width: usize) {
    assert_eq!(d_y.len(), ids.len() * width, "d_y has one row of {width} per id");
    expect::below("id of a row", ids.iter().copied(), rows(d_table.len(), width));
    // Every item goes through all ids, for its own columns: an id that occurs often burdens no single item.
    let d_table = Disjoint::new(d_table);
    run(sized(machine, d_y.len()), width.div_ceil(COLUMNS), &|item, _worker| {
        let columns = item * COLUMNS..width.min((item + 1) * COLUMNS);
        machine.isa.run(AddRows { d_table: &d_table, d_y, ids, width, columns });
    });
}

/// Adds some columns of the rows of `d_y` to theirs of the table. Nobody else has these columns.
struct AddRows<'a> {
    d_table: &'a Disjoint<'a, f32>,
    d_y: &'a [f32],
    ids: &'a [u32],
    width: usize,
    columns: Range<usize>,
}

impl Kernel for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Range { start, end } = self.columns;
        for (d_y, id) in self.d_y.chunks_exact(self.width).zip(self.ids) {
            let row = *id as usize * self.width;
            // SAFETY: items have different columns, and one item takes one row at a time.
            let d_row = unsafe { self.d_table.slice(row + start..row + end) };
            apply(simd, AddAssign, [d_row], [&d_y[start..end]]);
        }
    }
}
