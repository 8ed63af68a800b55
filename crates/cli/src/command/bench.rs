//! `attendant bench`

use crate::arguments::{Bench, Benched};
use crate::command::processor;
use crate::failure::Done;
use attendant_lab::bench::{TrainingRate, training_step};

pub(crate) fn run(options: &Bench) -> Done {
    let processor = processor(options.threads)?;
    match options.what {
        Benched::Train => {
            let TrainingRate { params, tokens, median, minimum, tok_s, gflops } =
                training_step(&processor, options.steps.max(1))?;
            let disturbed = median > 1.15 * minimum;
            if options.json {
                let line = serde_json::json!({
                    "bench": "train", "mode": "f32", "params": params, "threads": processor.threads(), "isa": processor.isa().name(),
                    "step_ms": (median * 1e4).round() / 10.0, "min_step_ms": (minimum * 1e4).round() / 10.0,
                    "tok_s": tok_s.round(), "gflops": (gflops * 10.0).round() / 10.0, "disturbed": disturbed,
                });
                anstream::println!("{line}");
            } else {
                let note = if disturbed { " (disturbed: median and minimum differ by more than 15%)" } else { "" };
                anstream::println!(
                    "one step of {params} parameters on {tokens} tokens, f32, {} threads, {}",
                    processor.threads(),
                    processor.isa().name()
                );
                anstream::println!(
                    "{:.0} ms (minimum {:.0}){note}, {tok_s:.0} tokens/s, {gflops:.0} GFLOP/s",
                    median * 1e3,
                    minimum * 1e3
                );
            }
            Ok(())
        }
    }
}
