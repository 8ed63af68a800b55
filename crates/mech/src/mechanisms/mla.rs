//! Multi-head latent attention: keys and values are projections of one small latent row, and only that row is kept.
//!
//! `c = rms_norm(W_dkv x)`, `k_h = [W_uk_h c ; rope(W_kr x)]`, `v_h = W_uv_h c`; the rotated key part is shared by the heads.
//! Expanded, `k` and `v` are made and attended to as usual. Absorbed, `q_h^T W_uk_h c = (W_uk_h^T q_h)^T c`: the queries go into
//! the latent's space, one key head of `R + d_rope` values serves all, and its first `R` values are the values too. Both
//! forms are this one `mix`: training and long chunks expand, decode absorbs.
//!
//! Shapes: x `[N, d_model]`, c `[N, R]`, q `[N, H * (d_nope + d_rope)]`, values `[N, H * d_v]`.
//! Planes: `latent`, a row of `R + d_rope` per token: the normed latent, then the rotated key.
//! Cost: absorbed decode reads `(R + d_rope) L` values and does `2 H (2 R + d_rope) L` operations; expanded prefill costs what
//! multi-head attention of widths `d_nope + d_rope` and `d_v` costs, and `2 R H (d_nope + d_v)` a token to expand.
//! Paper: DeepSeek-AI 2024 (DeepSeek-V2), 2405.04434, section 2.1.
//! Differs from transformers: one plane where it caches two tensors, and the rotated key keeps the order of its values, where
//! transformers puts the first of all adjacent pairs before the second; names are the published ones.

mod oracle;

use crate::card::{Card, Tier};
use crate::context::{Context, Memory};
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::rotary::{Pairs, Rotary, Scaling};
use crate::temperature::Temperature;
use attendant_core::ops::{HeadMatrix, Softmax, Visible};
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Chunks of fewer rows than this are attended to in the latent's space. Absorbing costs more per row and nothing per
/// cached token; a chunk this long has not yet earned the expansion of a long past.
const ABSORB_BELOW: usize = 16;

/// Multi-head latent attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mla {
    /// Width of the rows.
    pub d_model: usize,
    /// Heads.
    pub heads: usize,
    /// Rank of the latent, R.
    pub r_kv: usize,
    /// Rank of the queries' own latent; without it queries come from x directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r_q: Option<usize>,
    /// Width of a head's key that comes from the latent.
    pub d_nope: usize,
    /// Width of the rotated key that the heads share.
    pub d_rope: usize,
    /// Width of a head's value.
    pub d_v: usize,
    /// Base of the rotation.
    pub base: f64,
    /// Which values are rotated together.
    #[serde(default)]
    pub pairs: Pairs,
    /// How the wavelengths of the rotation are stretched.
    #[serde(default, skip_serializing_if = "Scaling::is_none")]
    pub scaling: Scaling,
    /// Epsilon of the norms on the latents.
    pub eps: f32,
    /// What dot products are multiplied by, if not `1 / sqrt(d_nope + d_rope)`. DeepSeek's stretched models multiply that by
    /// [`mscale`](crate::rotary::mscale) squared, LongCat-Flash by `sqrt(d_model / r_q)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// What the normed latent of keys and values is multiplied by (LongCat-Flash: `sqrt(d_model / r_kv)`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent_scale: Option<f32>,
    /// Growth of the queries with their position, after the rotation (Mistral Small 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// Whether the projections into the latents and that of the output add a bias.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
}

static CARD: Card = Card {
    sentence: "Keys and values of all heads are projections of one small latent row, and only that row is kept.",
    paper: "DeepSeek-AI 2024, 2405.04434, section 2.1",
    cache: "r + d_rope",
    models: &["DeepSeek-V2, V3 and R1", "Kimi K2", "MiniCPM3", "GLM-4.7-Flash", "Mistral Small 4"],
    tier: Tier::One,
};

impl Mla {
    /// Without compressed queries, biases, multipliers or scaling: adjacent pairs, base 10,000, epsilon 1e-6.
    pub fn plain(d_model: usize, heads: usize, r_kv: usize, [d_nope, d_rope, d_v]: [usize; 3]) -> Mla {
        Mla {
            d_model,
            heads,
            r_kv,
            r_q: None,
            d_nope,
            d_rope,
            d_v,
            base: 10_000.0,
            pairs: Pairs::Adjacent,
            scaling: Scaling::None,
            eps: 1e-6,
            scale: None,
            latent_scale: None,
            temperature: None,
            bias: false,
        }
    }

    fn d_qk(&self) -> usize {
        self.d_nope + self.d_rope
    }

    pub(crate) fn rotary(&self) -> Rotary {
        let Mla { base, pairs, .. } = *self;
        Rotary { base, pairs, scaling: self.scaling.clone(), ..Rotary::new(self.d_rope) }
    }

    fn softmax(&self, kv_heads: usize, d_qk: usize, d_v: usize) -> Softmax {
        let scale = self.scale.unwrap_or((self.d_qk() as f32).powf(-0.5));
        Softmax { heads: self.heads, kv_heads, d_qk, d_v, scale, visible: Visible::Causal, softcap: None, bias: None, sink: None }
    }

    /// What is kept of a token.
    pub(crate) fn plane(&self) -> Plane {
        Plane::new("latent", self.r_kv + self.d_rope, Growth::PerToken)
    }

    /// What queries are made from: their latent, or x itself.
    pub(crate) fn query_latent(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Var {
        if self.r_q.is_none() {
            return x;
        }
        let latent = cx.linear(x, p["q_a_proj"], p.get("q_a_bias"));
        cx.rms_norm(latent, Some(p["q_a_layernorm"]), self.eps)
    }

    pub(crate) fn queries(&self, cx: &mut Context<'_>, p: &Bound, latent: Var) -> Var {
        let product = if self.r_q.is_some() { "q_b_proj" } else { "q_proj" };
        let q = cx.linear(latent, p[product], None);
        let q = cx.rotate(q, self.heads, self.d_nope, &self.rotary());
        self.temperature.map_or(q, |temperature| temperature.apply(cx, q))
    }

    /// The rows to keep: the normed latent, then the rotated key.
    pub(crate) fn rows(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Var {
        let both = cx.linear(x, p["kv_a_proj_with_mqa"], p.get("kv_a_bias"));
        cx.show("kv_a", both);
        let latent = cx.columns(both, 0..self.r_kv);
        let latent = cx.rms_norm(latent, Some(p["kv_a_layernorm"]), self.eps);
        cx.show("latent", latent);
        let latent = self.latent_scale.map_or(latent, |factor| cx.scale(latent, factor));
        let rotated = cx.columns(both, self.r_kv..self.r_kv + self.d_rope);
        let rotated = cx.rotate(rotated, 1, 0, &self.rotary());
        cx.join_columns(latent, rotated)
    }

    /// Keys and values of every head from the latent rows, then attention as usual.
    fn expanded(&self, cx: &mut Context<'_>, p: &Bound, q: Var, memory: &Memory) -> Var {
        let memory = cx.visible(memory);
        let rows = cx.rows(memory.new);
        let latent = cx.columns(memory.new, 0..self.r_kv);
        let rotated = cx.columns(memory.new, self.r_kv..self.r_kv + self.d_rope);
        let both = cx.linear(latent, p["kv_b_proj"], None);
        let both = cx.reshape(both, self.d_nope + self.d_v);
        let (k, v) = (cx.columns(both, 0..self.d_nope), cx.columns(both, self.d_nope..self.d_nope + self.d_v));
        let every_head: Vec<u32> = (0..rows * self.heads).map(|i| (i / self.heads) as u32).collect();
        let shared = cx.embedding(rotated, &every_head);
        let k = cx.join_columns(k, shared);
        let (k, v) = (cx.reshape(k, self.heads * self.d_qk()), cx.reshape(v, self.heads * self.d_v));
        let spec = self.softmax(self.heads, self.d_qk(), self.d_v);
        cx.attend(q, &memory.with_rows(k), &memory.with_rows(v), &spec)
    }

    /// Attention in the latent's space: the latent rows, as `attend` reads them, are the keys of all heads and the values too.
    pub(crate) fn absorbed(
        &self,
        cx: &mut Context<'_>,
        p: &Bound,
        q: Var,
        attend: impl FnOnce(&mut Context<'_>, Var, &Softmax) -> Var,
    ) -> Var {
        let into =
            HeadMatrix { heads: self.heads, stride: self.d_nope + self.d_v, first: 0, rows: self.d_nope, transposed: false };
        let out = HeadMatrix { first: self.d_nope, rows: self.d_v, transposed: true, ..into };
        let parts = cx.reshape(q, self.d_qk());
        let (nope, rotated) = (cx.columns(parts, 0..self.d_nope), cx.columns(parts, self.d_nope..self.d_qk()));
        let nope = cx.reshape(nope, self.heads * self.d_nope);
        let latent = cx.head_linear(nope, p["kv_b_proj"], into);
        let latent = cx.reshape(latent, self.r_kv);
        let q = cx.join_columns(latent, rotated);
        let q = cx.reshape(q, self.heads * (self.r_kv + self.d_rope));
        let y = attend(cx, q, &self.softmax(1, self.r_kv + self.d_rope, self.r_kv));
        cx.head_linear(y, p["kv_b_proj"], out)
    }
}

impl Mechanism for Mla {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn check(&self) -> Result<()> {
        let sizes =
            [("d_model", self.d_model), ("heads", self.heads), ("r_kv", self.r_kv), ("d_nope", self.d_nope), ("d_v", self.d_v)];
        for (field, size) in sizes.into_iter().chain(self.r_q.map(|rank| ("r_q", rank))) {
            require(size > 0, field, || "got 0, wanted at least 1".into())?;
        }
        require(self.eps >= 0.0, "eps", || format!("got {}, wanted 0 or more", self.eps))?;
        for (field, factor) in [("scale", self.scale), ("latent_scale", self.latent_scale)] {
            require(factor.is_none_or(f32::is_finite), field, || format!("got {factor:?}, wanted a number"))?;
        }
        self.temperature.map_or(Ok(()), |temperature| temperature.check())?;
        self.rotary().check(self.d_rope)
    }

    fn params(&self) -> Vec<Parameter> {
        let query = self.heads * self.d_qk();
        let mut params = match self.r_q {
            Some(rank) => vec![
                Parameter::product("q_a_proj", rank, self.d_model),
                Parameter::vector("q_a_layernorm", rank, 1.0),
                Parameter::product("q_b_proj", query, rank),
            ],
            None => vec![Parameter::product("q_proj", query, self.d_model)],
        };
        params.extend([
            Parameter::product("kv_a_proj_with_mqa", self.r_kv + self.d_rope, self.d_model),
            Parameter::vector("kv_a_layernorm", self.r_kv, 1.0),
            Parameter::product("kv_b_proj", self.heads * (self.d_nope + self.d_v), self.r_kv).by_parts(),
            Parameter::product("o_proj", self.d_model, self.heads * self.d_v),
        ]);
        if self.bias {
            let widths = [("kv_a_bias", self.r_kv + self.d_rope), ("o_bias", self.d_model)];
            let biases = self.r_q.map(|rank| ("q_a_bias", rank)).into_iter().chain(widths);
            params.extend(biases.map(|(name, width)| Parameter::vector(name, width, 0.0)));
        }
        params
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([self.plane()])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let latent = self.query_latent(cx, p, x);
        let q = self.queries(cx, p, latent);
        let rows = self.rows(cx, p, x);
        let memory = cx.remember("latent", rows)?;

        let recording = cx.recording();
        let [long, short] = cx.split(|sequence| recording || sequence.rows.len() >= ABSORB_BELOW);
        let expanded = (!long.is_empty()).then(|| {
            let (q, memory) = (cx.narrow(q, &long), cx.narrow_memory(&memory, &long));
            self.expanded(cx, p, q, &memory)
        });
        let absorbed = (!short.is_empty()).then(|| {
            let (q, memory) = (cx.narrow(q, &short), cx.narrow_memory(&memory, &short));
            self.absorbed(cx, p, q, |cx, q, spec| cx.attend(q, &memory, &memory, spec))
        });
        let y = cx.join([(&long, expanded), (&short, absorbed)]);
        Ok(cx.linear(y, p["o_proj"], p.get("o_bias")))
    }
}

impl Oracle for Mla {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        self.oracle_seeing(p, x, |_, _| true)
    }
}

impl Registered for Mla {
    /// The proportions of DeepSeek-V2, section 3.1.2: a latent of four heads' width, a rotated key of half a head.
    fn preset(_name: &str, size: Size) -> Mla {
        let half = (size.d_head / 2).max(2) / 2 * 2;
        let r_kv = (size.heads * size.d_head / 4).max(1);
        Mla::plain(size.d_model, size.heads, r_kv, [size.d_head, half, size.d_head])
    }

    fn exam(_preset: &str) -> Vec<Mla> {
        let plain = Mla { base: 50.0, eps: 1e-3, ..Mla::plain(10, 3, 9, [5, 4, 6]) };
        let (factor, original, attention_factor) = (8.0, 16, 1.1);
        let scaling = Scaling::Yarn { factor, original, beta_fast: 0.5, beta_slow: 0.05, truncate: true, attention_factor };
        let temperature = Some(Temperature { strength: 0.3, period: 5, offset: 0 });
        vec![
            Mla { r_q: Some(7), pairs: Pairs::Halves, bias: true, ..plain.clone() },
            Mla { scaling, scale: Some(0.4), temperature, ..plain.clone() },
            Mla { latent_scale: Some(1.3), bias: true, ..plain.clone() },
            plain,
        ]
    }
}
