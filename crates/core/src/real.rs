//! Scalars for the oracles: `f64` gives values, [`Dual`] gives values and exact derivatives.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A real number as an oracle sees it.
pub trait Real:
    Copy
    + Debug
    + From<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// The number without its derivatives, to compare and to branch on.
    fn value(self) -> f64;
    /// The same number after a function whose value and slope at it are given.
    fn chain(self, value: f64, slope: f64) -> Self;

    /// `e^x`.
    fn exp(self) -> Self {
        let y = self.value().exp();
        self.chain(y, y)
    }
    /// Natural logarithm.
    fn ln(self) -> Self {
        self.chain(self.value().ln(), 1.0 / self.value())
    }
    /// Square root.
    fn sqrt(self) -> Self {
        let y = self.value().sqrt();
        self.chain(y, 0.5 / y)
    }
    /// Hyperbolic tangent.
    fn tanh(self) -> Self {
        let y = self.value().tanh();
        self.chain(y, 1.0 - y * y)
    }
    /// `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self {
        let y = 1.0 / (1.0 + (-self.value()).exp());
        self.chain(y, y * (1.0 - y))
    }
}

impl Real for f64 {
    fn value(self) -> f64 {
        self
    }
    fn chain(self, value: f64, _slope: f64) -> f64 {
        value
    }
}

/// A number and its derivatives in `N` directions, carried through every operation exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual<const N: usize> {
    /// The number.
    pub value: f64,
    /// Its derivatives.
    pub slope: [f64; N],
}

impl<const N: usize> Dual<N> {
    /// A variable: its derivative is 1 in one direction.
    pub fn variable(value: f64, direction: usize) -> Self {
        let mut slope = [0.0; N];
        slope[direction] = 1.0;
        Dual { value, slope }
    }

    fn zip(self, other: Self, value: f64, f: impl Fn(f64, f64) -> f64) -> Self {
        Dual { value, slope: std::array::from_fn(|i| f(self.slope[i], other.slope[i])) }
    }
}

impl<const N: usize> From<f64> for Dual<N> {
    fn from(value: f64) -> Self {
        Dual { value, slope: [0.0; N] }
    }
}

impl<const N: usize> Add for Dual<N> {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        self.zip(b, self.value + b.value, |x, y| x + y)
    }
}

impl<const N: usize> Sub for Dual<N> {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        self.zip(b, self.value - b.value, |x, y| x - y)
    }
}

#[allow(clippy::suspicious_arithmetic_impl, reason = "the rule of derivatives needs the other operators")]
impl<const N: usize> Mul for Dual<N> {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        self.zip(b, self.value * b.value, |x, y| x * b.value + self.value * y)
    }
}

#[allow(clippy::suspicious_arithmetic_impl, reason = "the rule of derivatives needs the other operators")]
impl<const N: usize> Div for Dual<N> {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let q = self.value / b.value;
        self.zip(b, q, |x, y| (x - q * y) / b.value)
    }
}

impl<const N: usize> Neg for Dual<N> {
    type Output = Self;
    fn neg(self) -> Self {
        self.chain(-self.value, -1.0)
    }
}

impl<const N: usize> AddAssign for Dual<N> {
    fn add_assign(&mut self, b: Self) {
        *self = *self + b;
    }
}

impl<const N: usize> Real for Dual<N> {
    fn value(self) -> f64 {
        self.value
    }
    fn chain(self, value: f64, slope: f64) -> Self {
        Dual { value, slope: self.slope.map(|s| s * slope) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression<S: Real>(x: S, y: S) -> S {
        let a = (x * y).tanh() + (x / y).exp() - y.sqrt();
        (a * a + S::from(1.0)).ln() * (-x).sigmoid()
    }

    #[test]
    fn dual_numbers_agree_with_central_differences() {
        let (x, y) = (0.7, 1.3);
        let exact = expression(Dual::<2>::variable(x, 0), Dual::<2>::variable(y, 1));
        let step = 1e-5;
        let dx = (expression(x + step, y) - expression(x - step, y)) / (2.0 * step);
        let dy = (expression(x, y + step) - expression(x, y - step)) / (2.0 * step);
        assert_eq!(exact.value, expression(x, y));
        assert!((exact.slope[0] - dx).abs() < 1e-9, "{exact:?} {dx}");
        assert!((exact.slope[1] - dy).abs() < 1e-9, "{exact:?} {dy}");
    }
}
