//! `attendant sweep`

use crate::arguments::Sweep;
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::output::{print, say};
use crate::progress::{Bar, stop_flag};
use attendant_lab::LabError;
use attendant_lab::compare::Settings;
use attendant_lab::config::{Config, TaskKind, TrainingConfig};
use attendant_lab::trainer::{Ending, Trainer};
use serde_json::{Map, json};

/// Short runs of the comparison's own configurations at every rate; prints the best of each mechanism and task as JSON, in the
/// form that the recorded rates have.
pub(crate) fn run(options: &Sweep) -> Done {
    let settings = Settings::new(false);
    let processor = processor(options.threads)?;
    let (stop, mut bar) = (stop_flag(), Bar::new());
    let tasks: Vec<Config> = std::iter::once(settings.text).chain(settings.recall).collect();
    let runs = options.mechanisms.len() * tasks.len() * options.rates.len();
    let (mut best, mut done) = (Map::new(), 0);
    for mechanism in &options.mechanisms {
        let mut rates = Map::new();
        for base in &tasks {
            let text = base.data.task == TaskKind::Text;
            let mut found: Option<(f64, f64)> = None;
            for &rate in &options.rates {
                bar.show(done as f64 / runs as f64, format!("{mechanism} at {rate}"));
                let training = TrainingConfig { learning_rate: rate, ..base.training.clone() };
                let config = Config { mechanism: mechanism.clone(), training, ..base.clone() };
                let loss = match Trainer::in_memory(config, processor.clone())?.run(&stop, |_| {}) {
                    Ok(Ending::Finished(judgement)) => judgement.loss,
                    Ok(Ending::Interrupted { .. }) => return Err(Failure::Interrupted("interrupted".into())),
                    Err(LabError::Numeric { .. }) => f64::INFINITY,
                    Err(why) => return Err(why.into()),
                };
                say(format!("{mechanism} {} {rate}: {loss:.4}", if text { "text" } else { "recall" }));
                if found.is_none_or(|(_, least)| loss < least) {
                    found = Some((rate, loss));
                }
                done += 1;
            }
            let rate = found.map(|(rate, _)| json!(rate)).unwrap_or_default();
            rates.insert(if text { "text" } else { "recall" }.into(), rate);
        }
        best.insert(mechanism.clone(), rates.into());
    }
    bar.finish();
    print(serde_json::to_string_pretty(&best).expect("rates are JSON already") + "\n")
}
