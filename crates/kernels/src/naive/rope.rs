//! Plain twins of [`crate::rope`].

use crate::Machine;
use crate::rope::{Rope, RopeLayout};

/// `y [n, heads * d_head] = x`, turned by `table [n, rotary]`.
pub fn rope(_: Machine<'_>, y: &mut [f32], x: &[f32], table: &[f32], rope: &Rope) {
    y.copy_from_slice(x);
    for_each_pair(x.len(), table, rope, |a, b, cos, sin| {
        let (x_a, x_b) = (f64::from(x[a]), f64::from(x[b]));
        y[a] = (x_a * cos - x_b * sin) as f32;
        y[b] = (x_b * cos + x_a * sin) as f32;
    });
}

/// `d_x [n, heads * d_head] += d_y`, turned back by `table [n, rotary]`.
pub fn rope_backward(_: Machine<'_>, d_x: &mut [f32], d_y: &[f32], table: &[f32], rope: &Rope) {
    let mut turned: Vec<f64> = d_y.iter().map(|x| f64::from(*x)).collect();
    for_each_pair(d_y.len(), table, rope, |a, b, cos, sin| {
        let (d_a, d_b) = (f64::from(d_y[a]), f64::from(d_y[b]));
        turned[a] = d_a * cos + d_b * sin;
        turned[b] = d_b * cos - d_a * sin;
    });
    for (d_x, turned) in d_x.iter_mut().zip(turned) {
        *d_x = (f64::from(*d_x) + turned) as f32;
    }
}

/// Calls `turn(a, b, cos, sin)` with the places of the two values of every pair.
fn for_each_pair(len: usize, table: &[f32], rope: &Rope, mut turn: impl FnMut(usize, usize, f64, f64)) {
    let Rope { heads, d_head, start, rotary, layout } = *rope;
    for head in 0..len / d_head {
        let row = head / heads;
        let first = head * d_head + start;
        for i in 0..rotary / 2 {
            let (a, b) = match layout {
                RopeLayout::Halves => (first + i, first + i + rotary / 2),
                RopeLayout::Pairs => (first + 2 * i, first + 2 * i + 1),
            };
            let table = &table[row * rotary..];
            turn(a, b, f64::from(table[i]), f64::from(table[rotary / 2 + i]));
        }
    }
}
