//! How far two answers are apart, and how far they may be.

use super::Verdict;

/// Bounds of RMS(got - want) / RMS(want) for f32 against f64. The unit roundoff of f32 is 6e-8.
pub mod bound {
    /// Outputs: two products with a softmax or a recurrence between them.
    pub const VALUES: f64 = 2e-6;
    /// Gradients: the same twice, and differences of sums that partly cancel.
    pub const GRADIENTS: f64 = 1e-5;
    /// A slope along a line, against a difference of two f32 losses: rounding over the step, and the step's own error.
    pub const DIFFERENCES: f64 = 2e-3;
    /// Outputs over rows stored in f16, whose step is 2^-11 of a value: four steps.
    pub const F16_STORE: f64 = 4.0 / 2048.0;
    /// Outputs over rows stored in bf16, whose step is 2^-8 of a value: four steps.
    pub const BF16_STORE: f64 = 4.0 / 256.0;
    /// Outputs over rows stored in int8, whose step is 1/127 of a head's largest value: four steps.
    pub const INT8_STORE: f64 = 4.0 / 127.0;
    /// Outputs over rows stored in four bits, whose step is 1/7 of the largest of 32 values: four steps.
    pub const INT4_STORE: f64 = 4.0 / 7.0;
}

pub(super) fn rms(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for value in values {
        (sum, count) = (sum + value * value, count + 1);
    }
    (sum / count.max(1) as f64).sqrt()
}

/// RMS(got - want) / RMS(want) up to `bound`.
pub(super) fn close(what: &str, got: &[f32], want: &[f64], bound: f64) -> Verdict {
    close_to_scale(what, got, want, rms(want.iter().copied()), bound)
}

/// RMS(got - want) / scale up to `bound`.
pub(super) fn close_to_scale(what: &str, got: &[f32], want: &[f64], scale: f64, bound: f64) -> Verdict {
    if got.len() != want.len() {
        return Err(format!("{what}: wanted {} values, got {}", want.len(), got.len()));
    }
    let distance = |i: usize| f64::from(got[i]) - want[i];
    let error = rms((0..got.len()).map(distance)) / scale;
    // Not `error > bound`: NaN must not pass.
    if error <= bound || got.is_empty() {
        return Ok(());
    }
    let size = |i: &usize| if distance(*i).is_nan() { f64::INFINITY } else { distance(*i).abs() };
    let worst = (0..got.len()).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(0);
    Err(format!("{what}: error {error:.3e} above {bound:.0e}; worst at {worst}: got {}, wanted {}", got[worst], want[worst]))
}

/// The same bits.
pub(super) fn same(what: &str, got: &[f32], want: &[f32]) -> Verdict {
    if got.len() != want.len() {
        return Err(format!("{what}: wanted {} values, got {}", want.len(), got.len()));
    }
    let differs = |i: &usize| got[*i].to_bits() != want[*i].to_bits();
    let distance = |i: &usize| (got[*i] - want[*i]).abs();
    let Some(worst) = (0..got.len()).filter(differs).max_by(|a, b| distance(a).total_cmp(&distance(b))) else { return Ok(()) };
    let count = (0..got.len()).filter(differs).count();
    let total = got.len();
    Err(format!("{what}: {count} of {total} values differ; worst at {worst}: got {:?}, wanted {:?}", got[worst], want[worst]))
}

/// Every value a number.
pub(super) fn finite(what: &str, values: &[f32]) -> Verdict {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(format!("{what}: {} at {at} of {}", values[at], values.len())),
        None => Ok(()),
    }
}
