//! Four-bit values in groups, each group with a step of its own.

use bytemuck::{Pod, Zeroable};
use half::bf16;

/// Up to 32 values of a row in 18 bytes: multiples of a step from -7 to 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Int4 {
    /// What the multiples are multiplied by; NaN if a value was not finite.
    pub step: bf16,
    /// Two multiples a byte, in two's complement, the earlier in the lower half.
    pub pairs: [u8; Int4::VALUES / 2],
}

impl Int4 {
    /// Values of a whole group.
    pub const VALUES: usize = 32;

    /// The nearest to `values`, [`Int4::VALUES`] or fewer; missing ones are zero. No value is off by more than half a step, which
    /// is the largest magnitude over 7, rounded down to eight bits: so all are zero if that rounds down to zero.
    ///
    /// # Panics
    /// If there are too many.
    pub fn nearest(values: &[f32]) -> Int4 {
        assert!(values.len() <= Int4::VALUES, "{} values in a group of {}", values.len(), Int4::VALUES);
        let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let step = if values.iter().all(|x| x.is_finite()) { largest / 7.0 } else { f32::NAN };
        // Rounded up, the largest finite value would read back as infinite.
        let step = if step.is_nan() { bf16::NAN } else { bf16::from_bits((step.to_bits() >> 16) as u16) };
        let inner = step.to_f32();
        let multiple = |x: f32| (x / inner).round_ties_even().clamp(-7.0, 7.0) as i8;
        let mut pairs = [0; Int4::VALUES / 2];
        for (pair, values) in pairs.iter_mut().zip(values.chunks(2)) {
            let half = |i: usize| values.get(i).map_or(0, |&x| multiple(x) as u8 & 15);
            *pair = half(0) | half(1) << 4;
        }
        Int4 { step, pairs }
    }

    /// Value `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Int4::VALUES`].
    pub fn value(&self, i: usize) -> f32 {
        let pair = self.pairs[i / 2] as i8;
        let multiple = if i.is_multiple_of(2) { pair << 4 >> 4 } else { pair >> 4 };
        f32::from(multiple) * self.step.to_f32()
    }
}
