//! What a position adds to scores or multiplies queries by is what was published: slopes of ALiBi, buckets of T5 and temperatures. The
//! mechanisms and their oracles read the same tables, so the exam alone would not see a wrong one.

use attendant_core::Rows;
use attendant_mech::{Bias, Pattern, See, Temperature};

/// What a bias adds to the score of a key at `distance`.
fn added(pattern: &Pattern, head: usize, heads: usize, distance: isize, table: Option<&Rows<f64>>) -> f64 {
    pattern.score((0.0, 0.25), head, heads, distance, table)
}

/// Slopes given as the powers of two that they are, negated.
#[track_caller]
fn slopes(powers: &[f64]) {
    let (alibi, scaled) = (Bias::Alibi, Bias::ScaledAlibi);
    for (head, power) in powers.iter().enumerate() {
        for (bias, slope) in [(alibi, 0.5f64.powf(*power)), (scaled, 0.5f64.powf(*power) * 0.25)] {
            let pattern = Pattern { bias: Some(bias), ..Pattern::default() };
            for distance in [0isize, -1, -3, -1000] {
                let (got, want) = (added(&pattern, head, powers.len(), distance, None), slope * distance as f64);
                assert!((got - want).abs() <= 1e-12 * want.abs(), "{bias:?} of head {head} at {distance}: {got}, not {want}");
            }
        }
    }
}

/// Press et al. 2022, section 3: one half to 1/256 for 8 heads, and the powers of the root of one half for 16.
#[test]
fn slopes_of_a_power_of_two() {
    slopes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    slopes(&[0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0]);
    slopes(&[8.0]);
}

/// As the authors' code has it, and transformers' for Falcon and BLOOM: the first of twice as many heads, every second one.
#[test]
fn slopes_of_other_counts() {
    slopes(&[4.0, 8.0, 2.0]);
    slopes(&[2.0, 4.0, 6.0, 8.0, 1.0, 3.0]);
    slopes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.5, 1.5, 2.5, 3.5]);
}

/// Buckets by the first distance into the past that each holds, and how many there are on the other side.
#[track_caller]
fn buckets(see: See, buckets: usize, max_distance: usize, starts: &[isize]) {
    let pattern = Pattern { see, bias: Some(Bias::T5 { buckets, max_distance, shared: false }), ..Pattern::default() };
    pattern.check().unwrap();
    // A table whose values are its rows' places.
    let table = Rows::new(buckets, 1, (0..buckets).map(|bucket| bucket as f64).collect());
    let both = see == See::Everything;
    for back in 0..1000 {
        let want = starts.iter().filter(|&&start| start <= back).count() as f64 - 1.0;
        assert_eq!(added(&pattern, 0, 1, -back, Some(&table)), want, "{back} back");
        let ahead = match (both, back) {
            (true, 1..) => want + (buckets / 2) as f64,
            (true, _) => want,
            (false, _) => 0.0,
        };
        assert_eq!(added(&pattern, 0, 1, back, Some(&table)), ahead, "{back} ahead");
    }
}

/// The starts are those of transformers' `_relative_position_bucket`, whose logarithms in f32 give the same as whole numbers do:
/// of `n` buckets up to distance `m`, of which `e = n / 2` are exact, bucket `e + j` starts where `(back / e)^(n - e) >= (m / e)^j`.
#[test]
fn buckets_in_both_directions() {
    buckets(See::Everything, 32, 128, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
    buckets(See::Everything, 8, 20, &[0, 1, 2, 7]);
}

#[test]
fn buckets_of_the_past() {
    let starts =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
    buckets(See::Causal, 32, 128, &starts);
    buckets(See::Causal, 8, 20, &[0, 1, 2, 3, 4, 6, 9, 14]);
}

/// Llama 4 counts from 1 and steps every 8,192 positions, Ministral 3 from 0 every 16,384; both add a tenth of the logarithm.
#[test]
fn temperatures() {
    let llama = Temperature { strength: 0.1, period: 8192, offset: 1 };
    let ministral = Temperature { strength: 0.1, period: 16384, offset: 0 };
    let (second, third, fourth) = (1.069_314_718_055_994_6, 1.109_861_228_866_811, 1.138_629_436_111_989);
    for (temperature, position, want) in [
        (llama, 0, 1.0),
        (llama, 8190, 1.0),
        (llama, 8191, second),
        (llama, 16382, second),
        (llama, 16383, third),
        (llama, 24575, fourth),
        (ministral, 16383, 1.0),
        (ministral, 16384, second),
        (ministral, 32768, third),
        (ministral, 65535, fourth),
    ] {
        let got = temperature.factor(position);
        // The strength is kept in f32.
        assert!((got - want).abs() < 1e-8, "{temperature:?} at {position}: {got}, not {want}");
    }
}
