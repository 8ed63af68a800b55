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
        require(divides, "kv_heads", || format!("got {}, wanted a divisor of the {} query heads", self.kv_heads, self.heads))
    }

    fn params(&self) -> Vec<Parameter> {
        let (query, key) = (self.heads * self.d_head, self.kv_heads * self.d_head);
        vec![
            Parameter::product("q_proj", query, self.d_model),
            Parameter::product("k_proj", key, self.d_model),
            Parameter::product("v_proj", key, self.d_model),
            Parameter::product("o_proj", self.d_model, query),
        ]
    }

    fn state(&self) -> StateLayout {
        let plane = |name| Plane::new(name, self.kv_heads * self.d_head, Growth::PerSource).heads(self.kv_heads);
        StateLayout::new([plane("k"), plane("v")])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let source = cx.source()?;
        let q = cx.linear(x, p["q_proj"], None);
        let k = cx.linear(source, p["k_proj"], None);
        let v = cx.linear(source, p["v_proj"], None);
        let keys = cx.remember("k", k)?;
        let values = cx.remember("v", v)?;
        let spec = Softmax {
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_qk: self.d_head,
            d_v: self.d_head,
            scale: (self.d_head as f32).powf(-0.5),
            visible: Visible::All,
            softcap: None,
            bias: None,
            sink: None,
        };
        let y = cx.attend(q, &keys, &values, &spec);
        Ok(cx.linear(y, p["o_proj"], None))
    }
}

impl Oracle for Cross {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, source: Option<&Rows<S>>) -> Rows<S> {
        let source = source.expect("cross attention has a source");
        let (d, group) = (self.d_head, self.heads / self.kv_heads);
        let dot = |a: &[S], b: &[S]| a.iter().zip(b).fold(S::from(0.0), |sum, (&a, &b)| sum + a * b);
        let head = |row: &[S], weight: &Rows<S>, head: usize| -> Vec<S> {
            (head * d..(head + 1) * d).map(|i| dot(row, &weight[i])).collect()
        };
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for t in 0..x.rows() {
            for h in 0..self.heads {
                let q = head(&x[t], &p["q_proj"], h);
                let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); d]);
                for s in 0..source.rows() {
                    let k = head(&source[s], &p["k_proj"], h / group);
                    let v = head(&source[s], &p["v_proj"], h / group);
                    let weight = (dot(&q, &k) / S::from(d as f64).sqrt()).exp();
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
        Cross { d_model, heads, kv_heads: heads, d_head }
    }

    fn exam(_preset: &str) -> Vec<Cross> {
        let whole = Cross::preset("cross", Size { d_model: 10, heads: 4, d_head: 6 });
        vec![Cross { kv_heads: 2, ..whole.clone() }, whole]
    }
}
