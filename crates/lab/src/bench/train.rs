//! The training step that frameworks are measured by: a GPT of 10.8 million parameters on 16 sequences of 256 tokens.

use super::Timing;
use crate::config::TrainingConfig;
use crate::error::Result;
use crate::optimizer::Optimizer;
use attendant_core::{Precision, Processor, Random, Tape};
use attendant_mech::Batch;
use attendant_model::Decoder;
use attendant_model::decoder::LogitRows;
use attendant_model::plan::{Dense, Embedding, Head, Layer, Norm, Plan, Positions};
use serde_json::json;
use std::time::Instant;

const LAYERS: usize = 6;
const D_MODEL: usize = 384;
const HEADS: usize = 6;
const CONTEXT: usize = 256;
const BATCH: usize = 16;
const VOCABULARY: usize = 65;

/// What the step took.
#[derive(Clone, Copy, Debug)]
pub struct TrainingRate {
    /// Parameters of the model.
    pub params: usize,
    /// Tokens of one step.
    pub tokens: usize,
    /// What a step took.
    pub step: Timing,
    /// Tokens a second, from the median.
    pub tok_s: f64,
    /// Arithmetic of products and attention, causal half counted, from the median.
    pub gflops: f64,
}

/// Forward, backward and AdamW of the step, `steps` times after two to warm up, with products of weights in a precision.
///
/// # Errors
/// If the model refuses its own batch.
pub fn training_step(processor: &Processor, precision: Precision, steps: usize) -> Result<TrainingRate> {
    let mut decoder = Decoder::new(plan(), 0)?;
    let mut optimizer = Optimizer::new(&decoder);
    let mut tape = Tape::new(processor.clone()).with_precision(precision);
    let training = TrainingConfig { weight_decay: 0.01, ..TrainingConfig::default() };
    let (batch, mut random) = (Batch::even(BATCH, CONTEXT), Random::new(0, "bench"));
    let mut ids = || -> Vec<u32> { (0..BATCH * CONTEXT).map(|_| random.below(VOCABULARY) as u32).collect() };
    let (inputs, targets) = (ids(), ids());
    let mut seconds = Vec::new();
    for step in 0..steps as u64 + 2 {
        let start = Instant::now();
        tape.clear();
        let bound = decoder.bind(&mut tape);
        let logits = decoder.forward(&mut tape, &bound, &batch, &inputs, &mut [], LogitRows::All)?;
        let loss = tape.cross_entropy(logits, &targets);
        tape.backward(loss);
        let gradients: Vec<_> = bound.vars().iter().map(|&var| tape.take_gradient(var)).collect();
        tape.clear();
        optimizer.step(processor.machine(), &mut decoder, &gradients, step + 1, 3e-4, &training);
        gradients.into_iter().flatten().for_each(|gradient| tape.give(gradient));
        if step >= 2 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let (step, tokens, params) = (Timing::of(seconds), BATCH * CONTEXT, decoder.parameter_count());
    let operations = (6 * params + 6 * LAYERS * CONTEXT * D_MODEL) as f64 * tokens as f64;
    Ok(TrainingRate { params, tokens, step, tok_s: tokens as f64 / step.median, gflops: operations / step.median / 1e9 })
}

fn plan() -> Plan {
    let mixer = json!({"kind": "gqa", "d_model": D_MODEL, "heads": HEADS, "kv_heads": HEADS, "d_head": D_MODEL / HEADS});
    let layer = Layer::pre(mixer, Dense::gelu(4 * D_MODEL).into());
    Plan {
        vocab_size: VOCABULARY,
        d_model: D_MODEL,
        context: CONTEXT,
        norm: Norm::layer(1e-5),
        embedding: Embedding { positions: Positions::Learned { context: CONTEXT }, ..Embedding::default() },
        layers: vec![layer; LAYERS],
        head: Head::default(),
        encoder: None,
    }
}
