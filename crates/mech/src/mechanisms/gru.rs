//! A gated recurrent unit: all of the past in one vector.
//!
//! `r = sigmoid(W_r x + U_r h)`, `z = sigmoid(W_z x + U_z h)`, `n = tanh(W_n x + r * (U_n h + b_n))`, `h' = (1 - z) n + z h`, then
//! a product out.
//!
//! Shapes: x `[N, d_model]`, h `[B, d_state]`.
//! Planes: `h`, one row of `d_state` values, whatever the length.
//! Cost: `6 d_state (d_model + d_state)` operations a token, one after the other.
//! Paper: Cho et al. 2014, 1406.1078, section 2.3.
//! Differs from the paper: the reset gate acts after the product with h (the form of cuDNN and PyTorch, whose gate order and
//! names these are), and a product follows.

use crate::card::{Card, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// A gated recurrent unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gru {
    /// Width of the rows.
    pub d_model: usize,
    /// Width of the state.
    pub d_state: usize,
}

static CARD: Card = Card {
    sentence: "All of the past is one vector, which each token updates through gates.",
    paper: "Cho et al. 2014, 1406.1078",
    cache: "0, and d_state values in all",
    models: &["the encoders and decoders of translation before 2017"],
    tier: Tier::Three,
};

impl Mechanism for Gru {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn check(&self) -> Result<()> {
        require(self.d_model > 0, "d_model", || "got 0, wanted at least 1".into())?;
        require(self.d_state > 0, "d_state", || "got 0, wanted at least 1".into())
    }

    fn params(&self) -> Vec<Parameter> {
        vec![
            Parameter::product("weight_ih", 3 * self.d_state, self.d_model).bare(),
            Parameter::product("weight_hh", 3 * self.d_state, self.d_state).by_parts().bare(),
            Parameter::vector("bias_ih", 3 * self.d_state, 0.0).bare(),
            Parameter::vector("bias_hh", 3 * self.d_state, 0.0).bare(),
            Parameter::product("o_proj", self.d_model, self.d_state),
        ]
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([Plane::new("h", self.d_state, Growth::Constant).exact()])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let gates = cx.linear(x, p["weight_ih"], Some(p["bias_ih"]));
        let initial = cx.recall("h")?;
        let sequences = cx.batch().row_ranges();
        let recurrence = cx.gru(gates, p["weight_hh"], p["bias_hh"], initial, &sequences);
        cx.keep("h", recurrence.state)?;
        Ok(cx.linear(recurrence.rows, p["o_proj"], None))
    }
}

impl Oracle for Gru {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let width = self.d_state;
        let product = |weight: &Rows<S>, bias: &Rows<S>, row: usize, x: &[S]| {
            x.iter().enumerate().fold(bias[0][row], |sum, (i, &x)| sum + weight[row][i] * x)
        };
        let mut h = vec![S::from(0.0); width];
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for t in 0..x.rows() {
            let from_x = |gate: usize, i: usize| product(&p["weight_ih"], &p["bias_ih"], gate * width + i, &x[t]);
            let from_h = |gate: usize, i: usize| product(&p["weight_hh"], &p["bias_hh"], gate * width + i, &h);
            let next: Vec<S> = (0..width)
                .map(|i| {
                    let reset = (from_x(0, i) + from_h(0, i)).sigmoid();
                    let update = (from_x(1, i) + from_h(1, i)).sigmoid();
                    let candidate = (from_x(2, i) + reset * from_h(2, i)).tanh();
                    (S::from(1.0) - update) * candidate + update * h[i]
                })
                .collect();
            h = next;
            for out in 0..self.d_model {
                (0..width).for_each(|i| y[t][out] += p["o_proj"][out][i] * h[i]);
            }
        }
        y
    }
}

impl Registered for Gru {
    fn preset(_name: &str, size: Size) -> Gru {
        Gru { d_model: size.d_model, d_state: size.heads * size.d_head }
    }

    fn exam(_preset: &str) -> Vec<Gru> {
        vec![Gru { d_model: 10, d_state: 7 }, Gru { d_model: 6, d_state: 17 }]
    }
}
