//! Sparse latent attention: a small indexer chooses for every query the keys that latent attention then reads.
//!
//! `index(t, s) = sum_j w_j(x_t) relu(q_j(c_t) . k(x_s) / sqrt(D_i)) / sqrt(H_i)` over the indexer's heads, with `c_t` the queries' latent and
//! `k` a layer norm of a projection, both rotated in halves; the `top` largest of `s <= t` are chosen, the earliest among equals.
//! What is chosen goes through latent attention, absorbed, and nothing else does.
//!
//! Shapes: x `[N, d_model]`, index queries `[N, H_i * D_i]`, index keys `[N, D_i]`, index weights `[N, H_i]`.
//! Planes: `latent` as `mla`, and `index`, a row of `D_i` per token, in f32 always: a choice that rounding decides would be
//! another one in every store.
//! Cost: a decode step does `2 H_i D_i L` operations to choose, and then reads `top` latent rows, however long the past is.
//! Paper: DeepSeek-AI 2025 (DeepSeek-V3.2), 2512.02556, section 2.1.
//! Differs from the paper: the indexer computes in f32 where DeepSeek's is fp8 after a Hadamard transform, and nothing trains it:
//! a choice has no gradient, and the paper's own loss for the indexer is not here. Differs from transformers: none in the numbers.
//! Limits: the chosen rows are copied, for every query of a call its own, so long prompts should come in chunks.

mod oracle;

use crate::card::{Card, Tier};
use crate::context::{Context, Memory};
use crate::mechanism::{Bound, Mechanism, Parameter, Registered, Size};
use crate::mechanisms::mla::Mla;
use crate::rotary::{Pairs, Rotary};
use attendant_core::error::{finite, require};
use attendant_core::ops::{Softmax, Visible};
use attendant_core::{Result, Var};
use attendant_state::{Plane, StateLayout};
use serde::{Deserialize, Serialize};

/// Sparse latent attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dsa {
    /// Keys that a query reads.
    pub top: usize,
    /// Heads of the indexer.
    pub index_heads: usize,
    /// Width of a head of the indexer; its first `d_rope` values are rotated.
    pub d_index: usize,
    /// Epsilon of the norm of the index keys.
    pub index_eps: f32,
    /// The attention, with compressed queries.
    #[serde(flatten)]
    pub latent: Mla,
}

static CARD: Card = Card {
    sentence: "A small indexer chooses for every query a number of keys, and latent attention reads only those.",
    paper: "DeepSeek-AI 2025, 2512.02556, section 2.1",
    cache: "r + d_rope + d_index",
    models: &["DeepSeek-V3.2"],
    tier: Tier::Three,
};

impl Dsa {
    fn index_rotary(&self) -> Rotary {
        Rotary { pairs: Pairs::Halves, ..self.latent.rotary() }
    }

    /// What the indexer's scores of a head are multiplied by before they are summed.
    fn index_scale(&self) -> f64 {
        ((self.d_index * self.index_heads) as f64).powf(-0.5)
    }

    /// The score of a key `[D_i]` for the query heads `[H_i, D_i]` of a row and their weights `[H_i]`.
    fn score(&self, query: &[f32], weights: &[f32], key: &[f32]) -> f64 {
        let dot = |query: &[f32]| query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
        let heads = query.chunks_exact(self.d_index).zip(weights);
        // Adding zero makes the two zeros one: they are to be equals.
        heads.map(|(query, &weight)| f64::from(weight) * dot(query).max(0.0)).sum::<f64>() * self.index_scale() + 0.0
    }

    /// The positions that every row reads, ascending.
    ///
    /// # Errors
    /// If a score is not a number.
    fn choose(&self, cx: &Context<'_>, queries: Var, weights: Var, keys: &Memory) -> Result<Vec<Vec<usize>>> {
        let (d, heads) = (self.d_index, self.index_heads);
        let (queries, weights, rows) = (cx.value(queries), cx.value(weights), cx.value(keys.new));
        let mut chosen = Vec::new();
        for span in keys.spans() {
            for (row, position) in span.rows.clone().zip(span.q_first..) {
                let seen = &rows[span.k_rows.start * d..][..(position + 1 - span.k_first) * d];
                let (query, weights) = (&queries[row * heads * d..][..heads * d], &weights[row * heads..][..heads]);
                let scores: Vec<f64> = seen.chunks_exact(d).map(|key| self.score(query, weights, key)).collect();
                finite("score of the indexer", scores.iter().copied())?;
                chosen.push(largest(&scores, self.top).into_iter().map(|key| span.k_first + key).collect());
            }
        }
        Ok(chosen)
    }
}

/// Places of the `count` largest scores, ascending; among equals the first.
fn largest(scores: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    if count < places.len() {
        places.select_nth_unstable_by(count, |&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        places.truncate(count);
    }
    places.sort_unstable();
    places
}

impl Mechanism for Dsa {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        self.latent.d_model
    }

    fn check(&self) -> Result<()> {
        for (field, size) in [("top", self.top), ("index_heads", self.index_heads), ("d_index", self.d_index)] {
            require(size > 0, field, || "got 0, wanted at least 1".into())?;
        }
        require(self.index_eps >= 0.0, "index_eps", || format!("got {}, wanted 0 or more", self.index_eps))?;
        require(self.latent.r_q.is_some(), "r_q", || "got none, wanted a rank: the indexer reads the queries' latent".into())?;
        self.latent.check()?;
        self.index_rotary().check(self.d_index)
    }

    fn params(&self) -> Vec<Parameter> {
        let rank = self.latent.r_q.unwrap_or(self.latent.d_model);
        let mut params = self.latent.params();
        params.extend([
            Parameter::product("index_q_proj", self.index_heads * self.d_index, rank),
            Parameter::product("index_k_proj", self.d_index, self.latent.d_model),
            Parameter::vector("index_k_norm", self.d_index, 1.0),
            Parameter::vector("index_k_norm_bias", self.d_index, 0.0),
            Parameter::product("index_weights_proj", self.index_heads, self.latent.d_model),
        ]);
        params
    }

    fn state(&self) -> StateLayout {
        let latent = self.latent.plane();
        StateLayout::new([latent, Plane { name: "index", width: self.d_index, ..latent }.exact()])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let latent = self.latent.query_latent(cx, p, x);
        let q = self.latent.queries(cx, p, latent);
        let rows = self.latent.rows(cx, p, x);
        let memory = cx.remember("latent", rows)?;

        let rotary = self.index_rotary();
        let index_q = cx.linear(latent, p["index_q_proj"], None);
        let index_q = cx.rotate(index_q, self.index_heads, 0, &rotary);
        let index_k = cx.linear(x, p["index_k_proj"], None);
        let index_k = cx.layer_norm(index_k, Some(p["index_k_norm"]), Some(p["index_k_norm_bias"]), self.index_eps);
        let index_k = cx.rotate(index_k, 1, 0, &rotary);
        let index = cx.remember("index", index_k)?;
        let weights = cx.linear(x, p["index_weights_proj"], None);

        let (memory, index) = (cx.visible(&memory), cx.visible(&index));
        let chosen = self.choose(cx, index_q, weights, &index)?;
        let y = self.latent.absorbed(cx, p, q, |cx, q, spec| {
            let spec = Softmax { visible: Visible::All, ..spec.clone() };
            cx.attend_chosen(q, &memory, &chosen, &spec)
        });
        Ok(cx.linear(y, p["o_proj"], p.get("o_bias")))
    }
}

impl Registered for Dsa {
    /// The proportions of DeepSeek-V3.2: half as many index heads as heads, as wide as a head's key from the latent.
    fn preset(_name: &str, size: Size) -> Dsa {
        let latent = Mla::preset("mla", size);
        let (rank, d_index) = (latent.r_kv, latent.d_nope.max(latent.d_rope));
        let latent = Mla { r_q: Some(rank), ..latent };
        Dsa { top: 64, index_heads: size.heads.div_ceil(2), d_index, index_eps: 1e-6, latent }
    }

    fn exam(_preset: &str) -> Vec<Dsa> {
        let latent = Mla { r_q: Some(7), base: 50.0, eps: 1e-3, ..Mla::plain(10, 3, 9, [5, 4, 6]) };
        let plain = Dsa { top: 5, index_heads: 4, d_index: 6, index_eps: 1e-3, latent };
        let biased = Mla { bias: true, latent_scale: Some(1.3), scale: Some(0.4), ..plain.latent.clone() };
        vec![Dsa { top: 12, index_heads: 3, latent: biased, ..plain.clone() }, plain]
    }
}

#[cfg(test)]
mod tests {
    use super::largest;

    #[test]
    fn the_largest_are_chosen_and_the_first_of_equals() {
        assert_eq!(largest(&[0.1, 0.4, -0.3, 0.4, 0.2], 2), [1, 3]);
        assert_eq!(largest(&[0.2, -1.0, 0.2, 0.3, 0.2, 0.2], 3), [0, 2, 3]);
        assert_eq!(largest(&[0.0; 40], 3), [0, 1, 2]);
        assert_eq!(largest(&[0.5, 0.7], 2), [0, 1]);
        assert_eq!(largest(&[0.5, 0.7], 5), [0, 1]);
    }
}
