//! Statistics of the probabilities against the twin, which holds all of them.

use crate::case::Case;
use crate::check::{affordable, assert_close_at, assert_same_bits, bound, for_random_cases, machines, poison};
use attendant_kernels::attention::{Statistics, statistics, statistics_scratch};
use attendant_kernels::{Machine, Precision, naive};

const TOP: usize = 3;

/// Owned, poisoned until computed.
struct Owned {
    /// Entropy, first, distance.
    values: [Vec<f32>; 3],
    keys: Vec<u32>,
    probs: Vec<f32>,
}

impl Owned {
    fn poisoned(case: &Case) -> Owned {
        let places = case.rows() * case.spec.heads;
        let values = [(); 3].map(|()| poison(places));
        Owned { values, keys: vec![7; places * TOP], probs: poison(places * TOP) }
    }

    fn view(&mut self) -> Statistics<'_> {
        let [entropy, first, distance] = &mut self.values;
        Statistics { entropy, first, distance, top_keys: &mut self.keys, top_probs: &mut self.probs }
    }

    fn of(case: &Case, machine: Machine<'_>, lse: &[f32]) -> Owned {
        let mut owned = Owned::poisoned(case);
        case.described(|spec, sequences, q| {
            let mut scratch = poison(statistics_scratch(spec, sequences, machine.executor.workers()));
            statistics(machine, spec, sequences, q, lse, owned.view(), &mut scratch);
        });
        owned
    }
}

#[test]
fn statistics_agree_with_the_twin() {
    for_random_cases(60, |random| {
        let mut case = Case::random(random);
        case.spec.precision = random.pick(&[Precision::F32, Precision::F32, Precision::Bf16]);
        if random.chance(3) {
            case.sequences.iter_mut().for_each(|sequence| sequence.keys.encode(random));
        }
        let (_, lse) = case.twin();
        let mut want = Owned::poisoned(&case);
        case.described(|spec, sequences, q| naive::attention_statistics(spec, sequences, q, want.view()));
        for machine in machines() {
            let got = Owned::of(&case, machine, &lse);
            let what = |name| format!("{name} on {:?}: {:?}", machine.isa, case.spec);
            let rows = |values: &[f32]| case.owned_rows(values);
            // Entropies and probabilities count by their absolute error, distances by that relative to the longest.
            let longest = case.sequences.iter().map(|sequence| sequence.q_first + sequence.rows.len() + sequence.k_end).max();
            for (i, (name, scale)) in
                [("entropy", 1.0), ("first", 1.0), ("distance", longest.unwrap_or(1).max(1) as f64)].into_iter().enumerate()
            {
                assert_close_at(&what(name), &rows(&got.values[i]), &rows(&want.values[i]), scale, 4.0 * bound::ATTENTION);
            }
            assert_close_at(&what("top"), &rows(&got.probs), &rows(&want.probs), 1.0, 2.0 * bound::ATTENTION);
            check_keys(&case, &got, &want);
        }
    });
}

/// Where a probability is clearly apart from its neighbours, the key is the same.
fn check_keys(case: &Case, got: &Owned, want: &Owned) {
    let heads = case.spec.heads;
    let places = case.sequences.iter().flat_map(|sequence| sequence.rows.start * heads..sequence.rows.end * heads);
    for place in places {
        let (probs, keys) = (&want.probs[place * TOP..][..TOP], &want.keys[place * TOP..][..TOP]);
        for n in 0..TOP - 1 {
            let apart = |a: f32, b: f32| (a - b).abs() > 1e-4 * a;
            if apart(probs[n], probs[n + 1]) && (n == 0 || apart(probs[n - 1], probs[n])) {
                assert_eq!(got.keys[place * TOP + n], keys[n], "key {n} of place {place}: {probs:?}");
            }
        }
    }
}

#[test]
fn a_uniform_row_has_the_entropy_of_its_length() {
    use attendant_kernels::attention::{Attention, Cells, Run, Sequence};
    let spec = Attention { scale: 1.0, ..Attention::causal(1, 1, 4) };
    let rows = affordable(300);
    let keys = vec![1.0; rows * 4];
    let run = [Run::by_token(0, rows, Cells::F32(&keys), 1, 4)];
    let sequences = [Sequence { rows: 0..rows, q_first: 0, k_end: rows, keys: &run, values: &run }];
    // All scores are 0, so that the log-sum-exp is the logarithm of how many keys a row sees.
    let (q, lse): (Vec<f32>, Vec<f32>) = (vec![0.0; rows * 4], (1..=rows).map(|n| (n as f32).ln()).collect());
    let [mut entropy, mut first, mut distance] = [(); 3].map(|()| poison(rows));
    let out =
        Statistics { entropy: &mut entropy, first: &mut first, distance: &mut distance, top_keys: &mut [], top_probs: &mut [] };
    let mut scratch = poison(statistics_scratch(&spec, &sequences, 1));
    statistics(Machine::inline(), &spec, &sequences, &q, &lse, out, &mut scratch);
    let close = |got: f32, want: f32| assert!((got - want).abs() <= 1e-4 * want.max(1.0), "got {got}, wanted {want}");
    for row in 0..rows {
        close(entropy[row], lse[row]);
        close(first[row], 1.0 / (row + 1) as f32);
        close(distance[row], row as f32 / 2.0);
    }
    assert_same_bits("the first row", &entropy[..1], &[0.0]);
}
