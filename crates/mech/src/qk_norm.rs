//! Normalisation of queries and keys.

use crate::context::Context;
use crate::mechanism::{Bound, Parameter, Parameters};
use attendant_core::{Real, Result, Var, error::require};
use serde::{Deserialize, Deserializer, Serialize};

/// How queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QkNorm {
    /// Added to the mean square.
    pub eps: f32,
    /// What a value is measured by.
    #[serde(default)]
    pub kind: NormKind,
    /// Which values are normalised together, and what they are multiplied by.
    #[serde(default)]
    pub scope: NormScope,
    /// Whether a bias is added, as wide as the weight.
    #[serde(default)]
    pub bias: bool,
    /// After the rotation instead of before.
    #[serde(default)]
    pub after_rotation: bool,
}

/// What a value is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// `x / rms(x)`.
    #[default]
    Rms,
    /// `(x - mean) / deviation`.
    Layer,
}

/// Which values are normalised together, and what they are multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormScope {
    /// Those of a head, by one weight `[d_head]` for all heads (Qwen 3, Phi).
    #[default]
    Head,
    /// Those of a head, by a weight `[heads, d_head]` of its own (Cohere, StableLM).
    EachHead,
    /// Those of a head, by nothing (Llama 4, nanochat).
    Weightless,
    /// All of a row, by one weight `[heads * d_head]` (OLMo 2, MiniMax M2).
    Row,
}

/// Reads the field of a configuration; a number alone is an epsilon.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<QkNorm>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Eps(f32),
        Whole(QkNorm),
    }
    let written = Option::<Written>::deserialize(deserializer)?;
    Ok(written.map(|written| match written {
        Written::Eps(eps) => QkNorm::rms(eps),
        Written::Whole(norm) => norm,
    }))
}

impl QkNorm {
    /// RMS of each head with one weight, before the rotation.
    pub fn rms(eps: f32) -> QkNorm {
        QkNorm { eps, kind: NormKind::Rms, scope: NormScope::Head, bias: false, after_rotation: false }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        let eps = self.eps;
        require(eps.is_finite() && eps >= 0.0, "qk_norm.eps", || format!("got {eps}, wanted 0 or more"))?;
        let fits = !self.bias || self.kind == NormKind::Layer && self.scope != NormScope::Weightless;
        require(fits, "qk_norm.bias", || "got true, wanted it only beside the weight of a layer norm".into())
    }

    /// Its parameters of `heads` heads: a weight, and a bias.
    pub(crate) fn params(&self, [weight, bias]: [&'static str; 2], heads: usize, d_head: usize) -> Vec<Parameter> {
        let shape = match self.scope {
            NormScope::Head => vec![d_head],
            NormScope::EachHead => vec![heads, d_head],
            NormScope::Row => vec![heads * d_head],
            NormScope::Weightless => return Vec::new(),
        };
        let parameter = |name, value| Parameter { shape: shape.clone(), ..Parameter::vector(name, d_head, value) };
        std::iter::once(parameter(weight, 1.0)).chain(self.bias.then(|| parameter(bias, 0.0))).collect()
    }

    /// x `[N, heads * d_head]`, normalised.
    pub(crate) fn apply(&self, cx: &mut Context<'_>, p: &Bound, x: Var, names: [&str; 2], d_head: usize) -> Var {
        let width = cx.width(x);
        let [weight, bias] = names.map(|name| p.get(name));
        if self.scope == NormScope::Row {
            return self.normalise(cx, x, weight, bias);
        }
        let parts = cx.reshape(x, d_head);
        let own = self.scope == NormScope::EachHead;
        let parts = if own { self.normalise(cx, parts, None, None) } else { self.normalise(cx, parts, weight, bias) };
        let x = cx.reshape(parts, width);
        match weight {
            Some(weight) if own => cx.scale_columns(x, weight, bias),
            _ => x,
        }
    }

    fn normalise(&self, cx: &mut Context<'_>, x: Var, weight: Option<Var>, bias: Option<Var>) -> Var {
        match self.kind {
            NormKind::Rms => cx.rms_norm(x, weight, self.eps),
            NormKind::Layer => cx.layer_norm(x, weight, bias, self.eps),
        }
    }

    /// The oracle's word on a row of heads.
    pub(crate) fn oracle<S: Real>(&self, p: &Parameters<S>, row: &mut [S], [weight, bias]: [&str; 2], d_head: usize) {
        let together = if self.scope == NormScope::Row { row.len() } else { d_head };
        let values = |name: &str| p.get(name).map(|rows| rows.data().to_vec());
        let (weight, bias) = (values(weight), values(bias));
        for (part, values) in row.chunks_mut(together).enumerate() {
            let mean_of = |f: &dyn Fn(S) -> S| values.iter().fold(S::from(0.0), |sum, &x| sum + f(x)) / S::from(together as f64);
            let mean = if self.kind == NormKind::Layer { mean_of(&|x| x) } else { S::from(0.0) };
            let root = (mean_of(&|x| (x - mean) * (x - mean)) + S::from(self.eps.into())).sqrt();
            for (i, x) in values.iter_mut().enumerate() {
                let place = |values: &Vec<S>| values[(part * together + i) % values.len()];
                *x = (*x - mean) / root * weight.as_ref().map_or(S::from(1.0), place) + bias.as_ref().map_or(S::from(0.0), place);
            }
        }
    }
}
