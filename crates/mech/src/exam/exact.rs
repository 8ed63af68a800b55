//! Exact gradients of `sum(y * weights)`, from the oracle in dual numbers.

use super::candidate::{Candidate, Text, exact};
use crate::mechanism::{Oracle, Parameters};
use attendant_core::{Dual, Rows};

/// Directions that one run of the oracle carries.
const DIRECTIONS: usize = 16;
type Slope = Dual<DIRECTIONS>;

impl<M: Oracle> Candidate<'_, M> {
    /// By x of all texts, their sources and every parameter, in the order of a recorded call. `weights` holds those of one
    /// text after the other.
    pub(super) fn exact_gradients(&self, texts: &[Text], weights: &[f32]) -> Vec<(&'static str, Vec<f64>)> {
        let mut all = vec![("x", self.exact_gradient_of_x(texts, weights))];
        if texts.iter().any(|text| text.source_rows > 0) {
            all.push(("source", self.exact_gradient_of_source(texts, weights)));
        }
        let fixed = self.exact_parameters::<Slope>();
        for (index, (name, tensor)) in self.parameters.iter().enumerate() {
            let gradient = slopes(tensor.data(), |varied| {
                let mut parameters = fixed.clone();
                parameters.0[index].1.data_mut().copy_from_slice(&varied);
                let loss =
                    |(text, weights): (&Text, &[f32])| self.loss(&parameters, text, exact(&text.x), exact(&text.source), weights);
                self.with_weights(texts, weights).map(loss).fold(Slope::from(0.0), |sum, loss| sum + loss)
            });
            all.push((name, gradient));
        }
        all
    }

    pub(super) fn exact_gradient_of_x(&self, texts: &[Text], weights: &[f32]) -> Vec<f64> {
        let fixed = self.exact_parameters::<Slope>();
        let gradient =
            |(text, weights): (&Text, &[f32])| slopes(&text.x, |x| self.loss(&fixed, text, x, exact(&text.source), weights));
        self.with_weights(texts, weights).flat_map(gradient).collect()
    }

    fn exact_gradient_of_source(&self, texts: &[Text], weights: &[f32]) -> Vec<f64> {
        let fixed = self.exact_parameters::<Slope>();
        let gradient = |(text, weights): (&Text, &[f32])| {
            slopes(&text.source, |source| self.loss(&fixed, text, exact(&text.x), source, weights))
        };
        self.with_weights(texts, weights).flat_map(gradient).collect()
    }

    /// Every text with the weights of its outputs.
    fn with_weights<'t>(&self, texts: &'t [Text], mut weights: &'t [f32]) -> impl Iterator<Item = (&'t Text, &'t [f32])> {
        let width = self.width();
        texts.iter().map(move |text| (text, weights.split_off(..text.rows * width).expect("a weight for every output")))
    }

    fn loss(&self, p: &Parameters<Slope>, text: &Text, x: Vec<Slope>, source: Vec<Slope>, weights: &[f32]) -> Slope {
        let x = Rows::new(text.rows, self.width(), x);
        let source = Rows::new(text.source_rows, self.width(), source);
        let y = self.mechanism.oracle(p, &x, (text.source_rows > 0).then_some(&source));
        let terms = y.data().iter().zip(weights).map(|(&y, &weight)| y * Slope::from(f64::from(weight)));
        terms.fold(Slope::from(0.0), |sum, term| sum + term)
    }
}

/// The derivative of `loss` by every value.
fn slopes(values: &[f32], loss: impl Fn(Vec<Slope>) -> Slope) -> Vec<f64> {
    let mut all = Vec::with_capacity(values.len());
    for first in (0..values.len()).step_by(DIRECTIONS) {
        let last = values.len().min(first + DIRECTIONS);
        let mut varied = exact::<Slope>(values);
        (first..last).for_each(|i| varied[i] = Slope::variable(varied[i].value, i - first));
        all.extend_from_slice(&loss(varied).slope[..last - first]);
    }
    all
}
