//! Rotary position embedding: pairs of columns turned by an angle that grows with the position.

use crate::Machine;
use crate::disjoint::each_part;
use crate::elementwise::AddAssign;
use crate::simd::{Kernel, Simd};
use crate::vector::{Map, apply, rows, rows_per_item};

/// Which columns turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeLayout {
    /// Column `i` with column `i + rotary / 2` (Llama as published by transformers, NeoX).
    Halves,
    /// Column `2 i` with column `2 i + 1` (GPT-J, Llama as published by Meta, DeepSeek).
    Pairs,
}

/// Which columns of a row are turned: `rotary` of them from `start` in each head. The others are left as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rope {
    /// Heads in a row.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// First column of a head that is turned.
    pub start: usize,
    /// How many columns are turned, an even number.
    pub rotary: usize,
    /// Which of them turn together.
    pub layout: RopeLayout,
}

/// `y [n, heads * d_head] = x` with the columns that `rope` names turned by the row's angles. `table [n, rotary]` has one row
/// per row of `x`: `rotary / 2` cosines, then as many sines.
///
/// # Panics
/// If a length does not fit, `rotary` is odd, or the turned columns do not lie within a head.
pub fn rope(machine: Machine<'_>, y: &mut [f32], x: &[f32], table: &[f32], rope: &Rope) {
    turn(machine, y, x, table, rope, Write::Replace);
}

/// Gradient of [`rope()`]: `d_x [n, heads * d_head] += d_y` turned back.
///
/// # Panics
/// As [`rope()`].
pub fn rope_backward(machine: Machine<'_>, d_x: &mut [f32], d_y: &[f32], table: &[f32], rope: &Rope) {
    turn(machine, d_x, d_y, table, rope, Write::AddTurnedBack);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Replace,
    AddTurnedBack,
}

fn turn(machine: Machine<'_>, y: &mut [f32], x: &[f32], table: &[f32], rope: &Rope, write: Write) {
    let Rope { heads, d_head, start, rotary, .. } = *rope;
    assert!(rotary % 2 == 0 && start + rotary <= d_head, "columns {start} and {rotary} more of a head of {d_head}");
    let width = heads * d_head;
    let n = rows(x.len(), width);
    assert_eq!(y.len(), x.len(), "output and input");
    assert_eq!(table.len(), n * rotary, "table of {n} rows of {rotary}");
    let per_item = rows_per_item(width);
    each_part(machine, n.div_ceil(per_item), [(y, per_item * width)], |item, [y]| {
        let first = item * per_item;
        let count = y.len() / width;
        let x = &x[first * width..(first + count) * width];
        let table = &table[first * rotary..(first + count) * rotary];
        machine.isa.run(Turn { rope, write, y, x, table });
    });
}

struct Turn<'a> {
    rope: &'a Rope,
    write: Write,
    y: &'a mut [f32],
    x: &'a [f32],
    table: &'a [f32],
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rope { heads, d_head, start, rotary, layout } = *self.rope;
        let heads =
            self.y.chunks_exact_mut(d_head).zip(self.x.chunks_exact(d_head)).enumerate().map(|(i, head)| (i / heads, head));
        for (row, (y, x)) in heads {
            let (cos, sin) = self.table[row * rotary..(row + 1) * rotary].split_at(rotary / 2);
            let (y_before, y) = y.split_at_mut(start);
            let (y, y_after) = y.split_at_mut(rotary);
            let (x_before, x) = x.split_at(start);
            let (x, x_after) = x.split_at(rotary);
            match self.write {
                Write::Replace => {
                    y_before.copy_from_slice(x_before);
                    y_after.copy_from_slice(x_after);
                }
                Write::AddTurnedBack => {
                    apply(simd, AddAssign, [y_before], [x_before]);
                    apply(simd, AddAssign, [y_after], [x_after]);
                }
            }
            match layout {
                RopeLayout::Halves => turn_halves(simd, self.write, y, x, cos, sin),
                RopeLayout::Pairs => turn_pairs(self.write, y, x, cos, sin),
            }
        }
    }
}

#[inline(always)]
fn turn_halves<S: Simd>(simd: S, write: Write, y: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32]) {
    let (y1, y2) = y.split_at_mut(cos.len());
    let (x1, x2) = x.split_at(cos.len());
    match write {
        Write::Replace => apply(simd, Forward, [y1, y2], [x1, x2, cos, sin]),
        Write::AddTurnedBack => apply(simd, Backward, [y1, y2], [x1, x2, cos, sin]),
    }
}

#[derive(Clone, Copy)]
struct Forward;

impl Map<2, 4> for Forward {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, _: [S::V; 2], [x1, x2, cos, sin]: [S::V; 4]) -> [S::V; 2] {
        [simd.sub(simd.mul(x1, cos), simd.mul(x2, sin)), simd.fma(x2, cos, simd.mul(x1, sin))]
    }
}

#[derive(Clone, Copy)]
struct Backward;

impl Map<2, 4> for Backward {
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, [y1, y2]: [S::V; 2], [x1, x2, cos, sin]: [S::V; 4]) -> [S::V; 2] {
        [simd.fma(x2, sin, simd.fma(x1, cos, y1)), simd.add(y2, simd.sub(simd.mul(x2, cos), simd.mul(x1, sin)))]
    }
}

/// Plain code: the compiler interleaves the pairs by itself.
#[inline(always)]
fn turn_pairs(write: Write, y: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32]) {
    let pairs = y.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0).zip(cos.iter().zip(sin));
    match write {
        Write::Replace => {
            for ((y, x), (cos, sin)) in pairs {
                *y = [x[0] * cos - x[1] * sin, x[1] * cos + x[0] * sin];
            }
        }
        Write::AddTurnedBack => {
            for ((y, x), (cos, sin)) in pairs {
                *y = [y[0] + (x[0] * cos + x[1] * sin), y[1] + (x[1] * cos - x[0] * sin)];
            }
        }
    }
}
