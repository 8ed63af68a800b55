//! Two query heads over one key head within a window, written to be broken in one place at a time.

use attendant_core::ops::{Softmax, Unary, Visible};
use attendant_core::tape::{Backward, Op};
use attendant_core::{Real, Result, Rows, Var};
use attendant_mech::state::{Growth, Plane, StateLayout};
use attendant_mech::{Bound, Card, Context, Mechanism, Memory, Oracle, Parameter, Parameters, Tier};

const WIDTH: usize = 6;
const D: usize = 4;
const WINDOW: usize = 5;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Scores are 2 percent too large.
    Scale,
    /// The ring holds one row less than the window needs.
    ShortRing,
    /// A chunk's queries find the ring as it is after the chunk.
    CommitFirst,
    /// Every row goes into its plane twice.
    Twice,
    /// The gradient that passes to the values is 1 percent too large.
    GradientOff,
    /// The key head gets the gradient of its last query head alone.
    GroupOverwritten,
    /// A row's query holds a trace of the next row of its sequence.
    LaterRow,
    /// A row's query holds a trace of the batch's first row.
    Batch,
    /// A value is read from memory that nobody has written.
    Unwritten,
    /// The result depends on how many threads there are.
    Threads,
    /// A power of x is made on the way that does not fit an f32 where x is large.
    Overflow,
}

#[derive(Clone, Debug)]
pub(crate) struct Attention(pub(crate) Fault);

static CARD: Card =
    Card { sentence: "Two query heads over one key head.", paper: "", cache: "2d", models: &[], tier: Tier::Three };

impl Attention {
    /// A memory as rows with a copy of every row for either query head, so that the heads' gradients meet in one operation.
    fn for_both_heads(&self, cx: &mut Context<'_>, memory: &Memory) -> Memory {
        let memory = cx.visible(memory);
        let x = memory.new;
        let rows = cx.rows(x);
        let sums = self.0 != Fault::GroupOverwritten;
        let repeated = cx.operation(&[x], rows, 2 * D, Repeat { x, sums }, |tape, y, _| {
            for (both, row) in y.chunks_exact_mut(2 * D).zip(tape.value(x).chunks_exact(D)) {
                both[..D].copy_from_slice(row);
                both[D..].copy_from_slice(row);
            }
        });
        memory.with_rows(repeated)
    }

    /// What a ring would hold had the call's rows been committed already: newer rows in the slots of older ones. The plane
    /// keeps all rows, so that the same rows go wrong in every store.
    fn committed(&self, cx: &mut Context<'_>, memory: &Memory) -> Memory {
        let memory = cx.visible(memory);
        let (mut places, ring) = (Vec::new(), WINDOW - 1);
        for sequence in cx.batch().sequences() {
            let (offset, first) = (places.len(), sequence.first);
            let end = first + sequence.rows.len();
            let latest = |position: usize| position + (end - 1 - position) / ring * ring;
            places.extend((0..first).map(|position| (offset + latest(position)) as u32));
            places.extend((first..end).map(|position| (offset + position) as u32));
        }
        let rows = cx.embedding(memory.new, &places);
        memory.with_rows(rows)
    }

    /// x and a thousandth of another row for each of its rows.
    fn with_trace(&self, cx: &mut Context<'_>, x: Var, other: Vec<u32>) -> Var {
        let other = cx.embedding(x, &other);
        let trace = cx.scale(other, 1e-3);
        cx.add(x, trace)
    }

    fn query_rows(&self, cx: &mut Context<'_>, x: Var) -> Var {
        match self.0 {
            Fault::LaterRow => {
                let next = cx.batch().sequences().iter().flat_map(|s| s.rows.clone().map(|row| (row + 1).min(s.rows.end - 1)));
                let next = next.map(|row| row as u32).collect();
                self.with_trace(cx, x, next)
            }
            Fault::Batch => {
                let first = vec![0; cx.rows(x)];
                self.with_trace(cx, x, first)
            }
            Fault::Threads => {
                let factor = 1.0 + 1e-6 * cx.processor().threads() as f32;
                cx.scale(x, factor)
            }
            Fault::Overflow => {
                let square = cx.multiply(x, x);
                let fourth = cx.multiply(square, square);
                let eighth = cx.multiply(fourth, fourth);
                let sixteenth = cx.multiply(eighth, eighth);
                let nothing = cx.scale(sixteenth, 0.0);
                cx.add(x, nothing)
            }
            Fault::Unwritten => {
                let (rows, width) = (cx.rows(x), cx.width(x));
                let noise = cx.operation(&[], rows, width, Silent, |_, _, _| {});
                let bounded = cx.unary(noise, Unary::Tanh);
                let nothing = cx.scale(bounded, 0.0);
                cx.add(x, nothing)
            }
            _ => x,
        }
    }
}

impl Mechanism for Attention {
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
        vec![
            Parameter::product("q", 2 * D, WIDTH),
            Parameter::product("k", D, WIDTH),
            Parameter::product("v", D, WIDTH),
            Parameter::product("o", WIDTH, 2 * D),
        ]
    }

    fn state(&self) -> StateLayout {
        let growth = match self.0 {
            Fault::ShortRing => Growth::Ring { window: WINDOW - 2, keep: 0 },
            Fault::CommitFirst => Growth::PerToken,
            _ => Growth::Ring { window: WINDOW - 1, keep: 0 },
        };
        StateLayout::new(["k", "v"].map(|name| Plane::new(name, D, growth)))
    }

    fn mix(&self, cx: &mut Context<'_>, p: &Bound, x: Var) -> Result<Var> {
        let queried = self.query_rows(cx, x);
        let (q, k, v) = (cx.linear(queried, p["q"], None), cx.linear(x, p["k"], None), cx.linear(x, p["v"], None));
        let v = match self.0 {
            Fault::GradientOff => {
                let rows = cx.rows(v);
                cx.operation(&[v], rows, D, Inflate { x: v }, |tape, y, _| y.copy_from_slice(tape.value(v)))
            }
            _ => v,
        };
        let (mut keys, mut values) = (cx.remember("k", k)?, cx.remember("v", v)?);
        match self.0 {
            Fault::Twice => drop(cx.remember("k", k)?),
            Fault::CommitFirst => {
                (keys, values) = (self.committed(cx, &keys), self.committed(cx, &values));
            }
            _ => {}
        }
        let (keys, values) = (self.for_both_heads(cx, &keys), self.for_both_heads(cx, &values));
        let scale = (D as f32).powf(-0.5) * if self.0 == Fault::Scale { 1.02 } else { 1.0 };
        let visible = Visible::Window { window: WINDOW, keep: 0 };
        let spec = Softmax { heads: 2, kv_heads: 2, d_qk: D, d_v: D, scale, visible, softcap: None, bias: None, sink: None };
        let y = cx.attend(q, &keys, &values, &spec);
        Ok(cx.linear(y, p["o"], None))
    }
}

impl Oracle for Attention {
    fn oracle<S: Real>(&self, p: &Parameters<S>, x: &Rows<S>, _source: Option<&Rows<S>>) -> Rows<S> {
        let dot = |a: &[S], b: &[S]| a.iter().zip(b).fold(S::from(0.0), |sum, (&a, &b)| sum + a * b);
        let mut y = Rows::zeros(x.rows(), WIDTH);
        for t in 0..x.rows() {
            for head in 0..2 {
                let (mut total, mut sum) = (S::from(0.0), [S::from(0.0); D]);
                for past in (t + 1).saturating_sub(WINDOW)..=t {
                    let term = |i: usize| dot(&p["q"][head * D + i], &x[t]) * dot(&p["k"][i], &x[past]);
                    let score = (0..D).fold(S::from(0.0), |sum, i| sum + term(i));
                    let weight = (score / S::from((D as f64).sqrt())).exp();
                    total += weight;
                    (0..D).for_each(|i| sum[i] += weight * dot(&p["v"][i], &x[past]));
                }
                for out in 0..WIDTH {
                    (0..D).for_each(|i| y[t][out] += p["o"][out][head * D + i] * sum[i] / total);
                }
            }
        }
        y
    }
}

/// A key head's row once for each of its two query heads.
struct Repeat {
    x: Var,
    sums: bool,
}

impl Op for Repeat {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let first = |i: usize, j: usize| if self.sums { gradient[2 * D * i + j] } else { 0.0 };
        let both = (0..gradient.len() / 2).map(|at| first(at / D, at % D) + gradient[2 * D * (at / D) + D + at % D]);
        pass.add(self.x, &both.collect::<Vec<_>>());
    }
}

/// The same rows, with a backward that is wrong.
struct Inflate {
    x: Var,
}

impl Op for Inflate {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        pass.add(self.x, &gradient.iter().map(|g| 1.01 * g).collect::<Vec<_>>());
    }
}

/// An operation that writes nothing, forward or backward.
struct Silent;

impl Op for Silent {
    fn backward(&self, _pass: &mut Backward<'_>, _output: Var, _gradient: &[f32]) {}
}
