//! When to kill.

use std::time::Duration;

/// The moment at which a run is killed.
pub(super) enum Moment {
    /// So long after it was started.
    After(Duration),
    /// As soon as something changes among its checkpoints: in the middle of writing one, more often than chance would have it.
    Saving,
}

impl Moment {
    /// Half of the moments fall anywhere in the first half of the time that the `whole` run takes, so that most resumed runs get
    /// somewhere and are killed again; the other half wait for a checkpoint.
    pub(super) fn draw(random: &mut Random, whole: Duration) -> Moment {
        if random.fraction() < 0.5 { Moment::After(whole.mul_f64(0.5 * random.fraction())) } else { Moment::Saving }
    }

    pub(super) fn has_come(&self, elapsed: Duration, saving: impl FnOnce() -> bool) -> bool {
        match self {
            Moment::After(delay) => elapsed >= *delay,
            Moment::Saving => saving(),
        }
    }

    pub(super) fn is_saving(&self) -> bool {
        matches!(self, Moment::Saving)
    }
}

/// A sequence of numbers that a seed repeats (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number from 0 up to, but not including, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_drawn_and_the_seed_repeats_them() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| Moment::draw(&mut random, Duration::from_secs(2))).collect::<Vec<_>>()
        };
        let delays = |moments: &[Moment]| {
            moments.iter().map(|m| if let Moment::After(d) = m { Some(*d) } else { None }).collect::<Vec<_>>()
        };
        let drawn = delays(&draw(3));
        assert_eq!(drawn, delays(&draw(3)));
        assert_ne!(drawn, delays(&draw(4)));
        assert!((30..70).contains(&drawn.iter().flatten().count()));
        assert!(drawn.iter().flatten().all(|delay| *delay < Duration::from_secs(1)));
    }
}
