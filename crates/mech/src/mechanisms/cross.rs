//! Cross attention: queries from here, keys and values from a source that is written once.
//!
//! `y_h = softmax(q_h k_g^T / sqrt(D)) v_g` with `q = W_q x`, `k = W_k s`, `v = W_v s`, s the rows of the source. Nothing is masked.
//!
//! Shapes: x `[N, d_model]`, source `[S, d_model]`, q `[N, H * D]`, k and v `[S, G * D]`.
//! Planes: `k` and `v`, a row of `G * D` per source row: `2 G D` values each, nothing per token.
//! Cost: the source `4 S d_model G D` operations once; then `4 H D S` a token.
//! Paper: Vaswani et al. 2017, 1706.03762, section 3.2.3.
//! Differs from transformers: none in the numbers; key heads may be fewer than query heads.

use crate::card::{Card, Order, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::oracle::{dot, head};
use attendant_core::ops::{Softmax, Visible};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Cross attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cross {
    /// Width of the rows, here and of the source.
    pub d_model: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Whether the projections of queries, keys and values add a bias.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
    /// Whether the output's projection adds one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_bias: bool,
    /// What dot products are multiplied by, if not `1 / sqrt(d_head)`: 1 in T5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
}

static CARD: Card = Card {
    sentence: "Queries read a source whose keys and values are computed once and kept.",
    paper: "Vaswani et al. 2017, 1706.03762, section 3.2.3",
    cache: "2gd per source row, once",
    models: &["T5", "BART", "Marian", "Whisper"],
    tier: Tier::One,
};

impl Mechanism for Cross {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn order(&self) -> Order {
        Order::Cross
    }

    fn check(&self) -> Result<()> {
        require(self.d_model > 0, "d_model", || "got 0, wanted at least 1".into())?;
        require(self.heads > 0 && self.d_head > 0, "heads, d_head", || {
            format!("got {} and {}, wanted at least 1", self.heads, self.d_head)
        })?;
        let divides = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        require(divides, "kv_heads", || format!("got {}, wanted a divisor of the {} query heads", self.kv_heads, self.heads))?;
        let finite = self.scale.is_none_or(f32::is_finite);
        require(finite, "scale", || format!("got {:?}, wanted a number", self.scale))
    }

    fn params(&self) -> Vec<Parameter> {
        let (query, key) = (self.heads * self.d_head, self.kv_heads * self.d_head);
        let mut params = vec![
            Parameter::product("q_proj", query, self.d_model),
            Parameter::product("k_proj", key, self.d_model),
            Parameter::product("v_proj", key, self.d_model),
            Parameter::product("o_proj", self.d_model, query),
        ];
        if self.bias {
            let widths = [("q_bias", query), ("k_bias", key), ("v_bias", key)];
            params.extend(widths.map(|(name, width)| Parameter::vector(name, width, 0.0)));
        }
        params.extend(self.out_bias.then(|| Parameter::vector("o_bias", self.d_model, 0.0)));
        params
    }

    fn state(&self) -> StateLayout {
        let plane = |name| Plane::new(name, self.kv_heads * self.d_head, Growth::PerSource).heads(self.kv_heads);
        StateLayout::new([plane("k"), plane("v")])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let source = cx.source()?;
        let q = cx.linear(x, p["q_proj"], p.get("q_bias"));
        let k = cx.linear(source, p["k_proj"], p.get("k_bias"));
        let v = cx.linear(source, p["v_proj"], p.get("v_bias"));
        let keys = cx.remember("k", k)?;
        let values = cx.remember("v", v)?;
        let spec = Softmax {
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_qk: self.d_head,
            d_v: self.d_head,
            scale: self.scale.unwrap_or((self.d_head as f32).powf(-0.5)),
            visible: Visible::All,
            softcap: None,
            bias: None,
            sink: None,
        };
        let y = cx.attend(q, &keys, &values, &spec);
        Ok(cx.linear(y, p["o_proj"], p.get("o_bias")))
    }
}

impl Oracle for Cross {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, source: Option<&Rows<S>>) -> Rows<S> {
        let source = source.expect("cross attention has a source");
        let (d, group) = (self.d_head, self.heads / self.kv_heads);
        let scale = S::from(self.scale.map_or((d as f64).powf(-0.5), f64::from));
        let head = |row: &[S], [weight, bias]: [&str; 2], h: usize| head(row, &p[weight], p.get(bias), h, d);
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for t in 0..x.rows() {
            if let Some(bias) = p.get("o_bias") {
                y[t].copy_from_slice(&bias[0]);
            }
            for h in 0..self.heads {
                let q = head(&x[t], ["q_proj", "q_bias"], h);
                let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); d]);
                for s in 0..source.rows() {
                    let k = head(&source[s], ["k_proj", "k_bias"], h / group);
                    let v = head(&source[s], ["v_proj", "v_bias"], h / group);
                    let weight = (dot(&q, &k) * scale).exp();
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

impl Registered for Cross {
    fn preset(_name: &str, size: Size) -> Cross {
        let Size { d_model, heads, d_head } = size;
        Cross { d_model, heads, kv_heads: heads, d_head, bias: false, out_bias: false, scale: None }
    }

    fn exam(_preset: &str) -> Vec<Cross> {
        let whole = Cross::preset("cross", Size { d_model: 10, heads: 4, d_head: 6 });
        let biased = Cross { bias: true, out_bias: true, scale: Some(0.7), ..whole.clone() };
        vec![Cross { kv_heads: 2, ..whole.clone() }, biased, whole]
    }
}
