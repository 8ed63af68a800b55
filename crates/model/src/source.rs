//! Where a parameter comes from: which tensor of a published checkpoint, and which part of it, in which order.
//!
//! A family says this as a list of rules. A rule replaces some components of a parameter's name, and may add steps that turn the
//! tensor found there into the parameter. `#` stands for a number: that of a layer, then that of an expert.

use crate::weights::Weights;
use attendant_core::Tensor;

/// One step from a tensor to a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// A matrix that is stored `[in, out]`; vectors stay.
    Transposed,
    /// The part of the first axis that belongs to this expert.
    Expert,
    /// Rows, or values of a vector: from each of `groups` groups of `stride` those from `first` on, `count` of them.
    Rows { groups: usize, stride: usize, first: usize, count: usize },
    /// Every value plus one.
    PlusOne,
    /// The same values in the shape that is wanted.
    Reshaped,
    /// Tensors that end in `.0`, `.1` and so on instead, one after the other; so many.
    Joined(usize),
    /// Two tensors, `k` and `v` for `{}`: of each of so many heads a matrix for keys, which is stored `[out, in]` for the other way
    /// round, and one for values. What they give is a head's rows for keys, then its rows for values, then those of the next head.
    KeysAndValues { heads: usize, keys: usize, values: usize },
    /// Of every so many rows, those of a head, the even ones and then the odd ones: halves that lie there as neighbours.
    Unpaired(usize),
}

/// Rows `first .. first + count`.
pub(crate) fn rows(first: usize, count: usize) -> Step {
    Step::Rows { groups: 1, stride: 0, first, count }
}

/// One replacement, and what it means for the values.
#[derive(Clone, Debug)]
struct Rule {
    part: String,
    with: String,
    steps: Vec<Step>,
}

/// Names of a family's tensors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    rules: Vec<Rule>,
    ignored: Vec<String>,
    repeated: Vec<String>,
    /// Where they stand in a larger model.
    place: Option<Place>,
}

/// What names begin with alone and in a larger model, and how all that belong to this one begin there.
pub(crate) type Place = (&'static str, &'static str, &'static [&'static str]);

/// A parameter's tensor and what to do with it.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The tensor's name.
    pub(crate) tensor: String,
    steps: Vec<&'a Step>,
    expert: usize,
}

impl Names {
    /// Replaces `part` of a name, whole components of it, by `with`. Rules apply in order, each to what the ones before gave.
    pub(crate) fn rename(self, part: &str, with: &str) -> Names {
        self.take(part, with, [])
    }

    /// The same, with steps for the values.
    pub(crate) fn take(mut self, part: &str, with: &str, steps: impl Into<Vec<Step>>) -> Names {
        self.rules.push(Rule { part: part.into(), with: with.into(), steps: steps.into() });
        self
    }

    /// Steps for the values of all parameters with `part` in their names.
    pub(crate) fn with(self, part: &str, steps: impl Into<Vec<Step>>) -> Names {
        self.take(part, part, steps)
    }

    /// Tensors with `part` in their names follow from the configuration, or serve another purpose.
    pub(crate) fn ignore(mut self, part: &str) -> Names {
        self.ignored.push(part.into());
        self
    }

    /// Tensors with `part` in their names repeat what another holds.
    pub(crate) fn repeat(mut self, part: &str) -> Names {
        self.repeated.push(part.into());
        self
    }

    /// All names as they are in a larger model.
    pub(crate) fn within(mut self, place: Place) -> Names {
        self.place = Some(place);
        self
    }

    /// Whether a tensor belongs to another part of a larger model.
    pub(crate) fn outside(&self, tensor: &str) -> bool {
        self.place.is_some_and(|(_, _, own)| !own.iter().any(|start| tensor.starts_with(start)))
    }

    /// Whether a tensor that no parameter needs may be there.
    pub(crate) fn ignores(&self, tensor: &str) -> bool {
        named(&self.ignored, tensor) || self.repeats(tensor) || self.outside(tensor)
    }

    /// Whether a tensor repeats what another holds.
    pub(crate) fn repeats(&self, tensor: &str) -> bool {
        named(&self.repeated, tensor)
    }

    /// Where a parameter comes from.
    pub(crate) fn source(&self, parameter: &str) -> Source<'_> {
        let (mut name, numbers) = numberless(parameter);
        let mut steps = Vec::new();
        for rule in &self.rules {
            if let Some(new) = replaced(&name, &rule.part, &rule.with) {
                name = new;
                steps.extend(&rule.steps);
            }
        }
        let mut numbers_left = numbers.iter();
        let components = name.split('.').map(|component| match component {
            "#" => numbers_left.next().map_or("#", String::as_str),
            other => other,
        });
        let tensor = components.collect::<Vec<_>>().join(".");
        let moved = self.place.and_then(|(alone, there, _)| Some(format!("{there}{}", tensor.strip_prefix(alone)?)));
        let tensor = moved.unwrap_or(tensor);
        Source { tensor, steps, expert: numbers.last().and_then(|number| number.parse().ok()).unwrap_or(0) }
    }
}

/// Whether a name has one of these parts.
fn named(parts: &[String], tensor: &str) -> bool {
    let template = numberless(tensor).0;
    parts.iter().any(|part| replaced(tensor, part, "").or_else(|| replaced(&template, part, "")).is_some())
}

/// A name with `#` for the components that are numbers, and these.
fn numberless(name: &str) -> (String, Vec<String>) {
    let number = |component: &&str| !component.is_empty() && component.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.split('.').filter(number).map(str::to_owned).collect();
    let components: Vec<&str> = name.split('.').map(|component| if number(&component) { "#" } else { component }).collect();
    (components.join("."), numbers)
}

/// `name` with the components `part` replaced by `with`, if it has them.
fn replaced(name: &str, part: &str, with: &str) -> Option<String> {
    let starts = name.match_indices(part).map(|(start, _)| start);
    let whole = |&start: &usize| {
        let end = start + part.len();
        (start == 0 || name.as_bytes()[start - 1] == b'.') && (end == name.len() || name.as_bytes()[end] == b'.')
    };
    let start = starts.clone().find(whole)?;
    Some(format!("{}{with}{}", &name[..start], &name[start + part.len()..]))
}

/// Values on their way from a tensor to a parameter, or the places that they come from.
struct Values<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl Source<'_> {
    /// The parameter, of this shape.
    ///
    /// # Errors
    /// If the tensor is missing or unreadable, or does not give this shape.
    pub(crate) fn read(&self, weights: &Weights, shape: &[usize]) -> Result<Tensor, String> {
        // A matrix of 16 bits or fewer stays one where its rows stay whole.
        if self.moves_rows()
            && let Some(matrix) = weights.packed(&self.tensor, shape, |outer| self.rows(outer, shape))?
        {
            return Ok(Tensor::from_packed(matrix));
        }
        self.read_values(weights, shape)
    }

    /// The parameter, of this shape, as values, whatever the type it is stored in.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(crate) fn read_values(&self, weights: &Weights, shape: &[usize]) -> Result<Tensor, String> {
        let mut data = self.moved(self.values(weights, shape)?, shape)?;
        if self.adds_one() {
            data.iter_mut().for_each(|x| *x += 1.0);
        }
        Ok(Tensor::new(shape, &data))
    }

    /// Whether all that is done to its tensor is to choose among its rows and to order them.
    fn moves_rows(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Expert | Step::Rows { .. } | Step::Unpaired(_)))
    }

    /// Which rows of a tensor, given its extents but that of a row, a parameter of this shape consists of.
    fn rows(&self, outer: &[usize], shape: &[usize]) -> Result<Vec<usize>, String> {
        let all = Values { shape: outer.to_vec(), data: (0..outer.iter().product()).collect() };
        let chosen = self.steps.iter().try_fold(all, |rows, step| rows.after(step, self.expert, shape))?;
        match chosen.shape == shape[..1] {
            true => Ok(chosen.data),
            false => Err(format!("wanted shape {shape:?}, got {:?}", [&chosen.shape, &shape[1..]].concat())),
        }
    }

    /// Whether the parameter is the tensor, but perhaps for the one that is added: each value in its place.
    pub(crate) fn is_whole(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::PlusOne | Step::Reshaped))
    }

    /// Whether the values of the tensor lack the one that those of the parameter have.
    pub(crate) fn adds_one(&self) -> bool {
        self.steps.contains(&&Step::PlusOne)
    }

    /// Where in its tensors, which have these shapes, the values of a parameter of this shape lie: which tensor, and where in it.
    ///
    /// # Errors
    /// If the tensors do not give that shape.
    pub(crate) fn places(&self, tensors: &[&[usize]], shape: &[usize]) -> Result<Vec<(usize, usize)>, String> {
        let counts = tensors.iter().map(|shape| shape.iter().product::<usize>());
        let data: Vec<_> = counts.enumerate().flat_map(|(tensor, count)| (0..count).map(move |at| (tensor, at))).collect();
        let shape_of_all = if let [only] = tensors { only.to_vec() } else { vec![data.len()] };
        self.moved(Values { shape: shape_of_all, data }, shape)
    }

    /// What the steps make of values, in this shape.
    fn moved<T: Copy>(&self, values: Values<T>, shape: &[usize]) -> Result<Vec<T>, String> {
        let values = self.steps.iter().try_fold(values, |values, step| values.after(step, self.expert, shape))?;
        match values.shape == shape {
            true => Ok(values.data),
            false => Err(format!("wanted shape {shape:?}, got {:?}", values.shape)),
        }
    }

    fn values(&self, weights: &Weights, shape: &[usize]) -> Result<Values<f32>, String> {
        let tensors = self.tensors();
        if let [only] = &tensors[..] {
            let got = weights.shape(only)?;
            if self.steps.is_empty() && got != shape {
                // Before memory is taken: a configuration alone cannot ask for more than the file holds.
                return Err(format!("wanted shape {shape:?}, got {got:?}"));
            }
            let data = weights.values(only)?;
            return Ok(Values { shape: got, data });
        }
        let mut data = Vec::new();
        for tensor in &tensors {
            data.extend(weights.values(tensor)?);
        }
        Ok(Values { shape: vec![data.len()], data })
    }

    /// The tensors that are read.
    pub(crate) fn tensors(&self) -> Vec<String> {
        let with = |part: &str| self.tensor.replace("{}", part);
        let several = self.steps.iter().find_map(|step| match step {
            Step::Joined(count) => Some((0..*count).map(|i| with(&i.to_string())).collect()),
            Step::KeysAndValues { .. } => Some(["k", "v"].map(with).to_vec()),
            _ => None,
        });
        several.unwrap_or_else(|| vec![self.tensor.clone()])
    }
}

impl<T: Copy> Values<T> {
    fn after(self, step: &Step, expert: usize, wanted: &[usize]) -> Result<Values<T>, String> {
        let Values { shape, data } = self;
        let (first, rest) = shape.split_first().map_or((1, &[][..]), |(first, rest)| (*first, rest));
        let width: usize = rest.iter().product();
        match *step {
            Step::Transposed if shape.len() == 2 => {
                let data = (0..data.len()).map(|i| data[i % first * width + i / first]).collect();
                Ok(Values { shape: vec![width, first], data })
            }
            Step::KeysAndValues { heads, keys, values } => {
                let rows = heads.saturating_mul(keys.saturating_add(values));
                if rows == 0 || !data.len().is_multiple_of(rows) {
                    return Err(format!("wanted {heads} heads of {keys} and {values} rows, got {} values", data.len()));
                }
                let rank = data.len() / rows;
                let (stored_keys, stored_values) = data.split_at(heads * keys * rank);
                let mut joined = Vec::with_capacity(data.len());
                for head in 0..heads {
                    let key = &stored_keys[head * keys * rank..][..keys * rank];
                    joined.extend((0..keys * rank).map(|at| key[at % rank * keys + at / rank]));
                    joined.extend(&stored_values[head * values * rank..][..values * rank]);
                }
                Ok(Values { shape: vec![rows, rank], data: joined })
            }
            Step::Transposed | Step::Joined(_) | Step::PlusOne => Ok(Values { shape, data }),
            Step::Expert if expert < first && shape.len() > 1 => {
                Ok(Values { shape: rest.to_vec(), data: data[expert * width..(expert + 1) * width].to_vec() })
            }
            Step::Expert => Err(format!("wanted a part for expert {expert}, got shape {shape:?}")),
            Step::Rows { groups, stride, first: start, count } => {
                let end = groups.saturating_sub(1).saturating_mul(stride).saturating_add(start).saturating_add(count);
                if end > first {
                    return Err(format!("wanted at least {end} rows, got shape {shape:?}"));
                }
                let chosen = (0..groups).flat_map(|group| (0..count).map(move |i| group * stride + start + i));
                let data = chosen.flat_map(|row| data[row * width..(row + 1) * width].iter().copied()).collect();
                Ok(Values { shape: [&[groups * count], rest].concat(), data })
            }
            Step::Unpaired(head) if head > 0 && head.is_multiple_of(2) && first.is_multiple_of(head) => {
                let row = |at: usize| at / head * head + at % head * 2 % head + at % head * 2 / head;
                let data = (0..first).flat_map(|at| data[row(at) * width..(row(at) + 1) * width].iter().copied()).collect();
                Ok(Values { shape, data })
            }
            Step::Unpaired(head) => Err(format!("wanted heads of {head} rows, got shape {shape:?}")),
            Step::Reshaped if wanted.iter().product::<usize>() == data.len() => Ok(Values { shape: wanted.to_vec(), data }),
            Step::Reshaped => Err(format!("wanted as many values as {wanted:?}, got shape {shape:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_replace_whole_components_and_keep_numbers() {
        let names = Names::default().rename("model.layers", "transformer.h").rename("mlp.experts.#", "moe.#.expert").take(
            "self_attn.q_proj",
            "attn.c_attn",
            [Step::Transposed, rows(0, 4)],
        );
        assert_eq!(names.source("model.layers.3.self_attn.q_proj.weight").tensor, "transformer.h.3.attn.c_attn.weight");
        assert_eq!(names.source("model.layers.3.mlp.experts.12.up.weight").tensor, "transformer.h.3.moe.12.expert.up.weight");
        assert_eq!(names.source("model.layers.3.self_attn.q_projection").tensor, "transformer.h.3.self_attn.q_projection");
    }

    fn after(steps: &[Step], shape: &[usize], wanted: &[usize]) -> Result<(Vec<usize>, Vec<f32>), String> {
        let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
        let values = Values { shape: shape.to_vec(), data };
        let values = steps.iter().try_fold(values, |values, step| values.after(step, 1, wanted))?;
        Ok((values.shape, values.data))
    }

    #[test]
    fn steps_move_values() {
        assert_eq!(after(&[Step::Transposed], &[2, 3], &[]), Ok((vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0])));
        assert_eq!(after(&[rows(1, 1)], &[2, 3], &[]), Ok((vec![1, 3], vec![3.0, 4.0, 5.0])));
        let second_of_each_three = Step::Rows { groups: 2, stride: 3, first: 1, count: 1 };
        assert_eq!(after(&[second_of_each_three], &[6], &[]), Ok((vec![2], vec![1.0, 4.0])));
        assert_eq!(after(&[Step::Expert], &[2, 3], &[]), Ok((vec![3], vec![3.0, 4.0, 5.0])));
        assert_eq!(after(&[Step::Reshaped], &[2, 1], &[2]), Ok((vec![2], vec![0.0, 1.0])));
        let unpaired = Ok((vec![8], vec![0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]));
        assert_eq!(after(&[Step::Unpaired(4)], &[8], &[]), unpaired);
        // Two heads of two rows for keys and one for values, over a latent of three: keys 0 to 11, values 12 to 17.
        let (keys, values) = ([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]], [12.0, 13.0, 14.0]);
        let second = |row: [f32; 3], more| row.map(|x| x + more);
        let rows = [keys[0], keys[1], values, second(keys[0], 6.0), second(keys[1], 6.0), second(values, 3.0)].concat();
        assert_eq!(after(&[Step::KeysAndValues { heads: 2, keys: 2, values: 1 }], &[18], &[]), Ok((vec![6, 3], rows)));
    }

    #[test]
    fn names_within_a_larger_model_begin_otherwise() {
        let within = |place: Place| Names::default().rename("self_attn", "attn").within(place);
        let (inner, whole) = ("model.layers.3.self_attn.q_proj", "lm_head.weight");
        let before = within(("", "language_model.", &["language_model."]));
        assert_eq!(before.source(inner).tensor, "language_model.model.layers.3.attn.q_proj");
        assert_eq!(before.source(whole).tensor, "language_model.lm_head.weight");
        let amid = within(("model.", "model.language_model.", &["model.language_model.", "lm_head."]));
        assert_eq!(amid.source(inner).tensor, "model.language_model.layers.3.attn.q_proj");
        assert_eq!(amid.source(whole).tensor, "lm_head.weight");
        assert!(amid.ignores("model.vision_tower.embed") && !amid.ignores("model.language_model.norm.weight"));
    }

    #[test]
    fn places_are_where_the_values_are_taken_from() {
        let names = Names::default().take("b", "whole", [Step::Transposed, rows(1, 1)]).take(
            "joined",
            "parts.{}",
            [Step::Joined(2), Step::Reshaped],
        );
        assert_eq!(names.source("b").places(&[&[2, 3]], &[1, 2]), Ok(vec![(0, 1), (0, 4)]));
        assert_eq!(names.source("joined").places(&[&[1], &[1]], &[2, 1]), Ok(vec![(0, 0), (1, 0)]));
        assert!(names.source("b").places(&[&[2, 3]], &[2, 2]).is_err());
    }

    #[test]
    fn steps_refuse_what_is_not_there() {
        assert!(after(&[rows(1, 2)], &[2, 3], &[]).is_err());
        assert!(after(&[Step::Expert], &[1, 3], &[]).is_err());
        assert!(after(&[Step::Reshaped], &[2], &[3]).is_err());
        assert!(after(&[Step::Unpaired(4)], &[6], &[]).is_err());
        assert!(after(&[Step::KeysAndValues { heads: 2, keys: 2, values: 1 }], &[17], &[]).is_err());
        assert!(after(&[Step::Rows { groups: usize::MAX, stride: usize::MAX, first: 1, count: 1 }], &[2, 3], &[]).is_err());
    }
}
