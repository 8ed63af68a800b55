//! Checks that kernels share: each panics with what was wanted and what came, before anything is written.

/// # Panics
/// If `got` is not `want`.
#[track_caller]
pub(crate) fn length(what: &str, got: usize, want: usize) {
    assert!(got == want, "{what}: want {want} values, got {got}");
}

/// The scratch that is needed, of what there is.
///
/// # Panics
/// If there is less.
#[track_caller]
pub(crate) fn scratch<T>(scratch: &mut [T], want: usize) -> &mut [T] {
    let got = scratch.len();
    scratch.get_mut(..want).unwrap_or_else(|| panic!("scratch: want {want} values, got {got}"))
}

/// # Panics
/// If a number is not one of a row.
#[track_caller]
pub(crate) fn below(what: &str, mut numbers: impl Iterator<Item = u32>, rows: usize) {
    if let Some(number) = numbers.find(|&number| number as usize >= rows) {
        panic!("{what}: want less than {rows}, got {number}");
    }
}
