//! Rates of matrix products beside those of the `gemm` crate, one JSON line a shape. The two are measured by turns, so that
//! whatever else the machine does falls on both.

use attendant_kernels::memory::Memory;
use attendant_kernels::product::{Accumulate, MatrixMut, MatrixRef, product, product_scratch};
use attendant_kernels::{Isa, Machine, Pool};
use std::time::Instant;

/// What is transposed: the layouts of a linear layer, of its input's gradient and of its weight's.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Forward,
    Input,
    Weight,
}

const SHAPES: [(usize, usize, usize, Kind); 13] = [
    (4096, 1536, 384, Kind::Forward),
    (4096, 384, 384, Kind::Forward),
    (4096, 384, 1536, Kind::Forward),
    (1024, 1024, 1024, Kind::Forward),
    (2048, 128, 128, Kind::Forward),
    (4096, 384, 1536, Kind::Input),
    (4096, 1536, 384, Kind::Input),
    (384, 1536, 4096, Kind::Weight),
    (1536, 384, 4096, Kind::Weight),
    (384, 384, 4096, Kind::Weight),
    (1, 1536, 576, Kind::Forward),
    (1, 49152, 576, Kind::Forward),
    (8, 49152, 576, Kind::Forward),
];

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    let pool = Pool::new(threads);
    let machine = Machine { isa: Isa::best(), executor: &pool };
    for (m, n, k, kind) in SHAPES {
        measure(machine, m, n, k, kind);
    }
}

fn measure(machine: Machine<'_>, m: usize, n: usize, k: usize, kind: Kind) {
    let values = |n: usize| (0..n).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect::<Vec<f32>>();
    let (a_data, b_data) = (values(m * k), values(k * n));
    let mut c = vec![0.0; m * n];
    let mut reference = vec![0.0; m * n];
    let threads = machine.executor.workers();
    let mut scratch = Memory::<f32>::zeroed(product_scratch(m, k, threads));
    let a = match kind {
        Kind::Weight => MatrixRef::row_major(&a_data, k, m).transposed(),
        _ => MatrixRef::row_major(&a_data, m, k),
    };
    let b = match kind {
        Kind::Forward => MatrixRef::row_major(&b_data, n, k).transposed(),
        _ => MatrixRef::row_major(&b_data, k, n),
    };
    let repeats = (100_000_000_000 / (2 * m * n * k)).clamp(7, 200);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..repeats {
        let start = Instant::now();
        product(machine, MatrixMut::row_major(&mut c, m, n), a, b, Accumulate::Store, &mut scratch);
        times[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        by_gemm(&mut reference, m, n, k, (&a_data, a), (&b_data, b), threads);
        times[1].push(start.elapsed().as_secs_f64());
    }
    let operations = (2 * m * n * k) as f64;
    let [ours, theirs] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        (operations / times[0] / 1e9, operations / times[times.len() / 2] / 1e9)
    });
    println!(
        r#"{{"kind": "{kind:?}", "m": {m}, "n": {n}, "k": {k}, "threads": {threads}, "isa": "{:?}", "gflops": {:.1}, "gflops_median": {:.1}, "gemm": {:.1}, "gemm_median": {:.1}}}"#,
        machine.isa, ours.0, ours.1, theirs.0, theirs.1
    );
}

fn by_gemm(c: &mut [f32], m: usize, n: usize, k: usize, a: (&[f32], MatrixRef<'_>), b: (&[f32], MatrixRef<'_>), threads: usize) {
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let strides = |view: MatrixRef<'_>| (view.col_stride() as isize, view.row_stride() as isize);
    let ((a_cols, a_rows), (b_cols, b_rows)) = (strides(a.1), strides(b.1));
    // SAFETY: the strides are those of views that were checked against these slices; C is `[m, n]` row-major.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.0.as_ptr(),
            a_cols,
            a_rows,
            b.0.as_ptr(),
            b_cols,
            b_rows,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
