//! Rotary positions (Su et al. 2021, 2104.09864).

use attendant_core::ops::RopeLayout;
use attendant_core::{Error, Real, Result, Tensor, error::require};
use serde::{Deserialize, Serialize};

/// How queries and keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// Values of a head that are rotated, an even number; the rest stay.
    pub width: usize,
    /// The base of the wavelengths.
    pub base: f64,
    /// Whether value `i` pairs with `i + width / 2` (Llama) or `2 i` with `2 i + 1` (GPT-J, DeepSeek).
    #[serde(default)]
    pub pairs: Pairs,
}

/// Which values are rotated together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairs {
    /// Value `i` with `i + width / 2`.
    #[default]
    Halves,
    /// Value `2 i` with `2 i + 1`.
    Adjacent,
}

impl Rotary {
    /// A whole head of `width`, in halves, with base 10,000.
    pub fn new(width: usize) -> Rotary {
        Rotary { width, base: 10_000.0, pairs: Pairs::Halves }
    }

    /// Whether it fits a head of `d_head`.
    ///
    /// # Errors
    /// If the width is odd, 0 or larger than the head, or the base is not above 0.
    pub fn check(&self, d_head: usize) -> Result<()> {
        let fits = self.width > 0 && self.width.is_multiple_of(2) && self.width <= d_head;
        require(fits, "rotary.width", || format!("got {}, wanted an even number up to the head width {d_head}", self.width))?;
        if self.base.is_finite() && self.base > 0.0 {
            Ok(())
        } else {
            Err(Error::config("rotary.base", format!("got {}, wanted a number above 0", self.base)))
        }
    }

    pub(crate) fn layout(&self) -> RopeLayout {
        match self.pairs {
            Pairs::Halves => RopeLayout::Halves,
            Pairs::Adjacent => RopeLayout::Pairs,
        }
    }

    fn angle(&self, position: usize, pair: usize) -> f64 {
        position as f64 * self.base.powf(-2.0 * pair as f64 / self.width as f64)
    }

    /// `[rows, width]`: a row's cosines, then its sines.
    pub(crate) fn table(&self, positions: impl Iterator<Item = usize>, rows: usize) -> Tensor {
        let mut table = Tensor::zeros(&[rows, self.width]);
        let half = self.width / 2;
        for (row, position) in table.data_mut().chunks_exact_mut(self.width).zip(positions) {
            for pair in 0..half {
                let (sin, cos) = self.angle(position, pair).sin_cos();
                (row[pair], row[half + pair]) = (cos as f32, sin as f32);
            }
        }
        table
    }

    /// The oracle's rotation of the first `width` values of one head at `position`.
    pub fn rotate<S: Real>(&self, head: &mut [S], position: usize) {
        for pair in 0..self.width / 2 {
            let (i, j) = match self.pairs {
                Pairs::Halves => (pair, pair + self.width / 2),
                Pairs::Adjacent => (2 * pair, 2 * pair + 1),
            };
            let (sin, cos) = self.angle(position, pair).sin_cos();
            let (sin, cos) = (S::from(sin), S::from(cos));
            (head[i], head[j]) = (head[i] * cos - head[j] * sin, head[i] * sin + head[j] * cos);
        }
    }
}
