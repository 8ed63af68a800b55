//! Means with intervals of 95 %, by Student's t: what a few seeds can and cannot tell.

/// A mean, and where the true one lies with 95 % confidence if the values are normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end; none if it cannot be told.
    pub low: Option<f64>,
    /// Upper end; none if it cannot be told.
    pub high: Option<f64>,
}

impl Interval {
    /// The mean of values. With fewer than two, or one that is not finite, nothing tells how far it may be off.
    pub fn of(values: &[f64]) -> Interval {
        let (mean, error) = mean_and_error(values);
        Interval::around(mean, student_t_975(values.len() as f64 - 1.0) * error)
    }

    /// Mean of `a` minus mean of `b`, whose spreads need not be equal (Welch 1947).
    pub fn difference(a: &[f64], b: &[f64]) -> Interval {
        let ((mean_a, error_a), (mean_b, error_b)) = (mean_and_error(a), mean_and_error(b));
        let (square_a, square_b) = (error_a.powi(2), error_b.powi(2));
        let both = square_a + square_b;
        let least = a.len().min(b.len()) as f64 - 1.0;
        // Two groups without any spread have no degrees by the formula, and an interval of no width with any.
        let degrees = if both == 0.0 {
            least
        } else {
            both.powi(2) / (square_a.powi(2) / (a.len() as f64 - 1.0) + square_b.powi(2) / (b.len() as f64 - 1.0))
        };
        Interval::around(mean_a - mean_b, student_t_975(degrees) * both.sqrt())
    }

    /// Both ends, if they can be told.
    pub fn ends(&self) -> Option<(f64, f64)> {
        self.low.zip(self.high)
    }

    fn around(mean: f64, half: f64) -> Interval {
        let end = |value: f64| value.is_finite().then_some(value);
        Interval { mean, low: end(mean - half), high: end(mean + half) }
    }
}

/// The mean and its standard error.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

/// The 97.5 % point of Student's t distribution, for any degrees of freedom from 1; NaN below.
///
/// With `t = sqrt(n) sinh x` the density of `|t|` becomes `sech(x)^n`, smooth and falling at least exponentially, so Simpson's
/// rule in steps of its width finds where 95 % of it lie.
fn student_t_975(degrees: f64) -> f64 {
    const STEPS: usize = 20_000;
    // The comparison is false for NaN, too.
    if !(degrees >= 1.0 && degrees.is_finite()) {
        return f64::NAN;
    }
    let step = 40.0 / STEPS as f64 / degrees.sqrt();
    let density = |x: f64| (-degrees * x.cosh().ln()).exp();
    let slice = |i: usize| {
        let x = i as f64 * step;
        (density(x) + 4.0 * density(x + step / 2.0) + density(x + step)) * step / 6.0
    };
    let mut rest = 0.95 * (0..STEPS).map(slice).sum::<f64>();
    for i in 0..STEPS {
        let here = slice(i);
        if rest < here {
            return degrees.sqrt() * ((i as f64 + rest / here) * step).sinh();
        }
        rest -= here;
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64, within: f64) {
        assert!((got - want).abs() < within, "{got}, not {want}");
    }

    #[test]
    fn students_t_is_the_tabulated_one() {
        let table = [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (10, 2.2281), (30, 2.0423), (120, 1.9799)];
        table.iter().for_each(|&(degrees, want)| near(student_t_975(f64::from(degrees)), want, 1e-4));
        near(student_t_975(1e9), 1.959_964, 1e-5);
        assert!(student_t_975(0.0).is_nan() && student_t_975(f64::NAN).is_nan());
    }

    #[test]
    fn between_whole_degrees_it_is_between_their_values() {
        for degrees in 1..20 {
            let at = |x: f64| student_t_975(f64::from(degrees) + x);
            assert!(at(0.0) > at(0.5) && at(0.5) > at(1.0));
        }
    }

    #[test]
    fn three_values_have_the_textbook_interval() {
        // Mean 2, standard deviation 1: 2 plus or minus 4.3027 / sqrt(3).
        let (low, high) = Interval::of(&[1.0, 2.0, 3.0]).ends().unwrap();
        near(low, 2.0 - 2.484_15, 1e-4);
        near(high, 2.0 + 2.484_15, 1e-4);
    }

    #[test]
    fn equal_groups_differ_as_in_the_test_of_student() {
        // Equal sizes and spreads: Welch's degrees are 2 (n - 1) = 4, the error is sqrt(1/3 + 1/3).
        let interval = Interval::difference(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]);
        let half = 2.7764 * (2.0_f64 / 3.0).sqrt();
        assert_eq!(interval.mean, 3.0);
        near(interval.low.unwrap(), 3.0 - half, 1e-3);
        near(interval.high.unwrap(), 3.0 + half, 1e-3);
    }

    #[test]
    fn a_group_without_spread_leaves_the_degrees_of_the_other() {
        let (low, high) = Interval::difference(&[1.0, 2.0, 3.0], &[7.0, 7.0]).ends().unwrap();
        near((high - low) / 2.0, 2.484_15, 1e-4);
        assert_eq!(Interval::difference(&[2.0, 2.0], &[1.0, 1.0]).ends(), Some((1.0, 1.0)));
    }

    #[test]
    fn what_cannot_be_told_is_not() {
        for values in [&[][..], &[1.5], &[1.5, f64::NAN], &[1.5, f64::INFINITY]] {
            assert_eq!(Interval::of(values).ends(), None);
            assert_eq!(Interval::difference(values, &[1.0, 2.0]).ends(), None);
            assert_eq!(Interval::difference(&[1.0, 2.0], values).ends(), None);
        }
    }
}
