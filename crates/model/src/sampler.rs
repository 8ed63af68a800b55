//! Choosing among logits.

use attendant_core::{Error, Random, Result, error::require};
use std::borrow::Cow;
use std::cmp::Ordering;

/// How the next token is chosen. Equal seeds and positions choose equally.
///
/// In this order: tokens that were seen are made less likely, logits are divided by the temperature, and of the tokens those are left
/// that `top_k`, then `top_p`, then `min_p` leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Choose among the likeliest so many.
    pub top_k: Option<usize>,
    /// Choose among the likeliest that together have this probability.
    pub top_p: Option<f64>,
    /// Choose among those that have at least this share of the likeliest one's probability.
    pub min_p: Option<f64>,
    /// Divides the logits above 0 of tokens that were seen, and multiplies those below (Keskar et al. 2019, 1909.05858, section 4.1).
    pub repetition_penalty: f64,
    /// Seed of the choices.
    pub seed: u64,
}

/// The likeliest token, whatever was seen.
impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { temperature: 0.0, top_k: None, top_p: None, min_p: None, repetition_penalty: 1.0, seed: 0 }
    }
}

/// Tokens that are put in order at first, where some of the likeliest are asked for: more only if these do not do.
const FIRST: usize = 256;

impl Sampler {
    /// Whether it can be used.
    ///
    /// # Errors
    /// The field, what it holds and what would do.
    pub fn check(&self) -> Result<()> {
        let Sampler { temperature, top_k, top_p, min_p, repetition_penalty: penalty, .. } = *self;
        let usable = temperature.is_finite() && temperature >= 0.0;
        require(usable, "temperature", || format!("got {temperature}, wanted a finite number, 0 or more"))?;
        require(top_k != Some(0), "top_k", || "got 0, wanted at least 1".into())?;
        for (name, share, least) in [("top_p", top_p, "above 0"), ("min_p", min_p, "0 or more")] {
            let within = |p: f64| (p > 0.0 || (p == 0.0 && name == "min_p")) && p <= 1.0;
            require(share.is_none_or(within), name, || format!("got {}, wanted {least} and up to 1", share.unwrap_or_default()))?;
        }
        let usable = penalty.is_finite() && penalty > 0.0;
        require(usable, "repetition_penalty", || format!("got {penalty}, wanted a finite number above 0"))
    }

    /// The token to follow position `position - 1`, where `seen` tokens went before.
    ///
    /// # Errors
    /// If there are no logits, one is NaN or infinite upwards, or none is a number that can be chosen; or if the sampler
    /// cannot be used.
    pub fn choose(&self, logits: &[f32], seen: &[u32], position: usize) -> Result<u32> {
        self.check()?;
        if let Some(id) = logits.iter().position(|&logit| logit.is_nan() || logit == f32::INFINITY) {
            return Err(Error::config("logits", format!("got {} for token {id}, wanted numbers", logits[id])));
        }
        let logits = self.penalised(logits, seen);
        let Some(likeliest) = likeliest(&logits).filter(|&id| logits[id as usize] > f32::NEG_INFINITY) else {
            let got = || format!("got {} that allow no token, wanted at least one that does", logits.len());
            return Err(Error::config("logits", got()));
        };
        if self.temperature == 0.0 {
            return Ok(likeliest);
        }
        let largest = f64::from(logits[likeliest as usize]);
        let weight = |id: u32| ((f64::from(logits[id as usize]) - largest) / self.temperature).exp();
        let left = self.left(&logits, weight);
        let total: f64 = left.iter().map(|&id| weight(id)).sum();
        let mut rest = Random::at(self.seed, "sample", position as u64).uniform() * total;
        for &id in &left {
            rest -= weight(id);
            if rest < 0.0 {
                return Ok(id);
            }
        }
        // Rounding left a little: it belongs to the last that can be chosen.
        Ok(left.iter().rev().copied().find(|&id| weight(id) > 0.0).unwrap_or(likeliest))
    }

    fn penalised<'a>(&self, logits: &'a [f32], seen: &[u32]) -> Cow<'a, [f32]> {
        if self.repetition_penalty == 1.0 || seen.is_empty() {
            return Cow::Borrowed(logits);
        }
        let (penalty, mut penalised) = (self.repetition_penalty as f32, logits.to_vec());
        for &id in seen {
            // From the logit as it was: a token that was seen twice is not penalised twice.
            if let Some(&logit) = logits.get(id as usize) {
                penalised[id as usize] = if logit > 0.0 { logit / penalty } else { logit * penalty };
            }
        }
        Cow::Owned(penalised)
    }

    /// The tokens that may be chosen.
    fn left(&self, logits: &[f32], weight: impl Fn(u32) -> f64) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        // Ties go to the smaller id, so that the order is the same everywhere.
        let order = |a: &u32, b: &u32| -> Ordering { logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)) };
        if let Some(k) = self.top_k.filter(|&k| k < ids.len()) {
            ids.select_nth_unstable_by(k, order);
            ids.truncate(k);
        }
        if let Some(p) = self.top_p.filter(|&p| p < 1.0) {
            let wanted = p * ids.iter().map(|&id| weight(id)).sum::<f64>();
            let mut count = FIRST.min(ids.len());
            let enough = loop {
                if count < ids.len() {
                    ids.select_nth_unstable_by(count, order);
                }
                ids[..count].sort_unstable_by(order);
                let mut kept = 0.0;
                let last = ids[..count].iter().position(|&id| {
                    kept += weight(id);
                    kept >= wanted
                });
                match last {
                    Some(last) => break last + 1,
                    None if count == ids.len() => break count,
                    None => count = (4 * count).min(ids.len()),
                }
            };
            ids.truncate(enough);
        }
        if let Some(p) = self.min_p {
            ids.retain(|&id| weight(id) >= p);
        }
        ids.sort_unstable();
        ids
    }
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let ids = 0..logits.len() as u32;
    ids.reduce(|best, id| if logits[id as usize] > logits[best as usize] { id } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, 3.0];

    fn warm(seed: u64) -> Sampler {
        Sampler { temperature: 1.0, seed, ..Sampler::default() }
    }

    fn counts(sampler: &Sampler, logits: &[f32], seen: &[u32]) -> Vec<u32> {
        let mut counts = vec![0; logits.len()];
        (0..4000).for_each(|position| counts[sampler.choose(logits, seen, position).unwrap() as usize] += 1);
        counts
    }

    #[test]
    fn zero_temperature_takes_the_likeliest_and_of_equals_the_first() {
        assert_eq!(Sampler::default().choose(&LOGITS, &[], 5), Ok(1));
    }

    #[test]
    fn frequencies_follow_the_probabilities_that_are_left() {
        let counts = counts(&Sampler { top_k: Some(3), top_p: Some(0.8), ..warm(3) }, &LOGITS, &[]);
        // Of ids 1, 3, 2 (0.42, 0.42, 0.16) the first two reach 0.8.
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!(counts[1].abs_diff(counts[3]) < 250, "{counts:?}");
    }

    #[test]
    fn a_share_of_the_likeliest_cuts_the_rest() {
        // e^-1 is 0.37 of the likeliest, e^-2 is 0.14.
        let counts = counts(&Sampler { min_p: Some(0.3), ..warm(4) }, &LOGITS, &[]);
        assert!(counts[0] == 0 && counts[2] > 400, "{counts:?}");
    }

    /// Against the definition, over more tokens than are put in order at first.
    #[test]
    fn the_likeliest_that_reach_a_probability_are_found_among_many() {
        let logits: Vec<f32> = (0..5000).map(|i| (i * 7919 % 5000) as f32 / 4000.0).collect();
        for p in [0.01, 0.5, 0.9, 0.999] {
            let weight = |id: u32| f64::from(logits[id as usize]).exp();
            let mut order: Vec<u32> = (0..5000).collect();
            order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            let (total, mut kept, mut want) = (order.iter().map(|&id| weight(id)).sum::<f64>(), 0.0, Vec::new());
            for id in order {
                if kept < p * total {
                    want.push(id);
                }
                kept += weight(id);
            }
            want.sort_unstable();
            let got = Sampler { top_p: Some(p), ..warm(1) }.left(&logits, weight);
            // Sums in another order may end one token earlier or later.
            assert!(got.len().abs_diff(want.len()) <= 1, "{p}: {} of {}", got.len(), want.len());
            assert!(want.iter().filter(|id| !got.contains(id)).count() <= 1, "{p}: {} of {}", got.len(), want.len());
        }
    }

    #[test]
    fn what_was_seen_becomes_less_likely_once() {
        let sampler = Sampler { repetition_penalty: 2.0, ..Sampler::default() };
        assert_eq!(sampler.choose(&LOGITS, &[1, 1, 3, 9], 0), Ok(2));
        assert_eq!(sampler.choose(&[-1.0, -1.5], &[0], 0), Ok(1));
        assert_eq!(sampler.choose(&[-1.0, -2.5], &[0, 0], 0), Ok(0));
    }

    #[test]
    fn a_choice_depends_on_seed_and_position_only() {
        let sampler = |seed| Sampler { temperature: 2.0, ..warm(seed) };
        let choices =
            |seed| -> Vec<u32> { (0..64).map(|position| sampler(seed).choose(&LOGITS, &[], position).unwrap()).collect() };
        let backward: Vec<u32> = (0..64).rev().map(|position| sampler(1).choose(&LOGITS, &[], position).unwrap()).collect();
        assert!(choices(1).iter().eq(backward.iter().rev()));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn not_a_number_is_refused() {
        for logits in [&[f32::NAN, 1.0][..], &[1.0, f32::INFINITY], &[f32::NEG_INFINITY; 2], &[]] {
            assert!(warm(3).choose(logits, &[], 0).is_err(), "{logits:?}");
        }
        let unusable = [
            Sampler { temperature: f64::NAN, ..warm(3) },
            Sampler { top_k: Some(0), ..warm(3) },
            Sampler { top_p: Some(0.0), ..warm(3) },
            Sampler { min_p: Some(1.5), ..warm(3) },
            Sampler { repetition_penalty: 0.0, ..warm(3) },
        ];
        unusable.iter().for_each(|sampler| assert!(sampler.choose(&LOGITS, &[], 0).is_err(), "{sampler:?}"));
    }
}
