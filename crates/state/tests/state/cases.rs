//! Random cases: seeds, layouts, storage, rows.

use attendant_core::Random;
use attendant_state::{Dtype, Growth, Paging, Plane, Rings, StateLayout, Storage};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const DTYPES: [Dtype; 5] = [Dtype::F32, Dtype::Bf16, Dtype::F16, Dtype::Int8, Dtype::Int4];
pub(crate) const RINGS: [Rings; 2] = [Rings::Overwrite, Rings::KeepAll];
const PAGINGS: [Paging; 6] = [
    Paging::Contiguous { rows: 1 },
    Paging::Contiguous { rows: 3 },
    Paging::Contiguous { rows: 100 },
    Paging::Paged { rows: 1 },
    Paging::Paged { rows: 5 },
    Paging::Paged { rows: 16 },
];

/// Runs `test` with `cases` generators, all of them from one seed. The seed is new each time and printed if the test fails, with
/// the case; `ATTENDANT_SEED` repeats one.
pub(crate) fn for_random_cases(cases: u64, test: impl Fn(&mut Random)) {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
    let seed: u64 = std::env::var("ATTENDANT_SEED")
        .map_or_else(|_| clock(), |seed| seed.parse().unwrap_or_else(|_| panic!("ATTENDANT_SEED: want a number, got {seed:?}")));
    for case in 0..cases {
        println!("ATTENDANT_SEED={seed}, case {case}");
        test(&mut Random::at(seed, "case", case));
    }
}

pub(crate) fn every_storage() -> impl Iterator<Item = Storage> {
    PAGINGS
        .into_iter()
        .flat_map(|paging| RINGS.map(|rings| (paging, rings)))
        .flat_map(|(paging, rings)| DTYPES.map(|dtype| Storage { paging, rings, dtype }))
}

pub(crate) fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

pub(crate) fn any_paging(random: &mut Random) -> Paging {
    pick(random, &PAGINGS)
}

/// Every growth, with odd widths, in two layers.
pub(crate) fn any_layouts(random: &mut Random) -> Vec<StateLayout> {
    let names = [["k", "v", "blocks", "window", "state", "source"], ["a", "b", "c", "d", "e", "f"]];
    names.map(|names| StateLayout::new(names.map(|name| any_plane(random, name)))).into()
}

fn any_plane(random: &mut Random, name: &'static str) -> Plane {
    let growth = match random.below(5) {
        0 => Growth::PerToken,
        1 => Growth::PerBlock { tokens: pick(random, &[1, 3, 16]) },
        2 => Growth::Ring { window: pick(random, &[0, 1, 3, 16, 17, 63]), keep: pick(random, &[0, 1, 4]) },
        3 => Growth::Constant,
        _ => Growth::PerSource,
    };
    let heads = pick(random, &[1, 2, 3]);
    let plane = Plane::new(name, heads * pick(random, &[1, 3, 17]), growth).heads(heads);
    if random.below(4) == 0 { plane.exact() } else { plane }
}

/// Values of very different magnitudes, some of them 0.
pub(crate) fn any_rows(random: &mut Random, rows: usize, width: usize) -> Vec<f32> {
    let mut values = vec![0.0; rows * width];
    random.fill_normal(&mut values, 1.0);
    for row in values.chunks_exact_mut(width) {
        let magnitude = pick(random, &[1e-3, 1.0, 1.0, 100.0]);
        row.iter_mut().for_each(|x| *x = if random.below(20) == 0 { 0.0 } else { *x * magnitude });
    }
    values
}
