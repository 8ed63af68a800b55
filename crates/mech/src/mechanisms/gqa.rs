//! Grouped-query attention: several query heads read one key head.
//!
//! Query head `h` of `H` reads key head `h / (H / G)`: `y_h = softmax(q_h k_g^T / sqrt(D)) v_g`. With `G = H` this is
//! multi-head attention, with `G = 1` multi-query attention; they are presets, not other code.
//!
//! Shapes: x `[N, d_model]`, q `[N, H * D]`, k and v `[N, G * D]`.
//! Planes: `k` and `v`, a row of `G * D` per token each: `2 G D` values a token.
//! Cost: prefill of T tokens `4 H D T^2 / 2` operations; a decode step reads `2 G D L` values and does `4 H D L` operations.
//! Paper: Ainslie et al. 2023, 2305.13245, section 2; Vaswani et al. 2017, 1706.03762 (MHA); Shazeer 2019, 1911.02150 (MQA).
//! Differs from transformers: none in the numbers; keys are cached after rotation, a head's rows together.

use crate::card::{Card, Order, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::pattern::{Bias, Pattern, See};
use crate::rotary::{Pairs, Rotary};
use attendant_core::ops::{Softmax, Visible};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Grouped-query attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gqa {
    /// Width of the rows.
    pub d_model: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Rotation of queries and keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// RMS normalisation of every query and key head, before rotation (Qwen 3), with this epsilon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qk_norm: Option<f32>,
    /// Whether the projections of queries, keys and values add a bias.
    #[serde(default)]
    pub bias: bool,
    /// Which keys a query sees, and what happens to its scores.
    #[serde(default)]
    pub pattern: Pattern,
}

static CARD: Card = Card {
    sentence: "Several query heads read one key head; with as many key heads as query heads it is multi-head, with one multi-query attention.",
    paper: "Ainslie et al. 2023, 2305.13245 (MHA: Vaswani et al. 2017, 1706.03762; MQA: Shazeer 2019, 1911.02150)",
    cache: "2gd",
    models: &[
        "Llama 3",
        "Mistral",
        "Qwen 2 and 3",
        "Gemma 2 and 3",
        "gpt-oss",
        "GPT-2 (MHA)",
        "Llama 2 7B (MHA)",
        "Falcon 7B (MQA)",
    ],
    tier: Tier::One,
};

impl Gqa {
    /// The attention that these fields describe, without cap, bias and sink.
    pub(crate) fn softmax(&self, visible: Visible) -> Softmax {
        Softmax {
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_qk: self.d_head,
            d_v: self.d_head,
            scale: (self.d_head as f32).powf(-0.5),
            visible,
            softcap: None,
            bias: None,
            sink: None,
        }
    }

    fn prepare(&self, cx: &mut Context<'_>, p: &Bound, x: Var, heads: usize, norm: &str) -> Var {
        let x = match self.qk_norm {
            Some(eps) => {
                let parts = cx.reshape(x, self.d_head);
                let parts = cx.rms_norm(parts, p.get(norm), eps);
                cx.reshape(parts, heads * self.d_head)
            }
            None => x,
        };
        match &self.rotary {
            Some(rotary) => cx.rotate(x, heads, 0, rotary),
            None => x,
        }
    }

    /// Queries, keys and values of x, normalised and rotated.
    pub(crate) fn project(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> [Var; 3] {
        let q = cx.linear(x, p["q_proj"], p.get("q_bias"));
        let k = cx.linear(x, p["k_proj"], p.get("k_bias"));
        let v = cx.linear(x, p["v_proj"], p.get("v_bias"));
        [self.prepare(cx, p, q, self.heads, "q_norm"), self.prepare(cx, p, k, self.kv_heads, "k_norm"), v]
    }

    /// The oracle, with what a query sees as a question.
    pub(crate) fn oracle_seeing<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, sees: impl Fn(usize, usize) -> bool) -> Rows<S> {
        let (d, group) = (self.d_head, self.heads / self.kv_heads);
        let project = |weight: &str, bias: &str, norm: Option<&str>, heads: usize| {
            let mut rows = multiply(x, &p[weight], p.get(bias));
            for position in 0..rows.rows() {
                for head in 0..heads {
                    let part = &mut rows[position][head * d..(head + 1) * d];
                    if let (Some(eps), Some(norm)) = (self.qk_norm, norm) {
                        let square = part.iter().fold(S::from(0.0), |sum, &x| sum + x * x) / S::from(d as f64);
                        let root = (square + S::from(eps.into())).sqrt();
                        part.iter_mut().enumerate().for_each(|(i, x)| *x = *x / root * p[norm][0][i]);
                    }
                    if let (Some(rotary), Some(_)) = (&self.rotary, norm) {
                        rotary.rotate(part, position);
                    }
                }
            }
            rows
        };
        let q = project("q_proj", "q_bias", Some("q_norm"), self.heads);
        let k = project("k_proj", "k_bias", Some("k_norm"), self.kv_heads);
        let v = project("v_proj", "v_bias", None, self.kv_heads);
        let mut mixed = Rows::zeros(x.rows(), self.heads * d);
        for query in 0..x.rows() {
            for head in 0..self.heads {
                let key_head = head / group;
                let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); d]);
                if self.pattern.sink {
                    total += p["sinks"][0][head].exp();
                }
                for key in (0..x.rows()).filter(|&key| sees(query, key)) {
                    let (q, k) = (&q[query][head * d..], &k[key][key_head * d..]);
                    let dot = (0..d).fold(S::from(0.0), |sum, i| sum + q[i] * k[i]) * S::from((d as f64).powf(-0.5));
                    let distance = key as isize - query as isize;
                    let weight = self.pattern.score(dot, head, self.heads, distance, p.get("relative_bias")).exp();
                    total += weight;
                    (0..d).for_each(|i| sum[i] += weight * v[key][key_head * d + i]);
                }
                (0..d).for_each(|i| mixed[query][head * d + i] = sum[i] / total);
            }
        }
        multiply(&mixed, &p["o_proj"], None)
    }
}

/// The oracle's product: x weight^T + bias.
fn multiply<S: Real>(x: &Rows<S>, weight: &Rows<S>, bias: Option<&Rows<S>>) -> Rows<S> {
    let mut y = Rows::zeros(x.rows(), weight.rows());
    for row in 0..x.rows() {
        for out in 0..weight.rows() {
            let start = bias.map_or(S::from(0.0), |bias| bias[0][out]);
            y[row][out] = (0..x.width()).fold(start, |sum, i| sum + x[row][i] * weight[out][i]);
        }
    }
    y
}

impl Mechanism for Gqa {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn order(&self) -> Order {
        if matches!(self.pattern.see, See::Everything | See::Prefix(_)) { Order::Bidirectional } else { Order::Causal }
    }

    fn check(&self) -> Result<()> {
        require(self.d_model > 0, "d_model", || "got 0, wanted at least 1".into())?;
        require(self.heads > 0, "heads", || "got 0, wanted at least 1".into())?;
        require(self.d_head > 0, "d_head", || "got 0, wanted at least 1".into())?;
        let divides = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        require(divides, "kv_heads", || format!("got {}, wanted a divisor of the {} query heads", self.kv_heads, self.heads))?;
        self.rotary.map_or(Ok(()), |rotary| rotary.check(self.d_head))?;
        self.pattern.check()
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
            params.extend(
                [("q_bias", query), ("k_bias", key), ("v_bias", key)].map(|(name, width)| Parameter::vector(name, width, 0.0)),
            );
        }
        if self.qk_norm.is_some() {
            params.extend(["q_norm", "k_norm"].map(|name| Parameter::vector(name, self.d_head, 1.0)));
        }
        params.extend(self.pattern.params(self.heads));
        params
    }

    fn state(&self) -> StateLayout {
        let plane = |name| Plane::new(name, self.kv_heads * self.d_head, Growth::PerToken).heads(self.kv_heads);
        StateLayout::new([plane("k"), plane("v")])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let [q, k, v] = self.project(cx, p, x);
        let keys = cx.remember("k", k)?;
        let values = cx.remember("v", v)?;
        let spec = self.pattern.apply(cx, p, &keys, self.softmax(self.pattern.visible()));
        let y = cx.attend(q, &keys, &values, &spec);
        Ok(cx.linear(y, p["o_proj"], None))
    }
}

impl Oracle for Gqa {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        self.oracle_seeing(p, x, |query, key| self.pattern.sees(query, key))
    }
}

impl Registered for Gqa {
    fn preset(name: &str, size: Size) -> Gqa {
        let kv_heads = match name {
            "mha" => size.heads,
            "mqa" => 1,
            // A quarter of the heads where that divides, else the largest count below that does.
            _ => (1..=size.heads.div_ceil(4)).rev().find(|g| size.heads.is_multiple_of(*g)).unwrap_or(1),
        };
        let rotary = (size.d_head >= 2).then(|| Rotary::new(size.d_head / 2 * 2));
        let Size { d_model, heads, d_head } = size;
        Gqa { d_model, heads, kv_heads, d_head, rotary, qk_norm: None, bias: false, pattern: Pattern::default() }
    }

    fn exam(preset: &str) -> Vec<Gqa> {
        let plain = Gqa::preset(preset, Size { d_model: 10, heads: 6, d_head: 6 });
        let with = |pattern: Pattern| Gqa { pattern, ..plain.clone() };
        let partial = Some(Rotary { width: 4, base: 50.0, pairs: Pairs::Adjacent });
        vec![
            Gqa { rotary: None, bias: true, ..plain.clone() },
            Gqa { rotary: partial, qk_norm: Some(1e-3), ..plain.clone() },
            with(Pattern { see: See::Everything, ..Pattern::default() }),
            with(Pattern { see: See::Chunk(4), softcap: Some(0.7), ..Pattern::default() }),
            with(Pattern { see: See::Prefix(3), sink: true, ..Pattern::default() }),
            with(Pattern { bias: Some(Bias::Alibi), ..Pattern::default() }),
            with(Pattern { bias: Some(Bias::T5 { buckets: 8, max_distance: 12 }), sink: true, ..Pattern::default() }),
            plain,
        ]
    }
}
