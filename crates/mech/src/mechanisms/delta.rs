//! The gated delta rule: a matrix per head that is corrected by what it recalls wrongly.
//!
//! `S <- a S; S <- S + k (b (v - S^T k))^T`, `y_h = S^T q`, with queries and keys of unit length, `b = sigmoid(W_b x)` and
//! `a = exp(-A softplus(W_a x + c))`, `A = exp(A_log)`: what is stored under a key is replaced, where linear attention would add.
//!
//! Shapes: q, k and v `[N, H * D]`, a and b `[N, H]`, S `[B, H, D, D]`.
//! Planes: `s`, one row of `H D D` values, whatever the length.
//! Cost: `6 H D D` operations a token.
//! Paper: Yang et al. 2024, 2412.06464, section 3.
//! Differs from the paper: no short convolutions before, no norm and gate after the recurrence.

use crate::card::{Card, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::oracle::{dot, head};
use attendant_core::ops::{Scan, Unary};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Added to the square of a length before dividing by its root.
const EPSILON: f32 = 1e-6;

/// The gated delta rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// Width of the rows.
    pub d_model: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
}

static CARD: Card = Card {
    sentence: "The past is one matrix per head; a new value replaces what its key recalled, and the rest fades as the input says.",
    paper: "Yang et al. 2024, 2412.06464",
    cache: "0, and hdd values in all",
    models: &["Qwen3-Next", "OLMo Hybrid"],
    tier: Tier::Two,
};

impl Delta {
    /// Heads of unit length.
    fn unit(&self, cx: &mut Context<'_>, x: Var) -> Var {
        let heads = cx.reshape(x, self.d_head);
        let d = self.d_head as f32;
        // The root of the mean square is the length over the root of the width.
        let scaled = cx.rms_norm(heads, None, EPSILON / d);
        let unit = cx.scale(scaled, d.powf(-0.5));
        cx.reshape(unit, self.heads * self.d_head)
    }

    /// `exp(-A softplus(W_a x + c))`
    fn decay(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Var {
        let step = cx.linear(x, p["a_proj"], Some(p["dt_bias"]));
        let step = cx.unary(step, Unary::Softplus);
        let rows = cx.rows(x);
        let ones = cx.constant(rows, 1, &vec![1.0; rows]);
        let rate = cx.reshape(p["A_log"], 1);
        let rate = cx.unary(rate, Unary::Exp);
        // A product with ones repeats the rates for every row, and sums their gradients.
        let rate = cx.linear(ones, rate, None);
        let exponent = cx.multiply(step, rate);
        let exponent = cx.scale(exponent, -1.0);
        cx.unary(exponent, Unary::Exp)
    }
}

impl Mechanism for Delta {
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
        params.extend(["a_proj", "b_proj"].map(|name| Parameter::product(name, self.heads, self.d_model)));
        // Together a decay of about 0.95 a row to begin with.
        params.push(Parameter::vector("A_log", self.heads, 0.0).bare());
        params.push(Parameter::vector("dt_bias", self.heads, -3.0));
        params.push(Parameter::product("o_proj", self.d_model, width));
        params
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([Plane::new("s", self.heads * self.d_head * self.d_head, Growth::Constant).exact()])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let [q, k, v, b] = ["q_proj", "k_proj", "v_proj", "b_proj"].map(|name| cx.linear(x, p[name], None));
        let [q, k] = [q, k].map(|x| self.unit(cx, x));
        let beta = cx.unary(b, Unary::Sigmoid);
        let decay = self.decay(cx, p, x);
        let initial = cx.recall("s")?;
        let scan = Scan { heads: self.heads, d_k: self.d_head, d_v: self.d_head };
        let sequences = cx.batch().row_ranges();
        let recurrence = cx.gated_delta(q, k, v, decay, beta, initial, scan, &sequences);
        cx.keep("s", recurrence.state)?;
        Ok(cx.linear(recurrence.rows, p["o_proj"], None))
    }
}

impl Oracle for Delta {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let d = self.d_head;
        let (zero, one) = (S::from(0.0), S::from(1.0));
        let head = |t: usize, weight: &str, h: usize| head(&x[t], &p[weight], None, h, d);
        let unit = |x: Vec<S>| -> Vec<S> {
            let length = (dot(&x, &x) + S::from(EPSILON.into())).sqrt();
            x.into_iter().map(|x| x / length).collect()
        };
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for h in 0..self.heads {
            // The paper's form: the state is the transpose of mix's, and its transition a product with a matrix.
            let mut state = vec![vec![zero; d]; d];
            for t in 0..x.rows() {
                let (q, k, v) = (unit(head(t, "q_proj", h)), unit(head(t, "k_proj", h)), head(t, "v_proj", h));
                let beta = dot(&x[t], &p["b_proj"][h]).sigmoid();
                let step = (one + (dot(&x[t], &p["a_proj"][h]) + p["dt_bias"][0][h]).exp()).ln();
                let decay = (-(p["A_log"][0][h].exp() * step)).exp();
                let identity = |i: usize, j: usize| if i == j { one } else { zero };
                let transition = |i: usize, j: usize| decay * (identity(i, j) - beta * k[i] * k[j]);
                let after = |row: &[S], j: usize| (0..d).fold(zero, |sum, i| sum + row[i] * transition(i, j));
                state = (0..d).map(|o| (0..d).map(|j| after(&state[o], j) + beta * v[o] * k[j]).collect()).collect();
                for out in 0..self.d_model {
                    (0..d).for_each(|i| y[t][out] += p["o_proj"][out][h * d + i] * dot(&state[i], &q));
                }
            }
        }
        y
    }
}

impl Registered for Delta {
    fn preset(_name: &str, size: Size) -> Delta {
        let Size { d_model, heads, d_head } = size;
        Delta { d_model, heads, d_head }
    }

    fn exam(_preset: &str) -> Vec<Delta> {
        vec![Delta { d_model: 10, heads: 2, d_head: 6 }, Delta { d_model: 7, heads: 3, d_head: 5 }]
    }
}
