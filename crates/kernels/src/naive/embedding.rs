//! Plain twins of [`crate::embedding`].

use crate::Machine;

/// `y [n, width] = ` rows `ids [n]` of `table [vocab, width]`.
pub fn embedding(_: Machine<'_>, y: &mut [f32], table: &[f32], ids: &[u32], width: usize) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = table[ids[i / width] as usize * width + i % width];
    }
}

/// Rows `ids [n]` of `d_table [vocab, width] += d_y [n, width]`.
pub fn embedding_backward(_: Machine<'_>, d_table: &mut [f32], d_y: &[f32], ids: &[u32], width: usize) {
    let mut sums: Vec<f64> = d_table.iter().map(|x| f64::from(*x)).collect();
    for (i, d_y) in d_y.iter().enumerate() {
        sums[ids[i / width] as usize * width + i % width] += f64::from(*d_y);
    }
    for (d, sum) in d_table.iter_mut().zip(sums) {
        *d = sum as f32;
    }
}
