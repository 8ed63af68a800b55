//! Seeded random numbers that are a function of where they are asked for: a seed, a label and a position in its stream.
//! Nothing has to be carried along for a run to continue as if never interrupted.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `label` under `seed`. Different labels give independent streams.
    pub fn new(seed: u64, label: &str) -> Random {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(fnv1a(label.as_bytes()));
        Random(generator)
    }

    /// The stream of `label` under `seed`, for one step or item of it.
    pub fn at(seed: u64, label: &str, index: u64) -> Random {
        Random::new(seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15), label)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0.0..1.0`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a random number below 0 does not exist");
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Normal with mean 0 and the given deviation, into every value.
    pub fn fill_normal(&mut self, values: &mut [f32], deviation: f64) {
        values.iter_mut().for_each(|x| *x = (self.normal() * deviation) as f32);
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_label_and_index_only() {
        let draw = |seed, label, index| Random::at(seed, label, index).bits();
        assert_eq!(draw(1, "a", 2), draw(1, "a", 2));
        let all = [draw(1, "a", 2), draw(2, "a", 2), draw(1, "b", 2), draw(1, "a", 3)];
        for i in 0..4 {
            assert!(!all[..i].contains(&all[i]));
        }
    }

    #[test]
    fn normal_has_the_right_moments() {
        let mut random = Random::new(7, "moments");
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let square = draws.iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.015 && (square - 1.0).abs() < 0.02, "{mean} {square}");
    }
}
