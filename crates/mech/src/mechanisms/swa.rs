//! Sliding-window attention, with kept sinks: a query sees the last `window` keys and the first `keep`.
//!
//! Grouped-query attention whose query at position `t` sees positions `max(0, t - window + 1) ..= t` and `0 .. keep`.
//!
//! Shapes: as `gqa`.
//! Planes: `k` and `v`, rings of `window - 1` rows and `keep` first ones; a call's own rows complete the window.
//! Cost: prefill `4 H D T w` operations; a decode step reads `2 G D (w + keep)` values, whatever the length.
//! Paper: Beltagy et al. 2020, 2004.05150; Jiang et al. 2023 (Mistral 7B), 2310.06825; kept sinks: Xiao et al. 2023, 2309.17453.
//! Differs from the paper on sinks: kept keys keep the rotation of their own position, where StreamingLLM renumbers the
//! cache. Differs from transformers: none in the numbers.

use crate::card::{Card, Tier};
use crate::context::Context;
use crate::mechanism::{Bound, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
use crate::mechanisms::gqa::Gqa;
use crate::pattern::{Pattern, See};
use crate::qk_norm::{NormScope, QkNorm};
use crate::rotary::{Rotary, Scaling};
use attendant_core::ops::Visible;
use attendant_core::{Real, Result, Rows, Var, error::require};
use attendant_state::{Growth, Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Sliding-window attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swa {
    /// Keys a query sees, its own among them.
    pub window: usize,
    /// First positions that every later query sees.
    #[serde(default)]
    pub keep: usize,
    /// Heads, projections, rotation and scores; its pattern is causal.
    #[serde(flatten)]
    pub heads: Gqa,
}

static CARD: Card = Card {
    sentence: "A query sees a window of the latest keys, and a few kept first ones; the cache stops growing when the window is full.",
    paper: "Beltagy et al. 2020, 2004.05150; Jiang et al. 2023, 2310.06825; sinks: Xiao et al. 2023, 2309.17453",
    cache: "2gd up to the window",
    models: &["Mistral 7B", "Gemma 2 and 3", "gpt-oss"],
    tier: Tier::One,
};

impl Mechanism for Swa {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.heads.d_model
    }

    fn check(&self) -> Result<()> {
        require(self.window > 0, "window", || "got 0, wanted at least 1 key".into())?;
        let causal = self.heads.pattern.see == See::Causal;
        require(causal, "pattern.see", || format!("got {:?}, wanted causal: the window decides", self.heads.pattern.see))?;
        self.heads.check()
    }

    fn params(&self) -> Vec<Parameter> {
        self.heads.params()
    }

    fn state(&self) -> StateLayout {
        let growth = Growth::Ring { window: self.window - 1, keep: self.keep };
        let plane = |name| Plane::new(name, self.heads.kv_heads * self.heads.d_head, growth).heads(self.heads.kv_heads);
        StateLayout::new([plane("k"), plane("v")])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        self.heads.mix_seeing(cx, p, x, Visible::Window { window: self.window, keep: self.keep })
    }
}

impl Oracle for Swa {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        self.heads.oracle_seeing(p, x, |query, key| key <= query && (query - key < self.window || key < self.keep))
    }
}

impl Registered for Swa {
    fn preset(name: &str, size: Size) -> Swa {
        let keep = if name == "swa_sinks" { 4 } else { 0 };
        Swa { window: 64, keep, heads: Gqa::preset("gqa", size) }
    }

    fn exam(preset: &str) -> Vec<Swa> {
        let keep = if preset == "swa_sinks" { 2 } else { 0 };
        let heads = Gqa::preset("gqa", Size { d_model: 10, heads: 4, d_head: 6 });
        let sink = Gqa { pattern: Pattern { sink: true, softcap: Some(1.5), ..Pattern::default() }, ..heads.clone() };
        let rotary = heads.rotary.clone().map(|rotary| Rotary { scaling: Scaling::Linear { factor: 3.0 }, ..rotary });
        let norm = QkNorm { scope: NormScope::Row, ..QkNorm::rms(1e-3) };
        let normed = Gqa { rotary, qk_norm: Some(norm), bias: true, out_bias: true, scale: Some(0.5), ..heads.clone() };
        [(1, heads.clone()), (3, sink), (4, normed), (5, heads)].map(|(window, heads)| Swa { window, keep, heads }).to_vec()
    }
}
