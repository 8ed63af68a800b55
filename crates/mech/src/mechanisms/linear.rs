//! Linear attention: the softmax replaced by a product of features, so that the past sums up in one matrix.
//!
//! `y_h = (S^T f(q)) / (z . f(q) + 1e-6)` with `S = sum f(k) v^T`, `z = sum f(k)` over the past and `f(x) = elu(x) + 1`.
//!
//! Shapes: q and k `[N, H * D]`, v `[N, H * D]`, S `[B, H, D, D + 1]`: z is the column of values that are all 1.
//! Planes: `s`, one row of `H D (D + 1)` values, whatever the length.
//! Cost: `4 H D (D + 1)` operations a token.
//! Paper: Katharopoulos et al. 2020, 2006.16236, section 3.2.
//! Differs from the paper: queries are scaled by `1 / sqrt(D)` before the features; no rotation.

use crate::card::{Card, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::oracle::{dot, head};
use attendant_core::ops::{Scan, ScanGate, Unary};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Added to the sum of weights: features of very negative values vanish, and then nothing is left to divide by.
const EPSILON: f32 = 1e-6;

/// Linear attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Width of the rows.
    pub d_model: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
}

static CARD: Card = Card {
    sentence: "The softmax becomes a product of features, so that the past sums up in one matrix per head.",
    paper: "Katharopoulos et al. 2020, 2006.16236",
    cache: "0, and hd(d+1) values in all",
    models: &["none of the published language models in this plain form; RetNet, GLA and Mamba-2 descend from it"],
    tier: Tier::Two,
};

impl Linear {
    fn scan(&self) -> Scan {
        Scan { heads: self.heads, d_k: self.d_head, d_v: self.d_head + 1 }
    }
}

impl Mechanism for Linear {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn check(&self) -> Result<()> {
        require(self.d_model > 0, "d_model", || "got 0, wanted at least 1".into())?;
        require(self.heads > 0, "heads", || "got 0, wanted at least 1".into())?;
        require(self.d_head > 0, "d_head", || "got 0, wanted at least 1".into())
    }

    fn params(&self) -> Vec<Parameter> {
        let width = self.heads * self.d_head;
        let mut params: Vec<_> = ["q_proj", "k_proj", "v_proj"].map(|name| Parameter::product(name, width, self.d_model)).into();
        params.push(Parameter::product("o_proj", self.d_model, width));
        params
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([Plane::new("s", self.heads * self.d_head * (self.d_head + 1), Growth::Constant).exact()])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let (d, width) = (self.d_head, self.heads * self.d_head);
        let q = cx.linear(x, p["q_proj"], None);
        let q = cx.scale(q, (d as f32).powf(-0.5));
        let k = cx.linear(x, p["k_proj"], None);
        let v = cx.linear(x, p["v_proj"], None);
        let (q, k) = (cx.unary(q, Unary::EluPlusOne), cx.unary(k, Unary::EluPlusOne));
        // A value that is always 1 makes the sum of weights one more column of the result.
        let v = cx.reshape(v, d);
        let rows = cx.rows(v);
        let ones = cx.constant(rows, 1, &vec![1.0; rows]);
        let v = cx.join_columns(v, ones);
        let v = cx.reshape(v, self.heads * (d + 1));
        let initial = cx.recall("s")?;
        let sequences = cx.batch().row_ranges();
        let recurrence = cx.gated_scan(q, k, v, ScanGate::None, initial, self.scan(), &sequences);
        cx.keep("s", recurrence.state)?;
        let parts = cx.reshape(recurrence.rows, d + 1);
        let (sum, total) = (cx.columns(parts, 0..d), cx.columns(parts, d..d + 1));
        let epsilon = cx.constant(rows, 1, &vec![EPSILON; rows]);
        let total = cx.add(total, epsilon);
        let y = cx.divide_rows(sum, total);
        let y = cx.reshape(y, width);
        Ok(cx.linear(y, p["o_proj"], None))
    }
}

impl Oracle for Linear {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let d = self.d_head;
        let head = |t: usize, weight: &str, h: usize| head(&x[t], &p[weight], None, h, d);
        let feature = |x: S| if x.value() > 0.0 { x + S::from(1.0) } else { x.exp() };
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for h in 0..self.heads {
            for t in 0..x.rows() {
                let scale = S::from((d as f64).powf(-0.5));
                let q: Vec<S> = head(t, "q_proj", h).into_iter().map(|q| feature(q * scale)).collect();
                let (mut total, mut sum) = (S::from(EPSILON.into()), vec![S::from(0.0); d]);
                for past in 0..=t {
                    let k: Vec<S> = head(past, "k_proj", h).into_iter().map(feature).collect();
                    let v = head(past, "v_proj", h);
                    let weight = dot(&q, &k);
                    total += weight;
                    (0..d).for_each(|i| sum[i] += weight * v[i]);
                }
                for out in 0..self.d_model {
                    (0..d).for_each(|i| y[t][out] += p["o_proj"][out][h * d + i] * sum[i] / total);
                }
            }
        }
        y
    }
}

impl Registered for Linear {
    fn preset(_name: &str, size: Size) -> Linear {
        let Size { d_model, heads, d_head } = size;
        Linear { d_model, heads, d_head }
    }

    fn exam(_preset: &str) -> Vec<Linear> {
        vec![Linear { d_model: 10, heads: 2, d_head: 6 }, Linear { d_model: 7, heads: 3, d_head: 5 }]
    }
}
