//! `attendant train`

use crate::arguments::{PrecisionType, Train};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Needs, resolve};
use crate::output::{print, say};
use crate::progress::{Bar, stop_flag};
use attendant_core::Processor;
use attendant_lab::checkpoint;
use attendant_lab::config::{Config, PrecisionKind};
use attendant_lab::run::METRICS;
use attendant_lab::trainer::{Ending, Trainer};
use attendant_model::Layout;
use std::path::{Path, PathBuf};

pub(crate) fn run(options: &Train) -> Done {
    let processor = processor(options.threads)?;
    let (mut trainer, folder) = match (&options.resume, &options.out) {
        (Some(folder), _) => (resume(processor, folder)?, folder),
        (None, Some(folder)) => {
            let changes = changes(options)?;
            let mut config = match &options.config {
                Some(path) => Config::from_file(path, &changes)?,
                None => Config::parse("", &changes)?,
            };
            if let Some(precision) = options.precision {
                config.training.precision = precision.into();
            }
            (Trainer::create(config, processor, folder)?, folder)
        }
        (None, None) => return Err(Failure::Refused("--out: got none, wanted a folder for the run".into())),
    };
    trainer.layout().into_iter().flat_map(Layout::notes).for_each(say);
    if let Some(judgement) = trainer.before()? {
        say(format!("validation loss {:.4} before the first step", judgement.loss));
    }
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
    let ended = ended.map_err(|why| match Failure::from(why) {
        Failure::Failed(why) => {
            Failure::Failed(format!("{why}; what was saved stays, continue with --resume {}", folder.display()))
        }
        other => other,
    });
    match ended? {
        Ending::Finished(judgement) => {
            let result =
                serde_json::json!({"steps": trainer.step(), "validation_loss": judgement.loss, "accuracy": judgement.accuracy});
            print(format!("{result}\n"))
        }
        Ending::Interrupted { step } => Err(Failure::Interrupted(format!(
            "interrupted after step {step}; saved, continue with --resume {}",
            folder.display()
        ))),
    }
}

/// What the options change of the configuration, those of their own first.
fn changes(options: &Train) -> Result<Vec<String>, Failure> {
    let given = [
        ("--from", "from", options.from.is_some()),
        ("--text", "data.text", options.text.is_some()),
        ("--precision", "training.precision", options.precision.is_some()),
    ];
    if let Some((option, field, _)) = given.into_iter().find(|(_, field, given)| *given && is_set(options, field)) {
        return Err(Failure::Refused(format!("--set {field}: got a value beside {option}, wanted one of the two")));
    }
    let from = options.from.as_deref().map(|from| resolve(from, Needs::Everything)).transpose()?;
    let own = [("from", from), ("data.text", options.text.clone())];
    let own = own.into_iter().filter_map(|(field, path)| Some((field, path?)));
    let change = |(field, path): (&str, PathBuf)| format!("{field}={}", toml::Value::from(path.display().to_string()));
    Ok(own.map(change).chain(options.set.iter().cloned()).collect())
}

/// Whether --set has a value for this field.
fn is_set(options: &Train, field: &str) -> bool {
    let path = |change: &String| change.split_once('=').map(|(path, _)| path.to_owned());
    options.set.iter().filter_map(path).any(|path| path.split('.').map(str::trim).eq(field.split('.')))
}

impl From<PrecisionType> for PrecisionKind {
    fn from(precision: PrecisionType) -> PrecisionKind {
        match precision {
            PrecisionType::F32 => PrecisionKind::F32,
            PrecisionType::Bf16 => PrecisionKind::Bf16,
            PrecisionType::Auto => PrecisionKind::Auto,
        }
    }
}

/// Continues a run, and says which of its checkpoints are passed over, and whether its record is gone.
fn resume(processor: Processor, folder: &Path) -> Result<Trainer, Failure> {
    let metrics = folder.join(METRICS);
    let recorded = metrics.exists();
    let trainer = Trainer::resume(processor, folder)?;
    if !recorded && trainer.step() > 0 {
        say(format!("attendant: {}: is missing; what it had up to step {} is lost", metrics.display(), trainer.step()));
    }
    for path in checkpoint::damaged(folder)? {
        say(format!("attendant: {}: is damaged; continuing from step {}", path.display(), trainer.step()));
    }
    Ok(trainer)
}
