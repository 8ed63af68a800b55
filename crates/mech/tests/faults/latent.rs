//! One head over a latent row and a rotated key, expanded for long chunks and absorbed for short ones.

use attendant_core::ops::{HeadMatrix, Softmax, Visible};
use attendant_core::{Real, Result, Rows, Var};
use attendant_mech::rotary::{Pairs, Rotary};
use attendant_mech::state::{Growth, Plane, StateLayout};
use attendant_mech::{Bound, Card, Context, Mechanism, Oracle, Parameter, Parameters, Tier};

const WIDTH: usize = 6;
const R: usize = 5;
const NOPE: usize = 3;
const ROPE: usize = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Latent {
    /// Whether the absorbed form rotates its queries, as the expanded form does.
    pub rotates_absorbed: bool,
    /// Whether it says that it multiplies with parts of a parameter.
    pub says_by_parts: bool,
}

static CARD: Card =
    Card { sentence: "One head over a latent row.", paper: "", cache: "r + d_rope", models: &[], tier: Tier::Three };

fn rotary() -> Rotary {
    Rotary { base: 50.0, pairs: Pairs::Adjacent, ..Rotary::new(ROPE) }
}

fn softmax(d_qk: usize, d_v: usize) -> Softmax {
    let scale = ((NOPE + ROPE) as f32).powf(-0.5);
    Softmax { heads: 1, kv_heads: 1, d_qk, d_v, scale, visible: Visible::Causal, softcap: None, bias: None, sink: None }
}

impl Mechanism for Latent {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn d_model(&self) -> usize {
        WIDTH
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn params(&self) -> Vec<Parameter> {
        let up = Parameter::product("up", NOPE, R);
        vec![
            Parameter::product("q", NOPE + ROPE, WIDTH),
            Parameter::product("down", R + ROPE, WIDTH),
            if self.says_by_parts { up.by_parts() } else { up },
            Parameter::product("o", WIDTH, R),
        ]
    }

    fn state(&self) -> StateLayout {
        StateLayout::new([Plane::new("latent", R + ROPE, Growth::PerToken)])
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let down = cx.linear(x, p["down"], None);
        let rows = cx.rotate(down, 1, R, &rotary());
        let memory = cx.remember("latent", rows)?;
        let plain = cx.linear(x, p["q"], None);
        let q = cx.rotate(plain, 1, NOPE, &rotary());

        let recording = cx.recording();
        let [long, short] = cx.split(|sequence| recording || sequence.rows.len() >= 16);
        let expanded = (!long.is_empty()).then(|| {
            let (q, memory) = (cx.narrow(q, &long), cx.narrow_memory(&memory, &long));
            let memory = cx.visible(&memory);
            let (latent, rotated) = (cx.columns(memory.new, 0..R), cx.columns(memory.new, R..R + ROPE));
            let up = cx.linear(latent, p["up"], None);
            let k = cx.join_columns(up, rotated);
            cx.attend(q, &memory.with_rows(k), &memory.with_rows(latent), &softmax(NOPE + ROPE, R))
        });
        let absorbed = (!short.is_empty()).then(|| {
            let q = if self.rotates_absorbed { q } else { plain };
            let (q, memory) = (cx.narrow(q, &short), cx.narrow_memory(&memory, &short));
            let (nope, rotated) = (cx.columns(q, 0..NOPE), cx.columns(q, NOPE..NOPE + ROPE));
            let into = HeadMatrix { heads: 1, stride: NOPE, first: 0, rows: NOPE, transposed: false };
            let latent = cx.head_linear(nope, p["up"], into);
            let q = cx.join_columns(latent, rotated);
            cx.attend(q, &memory, &memory, &softmax(R + ROPE, R))
        });
        let y = cx.join([(&long, expanded), (&short, absorbed)]);
        Ok(cx.linear(y, p["o"], None))
    }
}

impl Oracle for Latent {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let dot = |a: &[S], b: &[S]| a.iter().zip(b).fold(S::from(0.0), |sum, (&a, &b)| sum + a * b);
        let product = |weight: &Rows<S>, x: &[S]| -> Vec<S> { (0..weight.rows()).map(|i| dot(&weight[i], x)).collect() };
        let (mut keys, mut latents) = (Vec::new(), Vec::new());
        let mut y = Rows::zeros(x.rows(), WIDTH);
        for t in 0..x.rows() {
            let mut q = product(&p["q"], &x[t]);
            rotary().rotate(&mut q[NOPE..], t, x.rows());
            let mut latent = product(&p["down"], &x[t]);
            let mut rotated = latent.split_off(R);
            rotary().rotate(&mut rotated, t, x.rows());
            keys.push([product(&p["up"], &latent), rotated].concat());
            latents.push(latent);
            let (mut total, mut sum) = (S::from(0.0), vec![S::from(0.0); R]);
            for past in 0..=t {
                let weight = (dot(&q, &keys[past]) / S::from(((NOPE + ROPE) as f64).sqrt())).exp();
                total += weight;
                (0..R).for_each(|i| sum[i] += weight * latents[past][i]);
            }
            sum.iter_mut().for_each(|sum| *sum = *sum / total);
            y[t].copy_from_slice(&product(&p["o"], &sum));
        }
        y
    }
}
