//! Queries that grow with their position, so that attention over many keys stays sharp.

use crate::context::Context;
use attendant_core::{Result, Var, error::require};
use serde::{Deserialize, Serialize};

/// Queries are multiplied by `1 + strength * ln(1 + floor((position + offset) / period))` (Nakanishi 2025, 2501.19399).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// How much a step of the logarithm adds.
    pub strength: f32,
    /// Positions from one step to the next.
    pub period: usize,
    /// 1 where the first position counts as 1 (Llama 4).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: usize,
}

fn is_zero(offset: &usize) -> bool {
    *offset == 0
}

impl Temperature {
    /// Whether it can be used.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        require(self.period > 0, "temperature.period", || "got 0, wanted at least 1 position".into())?;
        let strength = self.strength;
        require(strength.is_finite(), "temperature.strength", || format!("got {strength}, wanted a number"))
    }

    /// What a query at `position` is multiplied by.
    pub fn factor(&self, position: usize) -> f64 {
        let steps = (position + self.offset) / self.period;
        1.0 + f64::from(self.strength) * (steps as f64).ln_1p()
    }

    /// q `[N, width]`, every row multiplied by the factor of its position.
    pub(crate) fn apply(&self, cx: &mut Context<'_>, q: Var) -> Var {
        let factors: Vec<f32> = cx.batch().positions().map(|position| self.factor(position) as f32).collect();
        let factors = cx.constant(factors.len(), 1, &factors);
        cx.scale_rows(q, factors)
    }
}
