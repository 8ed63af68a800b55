//! Products against their plain twins, in every layout and on every instruction set.

mod bf16;
#[path = "../check/mod.rs"]
mod check;
mod single;

use attendant_kernels::product::MatrixRef;
use check::{Random, poison};

/// A matrix somewhere in a slice of its own.
struct Stored {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl Stored {
    /// Row-major, column-major or neither, with gaps or without. The gaps hold NaN.
    fn random(random: &mut Random, rows: usize, cols: usize, mean: f32) -> Stored {
        let gap = random.pick(&[0, 0, 1, 7]);
        let (row_stride, col_stride) = match random.below(3) {
            0 => (cols + gap, 1),
            1 => (1, rows + gap),
            _ => (2 * cols + gap, 2),
        };
        let mut data = poison((rows - 1) * row_stride + (cols - 1) * col_stride + 1);
        for i in 0..rows {
            for j in 0..cols {
                data[i * row_stride + j * col_stride] = random.value() + mean;
            }
        }
        Stored { data, rows, cols, row_stride, col_stride }
    }

    fn view(&self) -> MatrixRef<'_> {
        MatrixRef::strided(&self.data, self.rows, self.cols, self.row_stride, self.col_stride)
    }
}
