//! Associative recall is within the reach of two layers in minutes, and of one layer never: only then does it tell mechanisms apart.

use attendant_core::Processor;
use attendant_lab::compare::Settings;
use attendant_lab::config::{Config, ModelConfig, TrainingConfig};
use attendant_lab::trainer::{Ending, Trainer};
use std::sync::atomic::AtomicBool;

/// The share recalled by the comparison's own model with so many layers.
fn recalled(layers: usize, tokens: u64) -> f64 {
    let config = Settings::new(false).recall.expect("recall is compared");
    let training = TrainingConfig { tokens, ..config.training.clone() };
    let config = Config { mechanism: "mha".into(), model: ModelConfig { layers, ..config.model.clone() }, training, ..config };
    let mut trainer = Trainer::in_memory(config, Processor::all()).unwrap();
    match trainer.run(&AtomicBool::new(false), |_| {}).unwrap() {
        Ending::Finished(judgement) => judgement.accuracy,
        Ending::Interrupted { .. } => unreachable!("nobody asks it to stop"),
    }
}

#[test]
fn two_layers_recall_what_one_layer_can_only_guess() {
    let (one, two) = (recalled(1, 204_800), recalled(2, 204_800));
    println!("one layer recalls {one:.3}, two {two:.3}; guessing gives 0.25");
    assert!(two > 0.95, "two layers recall {two:.3}");
    assert!(one < 0.6, "one layer recalls {one:.3}");
}
