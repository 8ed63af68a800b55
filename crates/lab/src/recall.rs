//! Multi-query associative recall (after Arora et al. 2023, 2312.04927): pairs of a key and a value, which return in random order.
//! Every key that returns asks for its value. The answer follows, as in a text, so that half the tokens of a sequence teach:
//! where each pair is asked for once and most tokens are blank, nothing is learned within minutes.

use attendant_core::Random;
use attendant_core::ops::IGNORE;

/// Keys there are, and as many values. With many more, each returns too seldom to be learned within minutes.
const SYMBOLS: usize = 8;

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

    /// `pairs` pairs in sequences of `length` tokens: the first `2 * pairs` state them, the others ask for them.
    ///
    /// # Panics
    /// If there are no pairs, more than there are keys, or no room to ask for as many as there are.
    pub fn new(pairs: usize, length: usize) -> Recall {
        assert!(pairs > 0 && pairs <= SYMBOLS && 4 * pairs <= length, "recall of {pairs} pairs in {length} tokens");
        Recall { pairs, length }
    }

    /// Keys and values.
    pub fn vocab_size(&self) -> usize {
        2 * SYMBOLS
    }

    /// Inputs and targets `[batch * length]`; a target is [`IGNORE`] but after a key that asks.
    pub fn batch(&self, seed: u64, index: u64, batch: usize, split: Split) -> (Vec<u32>, Vec<u32>) {
        let label = if split == Split::Train { "recall train" } else { "recall test" };
        let mut random = Random::at(seed, label, index);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let keys = draw(&mut random, SYMBOLS, self.pairs);
            let values: Vec<usize> = keys.iter().map(|_| SYMBOLS + random.below(SYMBOLS)).collect();
            let (mut sequence, mut wanted) = (Vec::new(), Vec::new());
            for slot in 0..self.length.div_ceil(2) {
                let asks = slot >= self.pairs;
                let pair = if asks { random.below(self.pairs) } else { slot };
                let (key, value) = (keys[pair] as u32, values[pair] as u32);
                sequence.extend([key, value]);
                wanted.extend([if asks { value } else { IGNORE }, IGNORE]);
            }
            // In an odd length the last key asks, and its answer has no place.
            inputs.extend_from_slice(&sequence[..self.length]);
            targets.extend_from_slice(&wanted[..self.length]);
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
    fn every_question_has_its_answer_before_it_and_after_it() {
        for length in [24, 25] {
            let (inputs, targets) = Recall::new(5, length).batch(7, 3, 4, Split::Train);
            assert_eq!((inputs.len(), targets.len()), (4 * length, 4 * length));
            for (inputs, targets) in inputs.chunks(length).zip(targets.chunks(length)) {
                let asked: Vec<usize> = (0..length).filter(|&at| targets[at] != IGNORE).collect();
                assert_eq!(asked, (10..length).step_by(2).collect::<Vec<_>>());
                for at in asked {
                    let key = (0..10).step_by(2).find(|&i| inputs[i] == inputs[at]).expect("the key was stated");
                    assert_eq!(inputs[key + 1], targets[at]);
                    assert!(inputs.get(at + 1).is_none_or(|&answer| answer == targets[at]));
                }
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
