//! The exam: fourteen questions that every mechanism answers before any figure about it is believed.
//!
//! A mechanism sits it with one line, in this crate or in another: [`exam!`](crate::exam!) stamps one named test per point.
//! Each point takes a [`Candidate`], a mechanism with random parameters, and gives `Err` with what differed, at which index,
//! and both values; [`sit`] adds the configuration and the seed. The seed is new each time; `ATTENDANT_SEED` repeats one.
//! Nothing loosens a bound: they stand in [`bound`] and nowhere else.
//!
//! | point | holds |
//! | --- | --- |
//! | 1 [`equals_oracle`] | whole sequences give what the plain loops give |
//! | 2 [`any_chunking`] | so do random chunks of ragged batches, over any store |
//! | 3 [`declared_bytes`] | the bytes that the planes declare are the bytes allocated |
//! | 4 [`gradients`] | of inputs, source and every parameter, against dual numbers; over a past too |
//! | 5 [`causality`] | a later row changes no earlier output, or the declared order says so |
//! | 6 [`neighbour`] | nor does another sequence of the batch |
//! | 7 [`stores_agree`] | contiguous, paged, ring and kept rows give the same bits |
//! | 8 [`rewinding`] | snapshot, fork, truncate and rewind, then continue: as if never interrupted |
//! | 9 [`threads`] | the same bits on 1, 2 and 3 threads |
//! | 10 [`instruction_sets`] | every instruction set of this machine answers 2 and 4 |
//! | 11 [`poisoned`] | memory full of NaN before the call changes nothing |
//! | 12 [`extreme`] | scores of 1e4 and more stay finite, forward and backward |
//! | 13 [`packed`] | parameters that may stay packed give the same bits packed |
//! | 14 [`card`] | the card is complete, names are unique, configurations survive being written down |

mod candidate;
mod compare;
mod exact;
mod isolation;
mod paper;
mod schedule;
mod state;
mod value;

pub use candidate::{Candidate, Text};
pub use compare::bound;
pub use isolation::{causality, instruction_sets, neighbour, packed, poisoned, threads};
pub use paper::card;
pub use state::{declared_bytes, rewinding, stores_agree};
pub use value::{any_chunking, equals_oracle, extreme, gradients};

use crate::mechanism::{Oracle, Registered};
use std::panic::{self, AssertUnwindSafe};
use std::time::{SystemTime, UNIX_EPOCH};

/// The answer to a point: nothing, or what is wrong.
pub type Verdict = Result<(), String>;

/// Puts one point to every exam configuration of a preset.
///
/// # Errors
/// The configuration, the seed and what is wrong.
pub fn sit<M: Registered>(preset: &str, point: impl Fn(&Candidate<'_, M>) -> Verdict) -> Verdict {
    M::exam(preset).iter().try_for_each(|mechanism| examine(mechanism, &point))
}

/// Puts one point to one configuration. A panic on the way is an answer too: it is given with configuration and seed.
///
/// # Errors
/// The configuration, the seed and what is wrong.
pub fn examine<M: Oracle>(mechanism: &M, point: impl Fn(&Candidate<'_, M>) -> Verdict) -> Verdict {
    let seed = seed()?;
    // A candidate that panicked is not looked at again.
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| point(&Candidate::new(mechanism, seed))));
    let verdict = verdict.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a message")))
    });
    verdict.map_err(|why| format!("{why}\n  {mechanism:?}\n  ATTENDANT_SEED={seed}"))
}

fn seed() -> Result<u64, String> {
    match std::env::var("ATTENDANT_SEED") {
        Ok(seed) => seed.parse().map_err(|_| format!("ATTENDANT_SEED: wanted a number, got {seed:?}")),
        Err(_) => {
            let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?;
            Ok(clock.as_nanos() as u64)
        }
    }
}

/// Stamps the fourteen points as tests: `attendant_mech::exam!(MyMechanism, "preset");` inside a module of its own.
#[macro_export]
macro_rules! exam {
    (@points $mechanism:ty, $preset:expr, $($point:ident),+) => {
        $(#[test]
        fn $point() {
            $crate::exam::sit::<$mechanism>($preset, $crate::exam::$point).unwrap_or_else(|why| panic!("{why}"));
        })+
    };
    ($mechanism:ty, $preset:expr) => {
        $crate::exam!(@points $mechanism, $preset, equals_oracle, any_chunking, declared_bytes, gradients, causality, neighbour,
            stores_agree, rewinding, threads, instruction_sets, poisoned, extreme, packed);

        #[test]
        fn card() {
            $crate::exam::card::<$mechanism>($preset).unwrap_or_else(|why| panic!("{why}"));
        }
    };
}
