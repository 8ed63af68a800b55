//! `attendant train`

use crate::arguments::Train;
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::progress::{Bar, stop_flag};
use attendant_lab::config::Config;
use attendant_lab::trainer::{Ending, Trainer};
use std::fs;

pub(crate) fn run(options: &Train) -> Done {
    let processor = processor(options.threads)?;
    let mut trainer = match (&options.resume, &options.out) {
        (Some(folder), _) => Trainer::resume(processor, folder)?,
        (None, Some(folder)) => {
            let text = match &options.config {
                Some(path) => fs::read_to_string(path).map_err(|why| Failure::Refused(format!("{}: {why}", path.display())))?,
                None => String::new(),
            };
            Trainer::create(Config::parse(&text, &options.set)?, processor, folder)?
        }
        (None, None) => return Err(Failure::Refused("--out: got none, wanted a folder for the run".into())),
    };
    let (stop, mut bar) = (stop_flag(), Bar::new());
    let mut validation = String::new();
    let ended = trainer.run(&stop, |step| {
        if let Some(judgement) = step.validation {
            validation = format!(", validation {:.4}", judgement.loss);
        }
        let doing = format!("step {} of {}, loss {:.4}{validation}", step.step, step.steps, step.loss);
        bar.show(step.step as f64 / step.steps as f64, doing);
    });
    bar.finish();
    match ended? {
        Ending::Finished(judgement) => {
            let result =
                serde_json::json!({"steps": trainer.step(), "validation_loss": judgement.loss, "accuracy": judgement.accuracy});
            anstream::println!("{result}");
            Ok(())
        }
        Ending::Interrupted { step } => {
            Err(Failure::Interrupted(format!("interrupted after step {step}; saved, continue with --resume")))
        }
    }
}
