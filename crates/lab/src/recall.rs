//! Multi-query associative recall (Arora et al. 2023, 2312.04927): pairs of keys and values, then keys alone, in another order,
//! each of which asks for its value.

use attendant_core::Random;
use attendant_core::ops::IGNORE;

/// Keys there are, and as many values.
const SYMBOLS: usize = 64;

/// The task at one difficulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recall {
    pairs: usize,
    length: usize,
}

/// Which stream of sequences: they share none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To judge by.
    Test,
}

impl Recall {
    /// Pairs that can be told apart: one for each key.
    pub const MOST_PAIRS: usize = SYMBOLS;

    /// `pairs` pairs in sequences of `length` tokens, of which `2 * pairs` state them and the others ask.
    ///
    /// # Panics
    /// If there are no pairs, more than there are keys, or no room to ask for each.
    pub fn new(pairs: usize, length: usize) -> Recall {
        assert!(pairs > 0 && pairs <= SYMBOLS && 4 * pairs <= length, "recall of {pairs} pairs in {length} tokens");
        Recall { pairs, length }
    }

    /// Keys, values, and a blank.
    pub fn vocab_size(&self) -> usize {
        2 * SYMBOLS + 1
    }

    /// Inputs and targets `[batch * length]`; a target is [`IGNORE`] but after a key that asks.
    pub fn batch(&self, seed: u64, index: u64, batch: usize, split: Split) -> (Vec<u32>, Vec<u32>) {
        let label = if split == Split::Train { "recall train" } else { "recall test" };
        let mut random = Random::at(seed, label, index);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let keys = draw(&mut random, SYMBOLS, self.pairs);
            let values: Vec<usize> = keys.iter().map(|_| SYMBOLS + random.below(SYMBOLS)).collect();
            let mut sequence = vec![2 * SYMBOLS as u32; self.length];
            let mut wanted = vec![IGNORE; self.length];
            for (i, (key, value)) in keys.iter().zip(&values).enumerate() {
                (sequence[2 * i], sequence[2 * i + 1]) = (*key as u32, *value as u32);
            }
            let free = self.length - 2 * self.pairs;
            for (place, pair) in draw(&mut random, free, self.pairs).into_iter().zip(draw(&mut random, self.pairs, self.pairs)) {
                let at = 2 * self.pairs + place;
                (sequence[at], wanted[at]) = (keys[pair] as u32, values[pair] as u32);
            }
            inputs.extend(sequence);
            targets.extend(wanted);
        }
        (inputs, targets)
    }
}

/// `count` different numbers below `n`, in random order.
fn draw(random: &mut Random, n: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for i in 0..count {
        let other = i + random.below(n - i);
        all.swap(i, other);
    }
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_its_answer_before_it() {
        let recall = Recall::new(5, 24);
        let (inputs, targets) = recall.batch(7, 3, 4, Split::Train);
        for (inputs, targets) in inputs.chunks(24).zip(targets.chunks(24)) {
            let asked: Vec<usize> = (0..24).filter(|&at| targets[at] != IGNORE).collect();
            assert_eq!(asked.len(), 5);
            for at in asked {
                let key = (0..10).step_by(2).find(|&i| inputs[i] == inputs[at]).expect("the key was stated");
                assert_eq!(inputs[key + 1], targets[at]);
            }
        }
    }

    #[test]
    fn test_sequences_are_others() {
        let recall = Recall::new(5, 24);
        assert_eq!(recall.batch(7, 3, 4, Split::Test), recall.batch(7, 3, 4, Split::Test));
        assert_ne!(recall.batch(7, 3, 4, Split::Test), recall.batch(7, 3, 4, Split::Train));
    }
}
