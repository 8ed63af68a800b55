//! Retention: linear attention whose past fades at a fixed rate per head.
//!
//! `S <- g_h S + k v^T`, `y_h = S^T q / sqrt(D)`, with `g_h = 1 - 2^(-5 - h)`: each head forgets at its own pace.
//!
//! Shapes: q, k and v `[N, H * D]`, S `[B, H, D, D]`.
//! Planes: `s`, one row of `H D D` values, whatever the length.
//! Cost: `4 H D D` operations a token.
//! Paper: Sun et al. 2023, 2307.08621, section 2.1.
//! Differs from the paper: queries and keys are not rotated, and heads are neither normalised nor gated before the last product.

use crate::card::{Card, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::oracle::{dot, head};
use attendant_core::ops::{Scan, ScanGate};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Width of the rows.
    pub d_model: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
}

static CARD: Card = Card {
    sentence: "The past is one matrix per head, which fades at the head's own fixed rate.",
    paper: "Sun et al. 2023, 2307.08621",
    cache: "0, and hdd values in all",
    models: &["RetNet"],
    tier: Tier::Two,
};

impl Retention {
    fn decay(head: usize) -> f64 {
        1.0 - 2f64.powi(-5 - head as i32)
    }
}

impl Mechanism for Retention {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn check(&self) -> Result<()> {
        require(self.d_model > 0, "d_model", || "got 0, wanted at least 1".into())?;
        require((1..=64).contains(&self.heads), "heads", || format!("got {}, wanted 1 to 64", self.heads))?;
        require(self.d_head > 0, "d_head", || "got 0, wanted at least 1".into())
    }

    fn params(&self) -> Vec<Parameter> {
        let width = self.heads * self.d_head;
        let mut params: Vec<_> = ["q_proj", "k_proj", "v_proj"].map(|name| Parameter::product(name, width, self.d_model)).into();
        params.push(Parameter::product("o_proj", self.d_model, width));
        params
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([Plane::new("s", self.heads * self.d_head * self.d_head, Growth::Constant).exact()])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let q = cx.linear(x, p["q_proj"], None);
        let q = cx.scale(q, (self.d_head as f32).powf(-0.5));
        let k = cx.linear(x, p["k_proj"], None);
        let v = cx.linear(x, p["v_proj"], None);
        let rows = cx.rows(x);
        let decays: Vec<f32> = (0..self.heads).map(|head| Retention::decay(head) as f32).collect();
        let gate = cx.constant(rows, self.heads, &decays.repeat(rows));
        let initial = cx.recall("s")?;
        let scan = Scan { heads: self.heads, d_k: self.d_head, d_v: self.d_head };
        let sequences = cx.batch().row_ranges();
        let recurrence = cx.gated_scan(q, k, v, ScanGate::Head(gate), initial, scan, &sequences);
        cx.keep("s", recurrence.state)?;
        Ok(cx.linear(recurrence.rows, p["o_proj"], None))
    }
}

impl Oracle for Retention {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let d = self.d_head;
        let head = |t: usize, weight: &str, h: usize| head(&x[t], &p[weight], None, h, d);
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for h in 0..self.heads {
            for t in 0..x.rows() {
                let q = head(t, "q_proj", h);
                let mut sum = vec![S::from(0.0); d];
                for past in 0..=t {
                    let fade = S::from((1.0 - 0.5f64.powi(5 + h as i32)).powi((t - past) as i32) / (d as f64).sqrt());
                    let weight = dot(&q, &head(past, "k_proj", h)) * fade;
                    let v = head(past, "v_proj", h);
                    (0..d).for_each(|i| sum[i] += weight * v[i]);
                }
                for out in 0..self.d_model {
                    (0..d).for_each(|i| y[t][out] += p["o_proj"][out][h * d + i] * sum[i]);
                }
            }
        }
        y
    }
}

impl Registered for Retention {
    fn preset(_name: &str, size: Size) -> Retention {
        let Size { d_model, heads, d_head } = size;
        Retention { d_model, heads, d_head }
    }

    fn exam(_preset: &str) -> Vec<Retention> {
        vec![Retention { d_model: 10, heads: 2, d_head: 6 }, Retention { d_model: 7, heads: 3, d_head: 5 }]
    }
}
