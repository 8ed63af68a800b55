//! Rotary positions (Su et al. 2021, 2104.09864).

mod scaling;

pub use scaling::{Scaling, longrope_factor, mscale};

use attendant_core::ops::RopeLayout;
use attendant_core::{Real, Result, Tensor, error::require};
use serde::{Deserialize, Serialize};

/// How queries and keys are rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// Values of a head that are rotated, an even number; the rest stay.
    pub width: usize,
    /// The base of the wavelengths.
    pub base: f64,
    /// Whether value `i` pairs with `i + width / 2` (Llama) or `2 i` with `2 i + 1` (GPT-J, DeepSeek).
    #[serde(default)]
    pub pairs: Pairs,
    /// How wavelengths are stretched.
    #[serde(default, skip_serializing_if = "Scaling::is_none")]
    pub scaling: Scaling,
    /// Whether rows turn the other way (nanochat).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
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
        Rotary { width, base: 10_000.0, pairs: Pairs::Halves, scaling: Scaling::None, reverse: false }
    }

    /// Whether it fits a head of `d_head`.
    ///
    /// # Errors
    /// If the width is odd, 0 or larger than the head, the base is not above 0, or the scaling cannot be used.
    pub fn check(&self, d_head: usize) -> Result<()> {
        let fits = self.width > 0 && self.width.is_multiple_of(2) && self.width <= d_head;
        require(fits, "rotary.width", || format!("got {}, wanted an even number up to the head width {d_head}", self.width))?;
        scaling::check_base(self.base, &self.scaling)?;
        self.scaling.check(self.width)
    }

    pub(crate) fn layout(&self) -> RopeLayout {
        match self.pairs {
            Pairs::Halves => RopeLayout::Halves,
            Pairs::Adjacent => RopeLayout::Pairs,
        }
    }

    /// The angles, pair by pair, that one step turns the rows of a sequence that becomes `length` long.
    fn steps(&self, length: usize) -> Vec<f64> {
        let mut steps = self.scaling.frequencies(self.width, self.base, length);
        if self.reverse {
            steps.iter_mut().for_each(|step| *step = -*step);
        }
        steps
    }

    /// `[rows, width]`: a row's cosines, then its sines. Of every row its position, and how long its sequence becomes.
    pub(crate) fn table(&self, places: impl Iterator<Item = (usize, usize)>, rows: usize) -> Tensor {
        let mut table = Tensor::zeros(&[rows, self.width]);
        let (half, factor) = (self.width / 2, self.scaling.attention_factor());
        let (mut length, mut steps) = (0, Vec::new());
        for (row, (position, of)) in table.data_mut().chunks_exact_mut(self.width).zip(places) {
            if steps.is_empty() || of != length {
                (length, steps) = (of, self.steps(of));
            }
            for (pair, step) in steps.iter().enumerate() {
                let (sin, cos) = (position as f64 * step).sin_cos();
                (row[pair], row[half + pair]) = ((factor * cos) as f32, (factor * sin) as f32);
            }
        }
        table
    }

    /// The oracle's rotation of the first `width` values of one head at `position` of a sequence of `length` rows.
    pub fn rotate<S: Real>(&self, head: &mut [S], position: usize, length: usize) {
        let factor = S::from(self.scaling.attention_factor());
        for (pair, step) in self.steps(length).into_iter().enumerate() {
            let (i, j) = match self.pairs {
                Pairs::Halves => (pair, pair + self.width / 2),
                Pairs::Adjacent => (2 * pair, 2 * pair + 1),
            };
            let (sin, cos) = (position as f64 * step).sin_cos();
            let (sin, cos) = (S::from(sin) * factor, S::from(cos) * factor);
            (head[i], head[j]) = (head[i] * cos - head[j] * sin, head[i] * sin + head[j] * cos);
        }
    }
}
