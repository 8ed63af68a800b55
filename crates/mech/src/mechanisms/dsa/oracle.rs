//! The plain loops of sparse latent attention.

use super::Dsa;
use crate::mechanism::{Oracle, Parameters};
use crate::oracle::{dot, product};
use attendant_core::{Real, Rows};

impl Dsa {
    /// The oracle's index scores of the keys up to each row.
    fn oracle_scores<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>) -> Vec<Vec<f64>> {
        let (d, d_rope) = (self.d_index, self.latent.d_rope);
        let rotary = self.index_rotary();
        let (mut keys, mut all) = (Vec::new(), Vec::new());
        for t in 0..x.rows() {
            let mut key = product(&x[t], &p["index_k_proj"], None);
            let mean = key.iter().fold(S::from(0.0), |sum, &k| sum + k) / S::from(d as f64);
            key.iter_mut().for_each(|k| *k = *k - mean);
            let root = (dot(&key, &key) / S::from(d as f64) + S::from(self.index_eps.into())).sqrt();
            let [weight, bias] = ["index_k_norm", "index_k_norm_bias"].map(|name| &p[name][0]);
            key.iter_mut().enumerate().for_each(|(i, k)| *k = *k / root * weight[i] + bias[i]);
            rotary.rotate(&mut key[..d_rope], t, x.rows());
            keys.push(key);

            let mut q = product(&self.latent.oracle_query_latent(p, &x[t]), &p["index_q_proj"], None);
            q.chunks_mut(d).for_each(|head| rotary.rotate(&mut head[..d_rope], t, x.rows()));
            let weights = product(&x[t], &p["index_weights_proj"], None);
            let of_head = |(q, weight): (&[S], &S), key: &[S]| weight.value() * dot(q, key).value().max(0.0);
            let score = |key: &Vec<S>| q.chunks(d).zip(&weights).map(|head| of_head(head, key)).sum::<f64>() * self.index_scale();
            all.push(keys.iter().map(score).collect());
        }
        all
    }
}

impl Oracle for Dsa {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let scores = self.oracle_scores(p, x);
        let sees = |query: usize, key: usize| {
            let (scores, own) = (&scores[query], scores[query][key]);
            let before = |&other: &usize| scores[other] > own || scores[other] == own && other < key;
            (0..scores.len()).filter(before).count() < self.top
        };
        self.latent.oracle_seeing(p, x, sees)
    }

    fn margin(&self, p: &Parameters<f64>, x: &Rows<f64>) -> f64 {
        let of_row = |mut scores: Vec<f64>| {
            scores.sort_by(|a, b| b.total_cmp(a));
            let size = scores.iter().fold(0.0, |size: f64, score| size.max(score.abs()));
            // Scores that no head adds to are exactly zero, and equal in any arithmetic.
            let gap = |pair: &[f64]| if pair[0] == 0.0 && pair[1] == 0.0 { f64::INFINITY } else { (pair[0] - pair[1]) / size };
            scores.get(self.top - 1..=self.top).map_or(f64::INFINITY, gap)
        };
        self.oracle_scores(p, x).into_iter().map(of_row).fold(f64::INFINITY, f64::min)
    }
}
