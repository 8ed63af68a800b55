//! The plain loops of latent attention.

use super::Mla;
use crate::mechanism::Parameters;
use crate::oracle::{dot, product};
use attendant_core::{Real, Rows};

impl Mla {
    fn normed<S: Real>(&self, mut x: Vec<S>, weight: &Rows<S>) -> Vec<S> {
        let root = (dot(&x, &x) / S::from(x.len() as f64) + S::from(self.eps.into())).sqrt();
        x.iter_mut().enumerate().for_each(|(i, x)| *x = *x / root * weight[0][i]);
        x
    }

    /// The oracle's word on what the queries of a row are made from.
    pub(crate) fn oracle_query_latent<S: Real>(&self, p: &Parameters<S>, x: &[S]) -> Vec<S> {
        match self.r_q {
            Some(_) => self.normed(product(x, &p["q_a_proj"], p.get("q_a_bias")), &p["q_a_layernorm"]),
            None => x.to_vec(),
        }
    }

    /// The oracle, with what a query sees of the keys up to its own as a question.
    pub(crate) fn oracle_seeing<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, sees: impl Fn(usize, usize) -> bool) -> Rows<S> {
        let (d_qk, stride) = (self.d_nope + self.d_rope, self.d_nope + self.d_v);
        let scale = S::from(self.scale.map_or((d_qk as f64).powf(-0.5), f64::from));
        let rotary = self.rotary();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut y = Rows::zeros(x.rows(), self.d_model);
        for t in 0..x.rows() {
            let latent = self.oracle_query_latent(p, &x[t]);
            let mut q = product(&latent, p.get("q_b_proj").unwrap_or_else(|| &p["q_proj"]), None);
            (0..self.heads).for_each(|h| rotary.rotate(&mut q[h * d_qk + self.d_nope..(h + 1) * d_qk], t, x.rows()));
            if let Some(temperature) = &self.temperature {
                q.iter_mut().for_each(|q| *q = *q * S::from(temperature.factor(t)));
            }
            let mut down = product(&x[t], &p["kv_a_proj_with_mqa"], p.get("kv_a_bias"));
            let mut shared = down.split_off(self.r_kv);
            rotary.rotate(&mut shared, t, x.rows());
            let mut latent = self.normed(down, &p["kv_a_layernorm"]);
            latent.iter_mut().for_each(|x| *x = *x * S::from(self.latent_scale.unwrap_or(1.0).into()));
            let up = product(&latent, &p["kv_b_proj"], None);
            for h in 0..self.heads {
                keys.push([&up[h * stride..h * stride + self.d_nope], &shared].concat());
                values.push(up[h * stride + self.d_nope..(h + 1) * stride].to_vec());
            }
            let mut mixed = Vec::new();
            for h in 0..self.heads {
                let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); self.d_v]);
                for past in (0..=t).filter(|&past| sees(t, past)) {
                    let (k, v) = (&keys[past * self.heads + h], &values[past * self.heads + h]);
                    let weight = (dot(&q[h * d_qk..(h + 1) * d_qk], k) * scale).exp();
                    total += weight;
                    (0..self.d_v).for_each(|i| sum[i] += weight * v[i]);
                }
                mixed.extend(sum.into_iter().map(|sum| sum / total));
            }
            y[t].copy_from_slice(&product(&mixed, &p["o_proj"], p.get("o_bias")));
        }
        y
    }
}
