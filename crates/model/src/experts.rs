//! Experts, going forward: rows are grouped by expert, so that a batch is one product for each expert that any row chose.

use crate::assembly::ExpertsPlace;
use crate::decoder::BoundModel;
use crate::plan::{Groups, Score};
use attendant_core::error::finite;
use attendant_core::ops::Unary;
use attendant_core::{Result, Tape, Var};

/// Which experts every row goes through, and what weighs them.
struct Choice {
    /// Expert by row and place `[N * chosen]`.
    experts: Vec<usize>,
    /// Their weights `[N * chosen, 1]`.
    weights: Var,
}

impl ExpertsPlace {
    /// x `[N, d_model]` -> `[N, d_model]`.
    ///
    /// # Errors
    /// If the router's scores are not numbers.
    pub(crate) fn apply(&self, tape: &mut Tape, bound: &BoundModel, x: Var) -> Result<Var> {
        let choice = self.choose(tape, bound, x)?;
        let mut y = self.mixture(tape, bound, x, &choice);
        if let Some(shared) = &self.shared {
            let mut common = shared.apply(tape, bound, x);
            if let Some(gate) = self.shared_gate {
                let gate = tape.linear(x, bound.vars[gate], None);
                let gate = tape.unary(gate, Unary::Sigmoid);
                common = tape.scale_rows(common, gate);
            }
            y = tape.add(y, common);
        }
        Ok(y)
    }

    fn choose(&self, tape: &mut Tape, bound: &BoundModel, x: Var) -> Result<Choice> {
        let routing = &self.plan.routing;
        let (all, chosen) = (self.plan.count + self.plan.identities, routing.chosen);
        let scores = self.router.apply(tape, bound, x);
        let scores = match routing.score {
            Score::Softmax => tape.softmax(scores),
            Score::Sigmoid => tape.unary(scores, Unary::Sigmoid),
        };
        let preference = self.preference.map(|place| tape.value(bound.vars[place]));
        let mut experts = Vec::new();
        for row in tape.value(scores).chunks_exact(all) {
            finite("score of an expert", row.iter().map(|&score| score.into()))?;
            let ranked: Vec<f32> = row.iter().enumerate().map(|(i, score)| score + preference.map_or(0.0, |by| by[i])).collect();
            experts.extend(best(&ranked, chosen, routing.groups));
        }
        let places: Vec<u32> = experts.iter().enumerate().map(|(i, expert)| (i / chosen * all + expert) as u32).collect();
        let flat = tape.reshape(scores, 1);
        let mut weights = tape.embedding(flat, &places);
        if routing.renormalise {
            let rows = tape.reshape(weights, chosen);
            let rows = tape.divide_by_sum(rows);
            weights = tape.reshape(rows, 1);
        }
        if routing.factor != 1.0 {
            weights = tape.scale(weights, routing.factor);
        }
        Ok(Choice { experts, weights })
    }

    /// The weighed sum of what a row's experts make of it.
    fn mixture(&self, tape: &mut Tape, bound: &BoundModel, x: Var, choice: &Choice) -> Var {
        let (rows, chosen) = (tape.rows(x), self.plan.routing.chosen);
        let mut outputs = Vec::new();
        // Where the output of each choice stands among the joined outputs.
        let mut place = vec![0u32; choice.experts.len()];
        let mut done = 0;
        for expert in 0..self.plan.count + self.plan.identities {
            let mine: Vec<u32> = (0..choice.experts.len() as u32).filter(|&i| choice.experts[i as usize] == expert).collect();
            if mine.is_empty() {
                continue;
            }
            mine.iter().enumerate().for_each(|(i, &at)| place[at as usize] = done + i as u32);
            done += mine.len() as u32;
            let tokens: Vec<u32> = mine.iter().map(|&at| at / chosen as u32).collect();
            let weights = tape.embedding(choice.weights, &mine);
            let mut inner = tape.embedding(x, &tokens);
            if self.plan.routing.weigh_input {
                inner = tape.scale_rows(inner, weights);
            }
            let mut output = self.experts.get(expert).map_or(inner, |expert| expert.apply(tape, bound, inner));
            if !self.plan.routing.weigh_input {
                output = tape.scale_rows(output, weights);
            }
            outputs.push(output);
        }
        let joined = tape.join_rows(&outputs);
        let column = |k: usize| -> Vec<u32> { (0..rows).map(|row| place[row * chosen + k]).collect() };
        let mut sum = tape.embedding(joined, &column(0));
        for k in 1..chosen {
            let next = tape.embedding(joined, &column(k));
            sum = tape.add(sum, next);
        }
        sum
    }
}

/// The experts with the best scores, in ascending order, so that a sum does not depend on how close two scores are. Of equal
/// scores the first wins.
fn best(scores: &[f32], chosen: usize, groups: Option<Groups>) -> Vec<usize> {
    let size = groups.map_or(scores.len(), |groups| scores.len() / groups.count);
    let mut within: Vec<usize> = (0..scores.len()).collect();
    if let Some(groups) = groups {
        let worth: Vec<f32> = scores
            .chunks_exact(size)
            .map(|group| {
                let mut group = group.to_vec();
                group.sort_by(|a, b| b.total_cmp(a));
                group[..groups.best].iter().sum()
            })
            .collect();
        let kept = top(&worth, (0..groups.count).collect(), groups.kept);
        within.retain(|expert| kept.contains(&(expert / size)));
    }
    let mut experts = top(scores, within, chosen);
    experts.sort_unstable();
    experts
}

fn top(scores: &[f32], mut of: Vec<usize>, count: usize) -> Vec<usize> {
    of.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    of.truncate(count);
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_chosen_and_the_first_of_equals() {
        assert_eq!(best(&[0.1, 0.4, 0.3, 0.4], 2, None), [1, 3]);
        assert_eq!(best(&[0.2, 0.2, 0.2], 2, None), [0, 1]);
    }

    #[test]
    fn groups_are_ranked_by_their_best() {
        let scores = [0.9, 0.0, 0.5, 0.5, 0.6, 0.1];
        let groups = |best| Some(Groups { count: 3, kept: 1, best });
        assert_eq!(best(&scores, 2, groups(1)), [0, 1]);
        assert_eq!(best(&scores, 2, groups(2)), [2, 3]);
    }
}
