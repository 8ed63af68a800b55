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
//! Differs from transformers: one plane where it caches two tensors; names are the published ones.

use crate::card::{Card, Tier};
use crate::context::{Context, Memory};
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::rotary::{Pairs, Rotary};
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
    /// Epsilon of the norms on the latents.
    pub eps: f32,
}

static CARD: Card = Card {
    sentence: "Keys and values of all heads are projections of one small latent row, and only that row is kept.",
    paper: "DeepSeek-AI 2024, 2405.04434, section 2.1",
    cache: "r + d_rope",
    models: &["DeepSeek-V2, V3 and R1", "Kimi K2", "MiniCPM3", "GLM-4.7-Flash", "Mistral Small 4"],
    tier: Tier::One,
};

impl Mla {
    fn d_qk(&self) -> usize {
        self.d_nope + self.d_rope
    }

    fn rotary(&self) -> Rotary {
        Rotary { width: self.d_rope, base: self.base, pairs: self.pairs }
    }

    fn softmax(&self, kv_heads: usize, d_qk: usize, d_v: usize) -> Softmax {
        let scale = (self.d_qk() as f32).powf(-0.5);
        Softmax { heads: self.heads, kv_heads, d_qk, d_v, scale, visible: Visible::Causal, softcap: None, bias: None, sink: None }
    }

    fn queries(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Var {
        let q = match self.r_q {
            Some(_) => {
                let latent = cx.linear(x, p["q_a_proj"], None);
                let latent = cx.rms_norm(latent, Some(p["q_a_layernorm"]), self.eps);
                cx.linear(latent, p["q_b_proj"], None)
            }
            None => cx.linear(x, p["q_proj"], None),
        };
        cx.rotate(q, self.heads, self.d_nope, &self.rotary())
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

    /// Attention in the latent's space: the latent rows, read in place, are the keys of all heads and the values too.
    fn absorbed(&self, cx: &mut Context<'_>, p: &Bound, q: Var, memory: &Memory) -> Var {
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
        let y = cx.attend(q, memory, memory, &self.softmax(1, self.r_kv + self.d_rope, self.r_kv));
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
            Parameter::product("kv_b_proj", self.heads * (self.d_nope + self.d_v), self.r_kv),
            Parameter::product("o_proj", self.d_model, self.heads * self.d_v),
        ]);
        params
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([Plane::new("latent", self.r_kv + self.d_rope, Growth::PerToken)])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let q = self.queries(cx, p, x);
        let both = cx.linear(x, p["kv_a_proj_with_mqa"], None);
        let latent = cx.columns(both, 0..self.r_kv);
        let latent = cx.rms_norm(latent, Some(p["kv_a_layernorm"]), self.eps);
        let rotated = cx.columns(both, self.r_kv..self.r_kv + self.d_rope);
        let rotated = cx.rotate(rotated, 1, 0, &self.rotary());
        let rows = cx.join_columns(latent, rotated);
        let memory = cx.remember("latent", rows)?;

        let recording = cx.recording();
        let [long, short] = cx.split(|sequence| recording || sequence.rows.len() >= ABSORB_BELOW);
        let expanded = (!long.is_empty()).then(|| {
            let (q, memory) = (cx.narrow(q, &long), cx.narrow_memory(&memory, &long));
            self.expanded(cx, p, q, &memory)
        });
        let absorbed = (!short.is_empty()).then(|| {
            let (q, memory) = (cx.narrow(q, &short), cx.narrow_memory(&memory, &short));
            self.absorbed(cx, p, q, &memory)
        });
        let y = cx.join([(&long, expanded), (&short, absorbed)]);
        Ok(cx.linear(y, p["o_proj"], None))
    }
}

impl Oracle for Mla {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let dot = |a: &[S], b: &[S]| a.iter().zip(b).fold(S::from(0.0), |sum, (&a, &b)| sum + a * b);
        let product = |x: &[S], weight: &Rows<S>| -> Vec<S> { (0..weight.rows()).map(|row| dot(x, &weight[row])).collect() };
        let normed = |mut x: Vec<S>, weight: &Rows<S>| {
            let root = (dot(&x, &x) / S::from(x.len() as f64) + S::from(self.eps.into())).sqrt();
            x.iter_mut().enumerate().for_each(|(i, x)| *x = *x / root * weight[0][i]);
            x
        };
        let (d_qk, stride) = (self.d_nope + self.d_rope, self.d_nope + self.d_v);
        let rotary = self.rotary();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for t in 0..x.rows() {
            let mut q = match self.r_q {
                Some(_) => product(&normed(product(&x[t], &p["q_a_proj"]), &p["q_a_layernorm"]), &p["q_b_proj"]),
                None => product(&x[t], &p["q_proj"]),
            };
            (0..self.heads).for_each(|h| rotary.rotate(&mut q[h * d_qk + self.d_nope..(h + 1) * d_qk], t));
            let mut down = product(&x[t], &p["kv_a_proj_with_mqa"]);
            let mut shared = down.split_off(self.r_kv);
            rotary.rotate(&mut shared, t);
            let up = product(&normed(down, &p["kv_a_layernorm"]), &p["kv_b_proj"]);
            for h in 0..self.heads {
                keys.push([&up[h * stride..h * stride + self.d_nope], &shared].concat());
                values.push(up[h * stride + self.d_nope..(h + 1) * stride].to_vec());
            }
            let mut mixed = Vec::new();
            for h in 0..self.heads {
                let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); self.d_v]);
                for past in 0..=t {
                    let (k, v) = (&keys[past * self.heads + h], &values[past * self.heads + h]);
                    let weight = (dot(&q[h * d_qk..(h + 1) * d_qk], k) / S::from((d_qk as f64).sqrt())).exp();
                    total += weight;
                    (0..self.d_v).for_each(|i| sum[i] += weight * v[i]);
                }
                mixed.extend(sum.into_iter().map(|sum| sum / total));
            }
            y[t].copy_from_slice(&product(&mixed, &p["o_proj"]));
        }
        y
    }
}

impl Registered for Mla {
    /// The proportions of DeepSeek-V2, section 3.1.2: a latent of four heads' width, a rotated key of half a head.
    fn preset(_name: &str, size: Size) -> Mla {
        let half = (size.d_head / 2).max(2) / 2 * 2;
        Mla {
            d_model: size.d_model,
            heads: size.heads,
            r_kv: (size.heads * size.d_head / 4).max(1),
            r_q: None,
            d_nope: size.d_head,
            d_rope: half,
            d_v: size.d_head,
            base: 10_000.0,
            pairs: Pairs::Adjacent,
            eps: 1e-6,
        }
    }

    fn exam(_preset: &str) -> Vec<Mla> {
        let plain = Mla {
            d_model: 10,
            heads: 3,
            r_kv: 9,
            r_q: None,
            d_nope: 5,
            d_rope: 4,
            d_v: 6,
            base: 50.0,
            pairs: Pairs::Adjacent,
            eps: 1e-3,
        };
        vec![Mla { r_q: Some(7), pairs: Pairs::Halves, ..plain.clone() }, plain]
    }
}
