//! What a comparison makes equal: widths are adjusted until parameters or cached bytes agree with the first mechanism's.

use crate::comparison::Hold;
use crate::config::{Config, ModelConfig};
use crate::error::Result;
use crate::field::invalid;
use attendant_mech::{Size, preset};
use attendant_model::Decoder;
use attendant_state::Storage;

/// How far from equal still counts as equal.
const NEAR: f64 = 0.01;

/// The configuration of a mechanism, adjusted so that what is held is equal to what `reference` has, as nearly as whole widths
/// allow and within 1 %.
///
/// # Errors
/// If a mechanism does not suit the size, or no width makes it equal.
pub fn adjust(config: &Config, reference: &Config, vocab_size: usize, hold: Hold) -> Result<Config> {
    match hold {
        Hold::None => Ok(config.clone()),
        Hold::Params => equal_parameters(config, reference, vocab_size),
        Hold::State => equal_state(config, reference),
    }
}

fn parameters(config: &Config, vocab_size: usize) -> Result<usize> {
    Ok(Decoder::new(config.plan(vocab_size)?, 0)?.parameter_count())
}

/// Finds the feed-forward width whose parameters come nearest: they grow with it along a line.
fn equal_parameters(config: &Config, reference: &Config, vocab_size: usize) -> Result<Config> {
    let want = parameters(reference, vocab_size)? as f64;
    let with = |d_ff: usize| Config { model: ModelConfig { d_ff, ..config.model.clone() }, ..config.clone() };
    let least = parameters(&with(1), vocab_size)? as f64;
    let per_width = parameters(&with(2), vocab_size)? as f64 - least;
    let adjusted = with(1 + ((want - least) / per_width).round().max(0.0) as usize);
    let have = parameters(&adjusted, vocab_size)? as f64;
    near(have, want).then_some(adjusted).ok_or_else(|| unequal(config, reference, "parameters", have, want))
}

/// The length of the sequence whose state is compared.
const STATE_TOKENS: usize = 1024;

/// Bytes that one layer holds after [`STATE_TOKENS`] tokens.
fn state_bytes(mechanism: &str, size: Size) -> Result<f64> {
    Ok(preset(mechanism, size)?.mechanism.state().bytes(STATE_TOKENS, 0, Storage::paged(1)) as f64)
}

/// Finds the heads and head width whose state comes nearest; of equal ones those nearest to the configured ones.
fn equal_state(config: &Config, reference: &Config) -> Result<Config> {
    let want = state_bytes(&reference.mechanism, reference.size())?;
    let model = &config.model;
    let sizes = (1..=32).flat_map(|heads| (2..=512).step_by(2).map(move |d_head| (heads, d_head)));
    let choices = sizes.filter_map(|(heads, d_head)| {
        // Not every mechanism takes every size.
        let have = state_bytes(&config.mechanism, Size { heads, d_head, ..config.size() }).ok()?;
        let miss = (1e9 * (have / want).ln().abs()) as u64;
        let distance = (heads * d_head).abs_diff(model.heads * model.d_head);
        Some(((miss, distance, heads.abs_diff(model.heads)), have, ModelConfig { heads, d_head, ..model.clone() }))
    });
    match choices.min_by_key(|choice| choice.0) {
        Some((_, have, model)) if near(have, want) => Ok(Config { model, ..config.clone() }),
        Some((_, have, _)) => Err(unequal(config, reference, "bytes of state a layer", have, want)),
        None => Ok(config.clone()),
    }
}

fn near(have: f64, want: f64) -> bool {
    (have - want).abs() <= NEAR * want
}

fn unequal(config: &Config, reference: &Config, what: &str, have: f64, want: f64) -> crate::LabError {
    let (ours, theirs) = (&config.mechanism, &reference.mechanism);
    invalid("--hold", format!("got {ours} with {have} {what} at the nearest, wanted {theirs}’s {want}; leave one of them out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attendant_mech::{Order, presets};

    /// Every preset that can be in a decoder, adjusted to be equal to multi-head attention, or the refusal.
    fn adjusted(hold: Hold) -> Vec<(Config, Result<Config>)> {
        let base = Config::default();
        let causal = |name: &&str| preset(name, base.size()).unwrap().mechanism.order() == Order::Causal;
        let of = |mechanism: &str| Config { mechanism: mechanism.into(), ..base.clone() };
        presets().filter(causal).map(|name| (of(name), adjust(&of(name), &of("mha"), 300, hold))).collect()
    }

    #[test]
    fn parameters_are_equal_to_a_thousandth() {
        let want = parameters(&Config { mechanism: "mha".into(), ..Config::default() }, 300).unwrap() as f64;
        for (config, made) in adjusted(Hold::Params) {
            let have = parameters(&made.unwrap(), 300).unwrap() as f64;
            assert!((have - want).abs() <= 1e-3 * want, "{}: {have}, not {want}", config.mechanism);
        }
    }

    #[test]
    fn growing_state_is_equal_to_the_byte_and_what_cannot_be_is_refused() {
        let want = state_bytes("mha", Config::default().size()).unwrap();
        for (config, made) in adjusted(Hold::State) {
            match (config.mechanism.as_str(), made) {
                ("mha", made) => assert_eq!(made.unwrap(), config),
                ("gqa" | "mqa" | "mla", made) => {
                    let made = made.unwrap();
                    assert_eq!(state_bytes(&made.mechanism, made.size()).unwrap(), want, "{}", made.mechanism);
                }
                (name, Ok(made)) => {
                    let have = state_bytes(&made.mechanism, made.size()).unwrap();
                    assert!((have - want).abs() <= 0.01 * want, "{name}: {have}, not {want}");
                }
                (name, Err(why)) => assert!(why.to_string().starts_with(&format!("--hold: got {name} with")), "{why}"),
            }
        }
    }

    #[test]
    fn a_model_that_is_too_large_without_any_feed_forward_is_refused() {
        let small =
            Config { mechanism: "gqa".into(), model: ModelConfig { d_ff: 1, ..ModelConfig::default() }, ..Config::default() };
        let large = Config { mechanism: "mha".into(), ..small.clone() };
        let why = adjust(&large, &small, 300, Hold::Params).unwrap_err().to_string();
        assert!(why.starts_with("--hold: got mha with") && why.contains("parameters"), "{why}");
    }
}
