//! Differential attention: one softmax is subtracted from another, so that what both see by chance cancels.
//!
//! Heads come in pairs: `y_h = (softmax(q_h k_g^T / sqrt(D)) - lambda softmax(q_h' k_g'^T / sqrt(D))) [v_g ; v_g']`, where `h' = h + H / 2`
//! and `g' = g + G / 2`; then `(1 - lambda_init) rms_norm(y_h)`. `lambda = exp(l_q1 . l_k1) - exp(l_q2 . l_k2) + lambda_init` is one
//! number for all heads.
//!
//! Shapes: x `[N, d_model]`, q `[N, H * D]`, k and v `[N, G * D]`, y_h of width `2 D`.
//! Planes: `k_1` and `k_2`, the keys of the first and the second softmax, `G / 2 * D` a token each; `v`, the joined values, `G * D`:
//! `2 G D` values a token, as grouped-query attention keeps.
//! Cost: that of grouped-query attention whose values are twice as wide as its keys.
//! Paper: Ye et al. 2024, 2410.05258, section 2.1.
//! Differs from the paper: heads `h` and `h + H / 2` make a pair, as in transformers' DiffLlama, where the paper pairs neighbours; the
//! norm has no weight. Differs from transformers: three planes where it caches two tensors with the same values.

use crate::card::{Card, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Init, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::mechanisms::gqa::Gqa;
use crate::oracle::{dot, multiply};
use crate::pattern::Pattern;
use attendant_core::ops::{Softmax, Unary, Visible};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Differential attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// What the learned part of lambda is added to: see [`lambda_init`].
    pub lambda_init: f32,
    /// Epsilon of the norm on the difference.
    pub eps: f32,
    /// Heads, projections and rotation; both counts of heads are even, and the pattern is plain.
    #[serde(flatten)]
    pub heads: Gqa,
}

/// The value for a layer, counted from 0: `0.8 - 0.6 exp(-0.3 layer)`.
pub fn lambda_init(layer: usize) -> f32 {
    (0.8 - 0.6 * (-0.3 * layer as f64).exp()) as f32
}

static CARD: Card = Card {
    sentence: "One softmax is subtracted from another, so that what both see by chance cancels.",
    paper: "Ye et al. 2024, 2410.05258, section 2.1",
    cache: "2gd",
    models: &["DiffLlama"],
    tier: Tier::One,
};

const LAMBDAS: [&str; 4] = ["lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"];

impl Diff {
    /// `[1, 1]`
    fn lambda(&self, cx: &mut Context<'_>, p: &Bound) -> Var {
        let [first, second] = [[LAMBDAS[0], LAMBDAS[1]], [LAMBDAS[2], LAMBDAS[3]]].map(|[q, k]| {
            let dot = cx.linear(p[q], p[k], None);
            cx.unary(dot, Unary::Exp)
        });
        let second = cx.scale(second, -1.0);
        let learned = cx.add(first, second);
        let init = cx.constant(1, 1, &[self.lambda_init]);
        cx.add(learned, init)
    }

    /// v `[N, G * D]` -> the same values, those of a pair of heads side by side.
    fn joined(&self, cx: &mut Context<'_>, v: Var) -> Var {
        let width = cx.width(v);
        let halves = [0..width / 2, width / 2..width].map(|half| {
            let half = cx.columns(v, half);
            cx.reshape(half, self.heads.d_head)
        });
        let joined = cx.join_columns(halves[0], halves[1]);
        cx.reshape(joined, width)
    }
}

impl Mechanism for Diff {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.heads.d_model
    }

    fn check(&self) -> Result<()> {
        let Gqa { heads, kv_heads, pattern, .. } = &self.heads;
        self.heads.check()?;
        require(kv_heads.is_multiple_of(2), "kv_heads", || {
            format!("got {kv_heads}, wanted an even number: heads come in pairs")
        })?;
        let heads_pair = heads.is_multiple_of(2) && (heads / 2).is_multiple_of(kv_heads / 2);
        require(heads_pair, "heads", || format!("got {heads}, wanted an even number: heads come in pairs"))?;
        require(*pattern == Pattern::default(), "pattern", || format!("got {pattern:?}, wanted the plain one"))?;
        require(self.lambda_init.is_finite(), "lambda_init", || format!("got {}, wanted a number", self.lambda_init))?;
        require(self.eps.is_finite() && self.eps >= 0.0, "eps", || format!("got {}, wanted 0 or more", self.eps))
    }

    fn params(&self) -> Vec<Parameter> {
        let lambda = |name| Parameter { init: Init::Normal(0.1), ..Parameter::vector(name, self.heads.d_head, 0.0) }.bare();
        self.heads.params().into_iter().chain(LAMBDAS.map(lambda)).collect()
    }

    fn state(&self) -> StateLayout {
        let Gqa { kv_heads, d_head, .. } = self.heads;
        let plane = |name, width| Plane::new(name, width, Growth::PerToken).heads(kv_heads / 2);
        let half = kv_heads / 2 * d_head;
        StateLayout::new([plane("k_1", half), plane("k_2", half), plane("v", 2 * half)])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let Gqa { heads, kv_heads, d_head, .. } = self.heads;
        let [q, k, v] = self.heads.project(cx, p, x);
        let v = self.joined(cx, v);
        let values = cx.remember("v", v)?;
        let plain = self.heads.softmax(Visible::Causal);
        let spec = Softmax { heads: heads / 2, kv_heads: kv_heads / 2, d_v: 2 * d_head, ..plain };
        let mut maps = Vec::new();
        for (i, plane) in ["k_1", "k_2"].into_iter().enumerate() {
            let half = |heads: usize| i * heads / 2 * d_head..(i + 1) * heads / 2 * d_head;
            let (q, k) = (cx.columns(q, half(heads)), cx.columns(k, half(kv_heads)));
            let keys = cx.remember(plane, k)?;
            maps.push(cx.attend(q, &keys, &values, &spec));
        }
        let lambda = self.lambda(cx, p);
        let minus = cx.scale(lambda, -1.0);
        let rows = cx.rows(x);
        let minus = cx.embedding(minus, &vec![0; rows]);
        let second = cx.scale_rows(maps[1], minus);
        let difference = cx.add(maps[0], second);
        let parts = cx.reshape(difference, 2 * d_head);
        let normed = cx.rms_norm(parts, None, self.eps);
        let y = cx.reshape(normed, heads * d_head);
        let y = cx.scale(y, 1.0 - self.lambda_init);
        Ok(cx.linear(y, p["o_proj"], p.get("o_bias")))
    }
}

impl Oracle for Diff {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let Gqa { heads, kv_heads, d_head: d, .. } = self.heads;
        let scale = self.heads.scale.map_or((d as f64).powf(-0.5), f64::from);
        let (q, k) = self.heads.oracle_queries_and_keys(p, x);
        let v = multiply(x, &p["v_proj"], p.get("v_bias"));
        let [q1, k1, q2, k2] = LAMBDAS.map(|name| &p[name][0]);
        let init = S::from(self.lambda_init.into());
        let lambda = dot(q1, k1).exp() - dot(q2, k2).exp() + init;
        let mut mixed = Rows::zeros(x.rows(), heads * d);
        for t in 0..x.rows() {
            for pair in 0..heads / 2 {
                let key_pair = pair / (heads / kv_heads);
                let mut y = vec![S::from(0.0); 2 * d];
                for (which, factor) in [S::from(1.0), -lambda].into_iter().enumerate() {
                    let query = &q[t][(which * heads / 2 + pair) * d..][..d];
                    let key_head = which * kv_heads / 2 + key_pair;
                    let weight = |s: usize| (dot(query, &k[s][key_head * d..][..d]) * S::from(scale)).exp();
                    let total = (0..=t).fold(S::from(0.0), |sum, s| sum + weight(s));
                    for s in 0..=t {
                        let share = factor * weight(s) / total;
                        for i in 0..d {
                            y[i] += share * v[s][key_pair * d + i];
                            y[d + i] += share * v[s][(kv_heads / 2 + key_pair) * d + i];
                        }
                    }
                }
                let root = (dot(&y, &y) / S::from(2.0 * d as f64) + S::from(self.eps.into())).sqrt();
                let out = &mut mixed[t][pair * 2 * d..(pair + 1) * 2 * d];
                out.iter_mut().zip(y).for_each(|(out, y)| *out = (S::from(1.0) - init) * y / root);
            }
        }
        multiply(&mixed, &p["o_proj"], p.get("o_bias"))
    }
}

impl Registered for Diff {
    /// Key heads as grouped-query attention would have them, made even.
    fn preset(_name: &str, size: Size) -> Diff {
        let heads = size.heads.next_multiple_of(2);
        let gqa = Gqa::preset("gqa", Size { heads, ..size });
        let kv_heads = if gqa.kv_heads.is_multiple_of(2) { gqa.kv_heads } else { 2 };
        Diff { lambda_init: lambda_init(1), eps: 1e-5, heads: Gqa { kv_heads, ..gqa } }
    }

    fn exam(_preset: &str) -> Vec<Diff> {
        let heads = |heads, kv_heads| Gqa { kv_heads, ..Gqa::preset("mha", Size { d_model: 10, heads, d_head: 6 }) };
        let biased = Gqa { bias: true, out_bias: true, ..heads(4, 4) };
        vec![
            Diff { lambda_init: 0.6, eps: 1e-3, heads: biased },
            Diff { lambda_init: 0.2, eps: 1e-3, heads: heads(8, 4) },
            Diff { lambda_init: lambda_init(0), eps: 1e-3, heads: heads(2, 2) },
        ]
    }
}
