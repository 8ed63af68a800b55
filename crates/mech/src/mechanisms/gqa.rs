//! Grouped-query attention: several query heads read one key head.
//!
//! Query head `h` of `H` reads key head `h / (H / G)`: `y_h = softmax(q_h k_g^T / sqrt(D)) v_g`. With `G = H` this is
//! multi-head attention, with `G = 1` multi-query attention; they are presets, not other code.
//!
//! Shapes: x `[N, d_model]`, q `[N, H * D]`, k and v `[N, G * D]`.
//! Planes: `k` and `v`, a row of `G * D` per token each: `2 G D` values a token. Of chunks of C tokens, rings of the last C - 1 rows.
//! Cost: prefill of T tokens `4 H D T^2 / 2` operations; a decode step reads `2 G D L` values and does `4 H D L` operations.
//! Paper: Ainslie et al. 2023, 2305.13245, section 2; Vaswani et al. 2017, 1706.03762 (MHA); Shazeer 2019, 1911.02150 (MQA).
//! Options, in the order in which they act: biases of the projections, norms of queries and keys before the rotation or after it
//! ([`QkNorm`]), the rotation and its scaling ([`Rotary`]), a temperature of the queries ([`Temperature`]), the scale of the scores,
//! and what differs between softmax attentions ([`Pattern`]).
//! Differs from transformers: none in the numbers; keys are cached after rotation, a head's rows together. Falcon's ALiBi is
//! rounded to bf16 there.

mod oracle;

use crate::card::{Card, Order, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::pattern::{Bias, Pattern, See};
use crate::qk_norm::{self, NormKind, NormScope, QkNorm};
use crate::rotary::{Pairs, Rotary, Scaling};
use crate::temperature::Temperature;
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
    /// Normalisation of queries and keys.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "qk_norm::read")]
    pub qk_norm: Option<QkNorm>,
    /// Whether the projections of queries, keys and values add a bias.
    #[serde(default)]
    pub bias: bool,
    /// Whether the output's projection adds one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_bias: bool,
    /// What dot products are multiplied by, if not `1 / sqrt(d_head)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Growth of the queries with their position, after all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
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

/// Names of the parameters of the normalisations.
const Q_NORM: [&str; 2] = ["q_norm", "q_norm_bias"];
const K_NORM: [&str; 2] = ["k_norm", "k_norm_bias"];

impl Gqa {
    /// Causal attention with nothing else: no rotation, no norm, no bias.
    pub fn plain(d_model: usize, heads: usize, kv_heads: usize, d_head: usize) -> Gqa {
        Gqa {
            d_model,
            heads,
            kv_heads,
            d_head,
            rotary: None,
            qk_norm: None,
            bias: false,
            out_bias: false,
            scale: None,
            temperature: None,
            pattern: Pattern::default(),
        }
    }

    /// The attention that these fields describe, without cap, bias and sink.
    pub(crate) fn softmax(&self, visible: Visible) -> Softmax {
        Softmax {
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_qk: self.d_head,
            d_v: self.d_head,
            scale: self.scale.unwrap_or((self.d_head as f32).powf(-0.5)),
            visible,
            softcap: None,
            bias: None,
            sink: None,
        }
    }

    fn prepare(&self, cx: &mut Context<'_>, p: &Bound, x: Var, heads: usize, norm: [&str; 2]) -> Var {
        let normed = |cx: &mut Context<'_>, x, after| match &self.qk_norm {
            Some(qk_norm) if qk_norm.after_rotation == after => qk_norm.apply(cx, p, x, norm, self.d_head),
            _ => x,
        };
        let x = normed(cx, x, false);
        let x = match &self.rotary {
            Some(rotary) => cx.rotate(x, heads, 0, rotary),
            None => x,
        };
        normed(cx, x, true)
    }

    /// Queries, keys and values of x, normalised and rotated.
    pub(crate) fn project(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> [Var; 3] {
        let q = cx.linear(x, p["q_proj"], p.get("q_bias"));
        let k = cx.linear(x, p["k_proj"], p.get("k_bias"));
        let v = cx.linear(x, p["v_proj"], p.get("v_bias"));
        let q = self.prepare(cx, p, q, self.heads, Q_NORM);
        let q = self.temperature.map_or(q, |temperature| temperature.apply(cx, q));
        [q, self.prepare(cx, p, k, self.kv_heads, K_NORM), v]
    }

    /// Attention of x over the planes `k` and `v`, and the product after it.
    pub(crate) fn mix_seeing(&self, cx: &mut Context<'_>, p: &Bound, x: Var, visible: Visible) -> Result<Var> {
        let [q, k, v] = self.project(cx, p, x);
        let keys = cx.remember("k", k)?;
        let values = cx.remember("v", v)?;
        let spec = self.pattern.apply(cx, p, &keys, self.softmax(visible));
        let y = cx.attend(q, &keys, &values, &spec);
        Ok(cx.linear(y, p["o_proj"], p.get("o_bias")))
    }
}

impl Mechanism for Gqa {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn order(&self) -> Order {
        if matches!(self.pattern.see, See::Everything | See::Prefix(_) | See::Near(_)) {
            Order::Bidirectional
        } else {
            Order::Causal
        }
    }

    fn check(&self) -> Result<()> {
        require(self.d_model > 0, "d_model", || "got 0, wanted at least 1".into())?;
        require(self.heads > 0, "heads", || "got 0, wanted at least 1".into())?;
        require(self.d_head > 0, "d_head", || "got 0, wanted at least 1".into())?;
        let divides = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        require(divides, "kv_heads", || format!("got {}, wanted a divisor of the {} query heads", self.kv_heads, self.heads))?;
        self.rotary.as_ref().map_or(Ok(()), |rotary| rotary.check(self.d_head))?;
        self.qk_norm.map_or(Ok(()), |qk_norm| qk_norm.check())?;
        let finite = self.scale.is_none_or(f32::is_finite);
        require(finite, "scale", || format!("got {:?}, wanted a number", self.scale))?;
        self.temperature.map_or(Ok(()), |temperature| temperature.check())?;
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
        params.extend(self.out_bias.then(|| Parameter::vector("o_bias", self.d_model, 0.0)));
        if let Some(qk_norm) = &self.qk_norm {
            params.extend(qk_norm.params(Q_NORM, self.heads, self.d_head));
            params.extend(qk_norm.params(K_NORM, self.kv_heads, self.d_head));
        }
        params.extend(self.pattern.params(self.heads));
        params
    }

    fn state(&self) -> StateLayout {
        // No query sees beyond its chunk, which holds so many rows before it.
        let growth = match self.pattern.see {
            See::Chunk(size) => Growth::Ring { window: size - 1, keep: 0 },
            _ => Growth::PerToken,
        };
        let plane = |name| Plane::new(name, self.kv_heads * self.d_head, growth).heads(self.kv_heads);
        StateLayout::new([plane("k"), plane("v")])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        self.mix_seeing(cx, p, x, self.pattern.visible())
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
        Gqa { rotary, ..Gqa::plain(d_model, heads, kv_heads, d_head) }
    }

    fn exam(preset: &str) -> Vec<Gqa> {
        let plain = Gqa::preset(preset, Size { d_model: 10, heads: 6, d_head: 6 });
        let t5 = |shared| Bias::T5 { buckets: 8, max_distance: 12, shared };
        let with = |pattern: Pattern| Gqa { pattern, ..plain.clone() };
        let layer = QkNorm { kind: NormKind::Layer, ..QkNorm::rms(1e-3) };
        let normed = |qk_norm| Gqa { qk_norm: Some(qk_norm), ..plain.clone() };
        let partial = Rotary { base: 50.0, pairs: Pairs::Adjacent, ..Rotary::new(4) };
        let scaled = |scaling| Gqa { rotary: Some(Rotary { base: 50.0, scaling, ..Rotary::new(6) }), ..plain.clone() };
        let (short, long) = (vec![1.0, 1.1, 1.3], vec![1.5, 2.0, 4.0]);
        vec![
            Gqa { rotary: None, bias: true, out_bias: true, scale: Some(0.3), ..plain.clone() },
            Gqa { rotary: Some(partial.clone()), ..normed(QkNorm::rms(1e-3)) },
            Gqa { rotary: Some(Rotary { reverse: true, ..partial }), ..normed(QkNorm { bias: true, ..layer }) },
            normed(QkNorm { scope: NormScope::Row, ..QkNorm::rms(1e-3) }),
            normed(QkNorm { scope: NormScope::EachHead, ..layer }),
            normed(QkNorm { scope: NormScope::EachHead, bias: true, ..layer }),
            normed(QkNorm { scope: NormScope::Weightless, after_rotation: true, ..QkNorm::rms(1e-3) }),
            Gqa { rotary: None, temperature: Some(Temperature { strength: 0.3, period: 5, offset: 1 }), ..plain.clone() },
            scaled(Scaling::Linear { factor: 4.0 }),
            scaled(Scaling::Dynamic { factor: 2.0, original: 16 }),
            scaled(Scaling::Yarn {
                factor: 8.0,
                original: 16,
                beta_fast: 1.0,
                beta_slow: 0.1,
                truncate: false,
                attention_factor: 1.2,
            }),
            scaled(Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 32 }),
            scaled(Scaling::Longrope { short, long, original: 16, attention_factor: 1.2 }),
            with(Pattern { see: See::Everything, ..Pattern::default() }),
            with(Pattern { see: See::Near(4), ..Pattern::default() }),
            with(Pattern { see: See::Chunk(4), softcap: Some(0.7), ..Pattern::default() }),
            with(Pattern { see: See::Prefix(3), sink: true, ..Pattern::default() }),
            with(Pattern { bias: Some(Bias::Alibi), ..Pattern::default() }),
            with(Pattern { bias: Some(Bias::ScaledAlibi), ..Pattern::default() }),
            with(Pattern { see: See::Everything, bias: Some(t5(true)), ..Pattern::default() }),
            with(Pattern { bias: Some(t5(false)), sink: true, ..Pattern::default() }),
            plain,
        ]
    }
}
