//! Plain twins of [`crate::loss`].

use crate::Machine;
use crate::loss::IGNORE;

/// `losses [n]` and `lse [n]` of `logits [n, vocab]`.
pub fn cross_entropy(_: Machine<'_>, losses: &mut [f32], lse: &mut [f32], logits: &[f32], targets: &[u32], vocab: usize) {
    for (row, logits) in logits.chunks_exact(vocab).enumerate() {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, x| largest.max(f64::from(*x)));
        let log_sum = largest + logits.iter().map(|x| (f64::from(*x) - largest).exp()).sum::<f64>().ln();
        lse[row] = log_sum as f32;
        losses[row] = if targets[row] == IGNORE { 0.0 } else { (log_sum - f64::from(logits[targets[row] as usize])) as f32 };
    }
}

/// `d_logits [n, vocab] += d_losses [n] (probs - onehot(target))`.
pub fn cross_entropy_backward(
    _: Machine<'_>,
    d_logits: &mut [f32],
    logits: &[f32],
    lse: &[f32],
    targets: &[u32],
    d_losses: &[f32],
    vocab: usize,
) {
    for (i, d) in d_logits.iter_mut().enumerate() {
        let (row, column) = (i / vocab, i % vocab);
        if targets[row] != IGNORE {
            let prob = (f64::from(logits[i]) - f64::from(lse[row])).exp();
            let wanted = f64::from(column == targets[row] as usize);
            *d = (f64::from(*d) + f64::from(d_losses[row]) * (prob - wanted)) as f32;
        }
    }
}
