//! Rotations stretched to longer sequences than a model was first trained on.

use attendant_core::{Error, Result, error::require};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How the wavelengths of a rotation are stretched.
///
/// `dynamic` and `longrope` ask how long the sequence becomes, and every row of it is rotated by the answer: see
/// [`Batch::reaching`](crate::Batch::reaching).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Scaling {
    /// Not at all.
    #[default]
    None,
    /// All by one factor.
    Linear {
        /// How much longer.
        factor: f64,
    },
    /// The base grows with the sequence, once that is longer than `original`.
    Dynamic {
        /// How steeply.
        factor: f64,
        /// Tokens of the first training.
        original: usize,
    },
    /// Long wavelengths by a factor, short ones not, and a ramp over the pairs between (Peng et al. 2023, 2309.00071).
    Yarn {
        /// How much longer.
        factor: f64,
        /// Tokens of the first training.
        original: usize,
        /// Turns within `original` from which on a wavelength is kept.
        #[serde(default = "beta_fast")]
        beta_fast: f64,
        /// Turns within `original` up to which it is stretched whole.
        #[serde(default = "beta_slow")]
        beta_slow: f64,
        /// Whether the ramp begins and ends at whole pairs.
        #[serde(default = "truncate")]
        truncate: bool,
        /// What cosines and sines are multiplied by: usually [`mscale`] of the factor.
        attention_factor: f64,
    },
    /// Long wavelengths by a factor, short ones not, and a ramp over the frequencies between (Llama 3.1).
    Llama3 {
        /// How much longer.
        factor: f64,
        /// Turns within `original` up to which a wavelength is stretched whole.
        low: f64,
        /// Turns within `original` from which on it is kept.
        high: f64,
        /// Tokens of the first training.
        original: usize,
    },
    /// Each pair by its own factor (Ding et al. 2024, 2402.13753).
    Longrope {
        /// Factors of sequences up to `original`.
        short: Vec<f64>,
        /// Factors of longer ones.
        long: Vec<f64>,
        /// Tokens of the first training.
        original: usize,
        /// What cosines and sines are multiplied by, however long the sequence: usually [`longrope_factor`].
        attention_factor: f64,
    },
}

fn beta_fast() -> f64 {
    32.0
}

fn beta_slow() -> f64 {
    1.0
}

fn truncate() -> bool {
    true
}

/// What scores gain when wavelengths grow by `factor`: `0.1 weight ln(factor) + 1` (2309.00071, section 3.4; the weight is
/// DeepSeek's).
pub fn mscale(factor: f64, weight: f64) -> f64 {
    if factor > 1.0 { 0.1 * weight * factor.ln() + 1.0 } else { 1.0 }
}

/// The same as LongRoPE has it: `sqrt(1 + ln(factor) / ln(original))`.
pub fn longrope_factor(factor: f64, original: usize) -> f64 {
    if factor > 1.0 { (1.0 + factor.ln() / (original as f64).ln()).sqrt() } else { 1.0 }
}

impl Scaling {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Scaling::None
    }

    /// Whether it fits a rotation of `width` values.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    pub(crate) fn check(&self, width: usize) -> Result<()> {
        let above = |field: &str, value: f64, least: f64| {
            let fits = value.is_finite() && value > least;
            require(fits, field, || format!("got {value}, wanted a number above {least}"))
        };
        // Bounds may meet, as those of Kimi K2 and of Llama 4 Scout do: then nothing, or one pair, lies between.
        let at_least = |field: &str, value: f64, least: f64| {
            require(value.is_finite() && value >= least, field, || format!("got {value}, wanted at least {least}"))
        };
        match self {
            Scaling::None => Ok(()),
            Scaling::Linear { factor } => above("scaling.factor", *factor, 0.0),
            Scaling::Dynamic { factor, original } => {
                above("scaling.original", *original as f64, 0.0)?;
                require(width > 2, "rotary.width", || {
                    "got 2, wanted more: a dynamic base is a power of width / (width - 2)".into()
                })?;
                // A smaller one would shrink the base below 0.
                at_least("scaling.factor", *factor, 1.0)
            }
            Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, .. } => {
                above("scaling.factor", *factor, 0.0)?;
                above("scaling.original", *original as f64, 0.0)?;
                above("scaling.beta_slow", *beta_slow, 0.0)?;
                at_least("scaling.beta_fast", *beta_fast, *beta_slow)?;
                above("scaling.attention_factor", *attention_factor, 0.0)
            }
            Scaling::Llama3 { factor, low, high, original } => {
                above("scaling.factor", *factor, 0.0)?;
                above("scaling.low", *low, 0.0)?;
                at_least("scaling.high", *high, *low)?;
                above("scaling.original", *original as f64, 0.0)
            }
            Scaling::Longrope { short, long, original, attention_factor } => {
                for (field, factors) in [("scaling.short", short), ("scaling.long", long)] {
                    let (got, want) = (factors.len(), width / 2);
                    require(got == want, field, || format!("got {got} factors, wanted {want}: one for each rotated pair"))?;
                    factors.iter().try_for_each(|&factor| above(field, factor, 0.0))?;
                }
                above("scaling.original", *original as f64, 0.0)?;
                above("scaling.attention_factor", *attention_factor, 0.0)
            }
        }
    }

    /// What cosines and sines are multiplied by.
    pub(super) fn attention_factor(&self) -> f64 {
        match self {
            Scaling::Yarn { attention_factor, .. } | Scaling::Longrope { attention_factor, .. } => *attention_factor,
            _ => 1.0,
        }
    }

    /// The angles, pair by pair, that one step turns the rows of a sequence that becomes `length` long.
    pub(super) fn frequencies(&self, width: usize, base: f64, length: usize) -> Vec<f64> {
        let plain = |base: f64| (0..width / 2).map(move |pair| base.powf(-2.0 * pair as f64 / width as f64));
        match self {
            Scaling::None => plain(base).collect(),
            Scaling::Linear { factor } => plain(base).map(|frequency| frequency / factor).collect(),
            Scaling::Dynamic { factor, original } => {
                let stretch = factor * length.max(*original) as f64 / *original as f64 - (factor - 1.0);
                plain(base * stretch.powf(width as f64 / (width as f64 - 2.0))).collect()
            }
            Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
                let pair_of = |turns: f64| width as f64 * (*original as f64 / (turns * TAU)).ln() / (2.0 * base.ln());
                let (mut first, mut last) = (pair_of(*beta_fast), pair_of(*beta_slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                let (first, last) = (first.max(0.0), last.min(width as f64 - 1.0));
                // As published: no ramp shorter than this.
                let rise = if first == last { 0.001 } else { last - first };
                let stretched = |(pair, frequency): (usize, f64)| {
                    let share = ((pair as f64 - first) / rise).clamp(0.0, 1.0);
                    share * frequency / factor + (1.0 - share) * frequency
                };
                plain(base).enumerate().map(stretched).collect()
            }
            Scaling::Llama3 { factor, low, high, original } => {
                let stretched = |frequency: f64| {
                    let turns = *original as f64 * frequency / TAU;
                    let kept = if turns >= *high { 1.0 } else { ((turns - low) / (high - low)).max(0.0) };
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                plain(base).map(stretched).collect()
            }
            Scaling::Longrope { short, long, original, .. } => {
                let factors = if length > *original { long } else { short };
                plain(base).zip(factors).map(|(frequency, factor)| frequency / factor).collect()
            }
        }
    }
}

/// A base of 1 or less has no wavelengths to order.
pub(super) fn check_base(base: f64, scaling: &Scaling) -> Result<()> {
    let (least, why) = if matches!(scaling, Scaling::Yarn { .. }) { (1.0, "above 1") } else { (0.0, "above 0") };
    if base.is_finite() && base > least {
        return Ok(());
    }
    Err(Error::config("rotary.base", format!("got {base}, wanted a number {why}")))
}
