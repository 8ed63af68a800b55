//! From values to pixels, and round values to mark on the way.

/// One direction of a chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    /// An axis with equal steps over all finite values, from one pixel to another. `None` without a finite value.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>, (from, to): (f64, f64)) -> Option<Self> {
        let (low, high) = range(values.into_iter().filter(|value| value.is_finite()))?;
        let margin = if high > low { (high - low) * 0.05 } else { (low.abs() * 0.02).max(0.02) };
        Some(Self { low: low - margin, high: high + margin, from, to, log: false })
    }

    /// An axis with equal ratios over all positive finite values. `None` without one.
    pub(super) fn log(values: impl IntoIterator<Item = f64>, (from, to): (f64, f64)) -> Option<Self> {
        let (low, high) = range(values.into_iter().filter(|value| value.is_finite() && *value > 0.0).map(f64::ln))?;
        let margin = if high > low { (high - low) * 0.07 } else { 0.7 };
        Some(Self { low: low - margin, high: high + margin, from, to, log: true })
    }

    /// An axis that begins and ends exactly at two values.
    pub(super) fn exactly((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high, from, to, log: false }
    }

    /// The pixel of a value; for a logarithmic axis the value must be positive.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.ln() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The values at the two ends.
    pub(super) fn ends(&self) -> (f64, f64) {
        if self.log { (self.low.exp(), self.high.exp()) } else { (self.low, self.high) }
    }

    /// About `count` round values within the axis.
    pub(super) fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log {
            return self.thinned(self.decimal_ladder(), count);
        }
        let step = round_step((self.high - self.low) / count as f64);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        // Multiples of the step, not sums of it: sums drift off zero.
        (first..=last).map(|multiple| multiple as f64 * step).collect()
    }

    /// Powers of two within a logarithmic axis, every second or fourth one when there are too many.
    pub(super) fn binary_ticks(&self, count: usize) -> Vec<f64> {
        let (low, high) = self.ends();
        let exponents = low.log2().ceil() as i32..=high.log2().floor() as i32;
        self.thinned(exponents.map(|exponent| 2f64.powi(exponent)).collect(), count)
    }

    /// 1, 2 and 5 of every power of ten; only the powers where the axis spans more than three of them.
    fn decimal_ladder(&self) -> Vec<f64> {
        let (low, high) = self.ends();
        let steps: &[f64] = if (high / low).log10() > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
        powers
            .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    }

    fn thinned(&self, ticks: Vec<f64>, count: usize) -> Vec<f64> {
        let stride = ticks.len().div_ceil(count.max(1)).max(1);
        ticks.into_iter().step_by(stride).collect()
    }
}

/// Decimals that tell ticks of this distance apart.
pub(super) fn decimals(ticks: &[f64]) -> usize {
    match ticks {
        [first, second, ..] => (-(second - first).abs().log10().floor()).clamp(0.0, 6.0) as usize,
        _ => 2,
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// The least of 1, 2, 5 times a power of ten that is not below the wanted step.
fn round_step(wanted: f64) -> f64 {
    let power = 10f64.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * power).find(|step| *step >= wanted).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_land_inside_and_in_order() {
        for axis in [Axis::linear([1.2, 4.0, f64::NAN], (50.0, 400.0)), Axis::log([1.2, 4.0, 0.0, -3.0], (50.0, 400.0))] {
            let axis = axis.unwrap();
            assert!(50.0 < axis.at(1.2) && axis.at(1.2) < axis.at(4.0) && axis.at(4.0) < 400.0);
        }
    }

    #[test]
    fn a_single_value_still_makes_an_axis() {
        for value in [0.0, 1.5, 4096.0] {
            let axis = Axis::linear([value, value], (0.0, 100.0)).unwrap();
            assert!((axis.at(value) - 50.0).abs() < 1e-6);
            assert!(!axis.ticks(5).is_empty());
        }
        let axis = Axis::log([512.0], (0.0, 100.0)).unwrap();
        assert!((axis.at(512.0) - 50.0).abs() < 1e-6);
        assert_eq!(axis.binary_ticks(5), [256.0, 512.0, 1024.0]);
    }

    #[test]
    fn nothing_finite_makes_no_axis() {
        assert!(Axis::linear([f64::NAN, f64::INFINITY], (0.0, 1.0)).is_none());
        assert!(Axis::log([0.0, -1.0], (0.0, 1.0)).is_none());
    }

    #[test]
    fn ticks_are_round_and_within() {
        let axis = Axis::linear([1.43, 1.61], (0.0, 100.0)).unwrap();
        let ticks = axis.ticks(5);
        assert!((3..=7).contains(&ticks.len()), "{ticks:?}");
        assert!(ticks.iter().all(|tick| ((tick / 0.05).round() * 0.05 - tick).abs() < 1e-9), "{ticks:?}");
        let axis = Axis::log([30.0, 2000.0], (0.0, 100.0)).unwrap();
        assert_eq!(axis.ticks(9), [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        let axis = Axis::log([100.0, 70_000.0], (0.0, 100.0)).unwrap();
        assert!(axis.binary_ticks(5).len() <= 5);
    }

    #[test]
    fn decimals_follow_the_step() {
        assert_eq!([decimals(&[1.5, 1.55]), decimals(&[1.0, 1.5]), decimals(&[0.0, 20.0])], [2, 1, 0]);
    }
}
