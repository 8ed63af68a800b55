//! What a comparison makes equal: widths are adjusted until parameters or cached bytes agree with the first mechanism's.

use crate::comparison::Hold;
use crate::config::{Config, ModelConfig};
use crate::error::Result;
use attendant_mech::{Size, preset};
use attendant_model::Decoder;
use attendant_state::{Dtype, Storage};

/// The configuration of every mechanism, adjusted so that what is held is equal to what `reference` has.
///
/// # Errors
/// If a mechanism does not suit the size.
pub fn adjust(config: &Config, reference: &Config, vocab_size: usize, hold: Hold) -> Result<Config> {
    match hold {
        Hold::None => Ok(config.clone()),
        Hold::Params => equal_parameters(config, parameters(reference, vocab_size)?, vocab_size),
        Hold::State => equal_state(config, state_bytes(&reference.mechanism, reference.size())?),
    }
}

fn parameters(config: &Config, vocab_size: usize) -> Result<usize> {
    Ok(Decoder::new(config.plan(vocab_size)?, 0)?.parameter_count())
}

/// Finds the feed-forward width, in steps of 8, whose parameters come nearest.
fn equal_parameters(config: &Config, want: usize, vocab_size: usize) -> Result<Config> {
    let with = |d_ff: usize| Config { model: ModelConfig { d_ff, ..config.model.clone() }, ..config.clone() };
    let have = parameters(config, vocab_size)? as f64;
    let per_width = (parameters(&with(config.model.d_ff + 8), vocab_size)? as f64 - have) / 8.0;
    let d_ff = config.model.d_ff as f64 + (want as f64 - have) / per_width;
    Ok(with(((d_ff / 8.0).round() as usize * 8).max(8)))
}

/// Bytes that a sequence of this many tokens holds are compared at.
const STATE_TOKENS: usize = 1024;

fn state_bytes(mechanism: &str, size: Size) -> Result<f64> {
    let layout = preset(mechanism, size)?.mechanism.state();
    let constant = layout.bytes(0, 0, Storage::paged(1));
    Ok(layout.bytes_per_token(Dtype::F32) + constant as f64 / STATE_TOKENS as f64)
}

/// Finds the heads and head width whose state comes nearest; of equal ones the one nearest to the configured width.
fn equal_state(config: &Config, want: f64) -> Result<Config> {
    let width = config.model.heads * config.model.d_head;
    let mut best: Option<(f64, usize, Config)> = None;
    for heads in [1, 2, 4, 8, 16] {
        for d_head in (4..=128).step_by(4) {
            let model = ModelConfig { heads, d_head, ..config.model.clone() };
            let candidate = Config { model, ..config.clone() };
            let miss = (state_bytes(&config.mechanism, candidate.size())? / want).ln().abs();
            let distance = (heads * d_head).abs_diff(width);
            let better =
                best.as_ref().is_none_or(|(least, near, _)| miss < least - 1e-9 || miss < least + 1e-9 && distance < *near);
            if better {
                best = Some((miss, distance, candidate));
            }
        }
    }
    Ok(best.map_or_else(|| config.clone(), |(_, _, config)| config))
}
