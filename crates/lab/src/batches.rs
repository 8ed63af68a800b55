//! Batches of a text: functions of the seed and the step alone.

use attendant_core::Random;

/// Inputs and targets `[batch * context]`: windows at random places.
///
/// # Panics
/// If the text is not longer than a context.
pub fn text_batch(tokens: &[u32], seed: u64, step: u64, batch: usize, context: usize) -> (Vec<u32>, Vec<u32>) {
    let mut random = Random::at(seed, "text", step);
    let (mut inputs, mut targets) = (Vec::with_capacity(batch * context), Vec::with_capacity(batch * context));
    for _ in 0..batch {
        let start = random.below(tokens.len() - context);
        inputs.extend_from_slice(&tokens[start..start + context]);
        targets.extend_from_slice(&tokens[start + 1..start + context + 1]);
    }
    (inputs, targets)
}

/// Windows of `context` tokens that do not overlap, spread evenly over the text, at most `most` of them and at least one.
pub fn validation_windows(tokens: &[u32], context: usize, most: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
    let there = (tokens.len() - 1) / context;
    let count = most.clamp(1, there);
    let window = |i: usize| {
        let start = i * there / count * context;
        (tokens[start..start + context].to_vec(), tokens[start + 1..start + context + 1].to_vec())
    };
    (0..count).map(window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let tokens: Vec<u32> = (0..1000).collect();
        let batch = |seed, step| text_batch(&tokens, seed, step, 3, 17);
        assert_eq!(batch(1, 5), batch(1, 5));
        assert!(batch(1, 5) != batch(1, 6) && batch(1, 5) != batch(2, 5));
        let (inputs, targets) = batch(1, 5);
        assert!(inputs.iter().zip(&targets).all(|(input, target)| input + 1 == *target));
    }

    #[test]
    fn windows_do_not_overlap() {
        let tokens: Vec<u32> = (0..1000).collect();
        for most in [1, 7, 1000] {
            let windows = validation_windows(&tokens, 17, most);
            assert_eq!(windows.len(), most.min(58));
            assert!(windows.windows(2).all(|pair| pair[1].0[0] >= pair[0].0[0] + 17));
        }
    }
}
