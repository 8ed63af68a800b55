//! The plain loops of grouped-query attention.

use super::{Gqa, K_NORM, Q_NORM};
use crate::mechanism::Parameters;
use crate::oracle::{dot, multiply};
use attendant_core::{Real, Rows};

impl Gqa {
    /// The oracle, with what a query sees as a question.
    pub(crate) fn oracle_seeing<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, sees: impl Fn(usize, usize) -> bool) -> Rows<S> {
        let (d, group) = (self.d_head, self.heads / self.kv_heads);
        let scale = self.scale.map_or((d as f64).powf(-0.5), f64::from);
        let (q, k) = self.oracle_queries_and_keys(p, x);
        let v = multiply(x, &p["v_proj"], p.get("v_bias"));
        let mut mixed = Rows::zeros(x.rows(), self.heads * d);
        for query in 0..x.rows() {
            for head in 0..self.heads {
                let key_head = head / group;
                let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); d]);
                if self.pattern.sink {
                    total += p["sinks"][0][head].exp();
                }
                for key in (0..x.rows()).filter(|&key| sees(query, key)) {
                    let dot = dot(&q[query][head * d..][..d], &k[key][key_head * d..][..d]);
                    let distance = key as isize - query as isize;
                    let weight = self.pattern.score((dot, scale), head, self.heads, distance, p.get("relative_bias")).exp();
                    total += weight;
                    (0..d).for_each(|i| sum[i] += weight * v[key][key_head * d + i]);
                }
                (0..d).for_each(|i| mixed[query][head * d + i] = sum[i] / total);
            }
        }
        multiply(&mixed, &p["o_proj"], p.get("o_bias"))
    }

    /// The oracle's queries and keys, as they meet.
    pub(crate) fn oracle_queries_and_keys<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>) -> (Rows<S>, Rows<S>) {
        let prepare = |mut rows: Rows<S>, norm: [&str; 2]| {
            for position in 0..x.rows() {
                let row = &mut rows[position];
                if let Some(qk_norm) = self.qk_norm.filter(|qk_norm| !qk_norm.after_rotation) {
                    qk_norm.oracle(p, row, norm, self.d_head);
                }
                if let Some(rotary) = &self.rotary {
                    row.chunks_mut(self.d_head).for_each(|head| rotary.rotate(head, position, x.rows()));
                }
                if let Some(qk_norm) = self.qk_norm.filter(|qk_norm| qk_norm.after_rotation) {
                    qk_norm.oracle(p, row, norm, self.d_head);
                }
            }
            rows
        };
        let mut q = prepare(multiply(x, &p["q_proj"], p.get("q_bias")), Q_NORM);
        let k = prepare(multiply(x, &p["k_proj"], p.get("k_bias")), K_NORM);
        if let Some(temperature) = &self.temperature {
            for position in 0..x.rows() {
                let factor = S::from(temperature.factor(position));
                q[position].iter_mut().for_each(|q| *q = *q * factor);
            }
        }
        (q, k)
    }
}
