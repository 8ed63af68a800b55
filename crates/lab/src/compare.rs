//! The comparison: the same model with each mechanism, trained on the same data from the same seeds, then timed.

use crate::comparison::{Comparison, Curve, CurvePoint, Hold, Machine, Measured, Outcome};
use crate::config::{Config, DataConfig, ModelConfig, PrecisionKind, TaskKind, TrainingConfig};
use crate::decode::{self, DecodeCost};
use crate::environment;
use crate::error::{LabError, Result};
use crate::hold::adjust;
use crate::run;
use crate::task::Task;
use crate::trainer::{Ending, Judgement, Trainer};
use attendant_core::Processor;
use attendant_mech::preset;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Learning rates found by `attendant sweep` and recorded here: preset -> task -> rate.
const LEARNING_RATES: &str = include_str!("../assets/learning_rates.json");

/// What to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Presets, in the order to show.
    pub mechanisms: Vec<String>,
    /// How many seeds, from 1.
    pub seeds: u64,
    /// The configuration of every text run but for mechanism, seed and rate.
    pub text: Config,
    /// The same for recall; none to leave it out.
    pub recall: Option<Config>,
    /// Contexts to time decoding at.
    pub contexts: Vec<usize>,
    /// What is held equal.
    pub hold: Hold,
}

/// What is being done, and how much of everything is done.
#[derive(Clone, Debug)]
pub struct Moment {
    /// A few words.
    pub doing: String,
    /// Share of the whole, 0 to 1.
    pub done: f64,
}

impl Settings {
    /// The default: minutes on two cores. With `quick`, one minute.
    pub fn new(quick: bool) -> Settings {
        let text = Config {
            training: TrainingConfig {
                tokens: if quick { 24_576 } else { 262_144 },
                validate_every: 32,
                ..TrainingConfig::default()
            },
            ..Config::default()
        };
        let recall = Config {
            data: DataConfig { task: TaskKind::Recall, context: 32, batch: 16, pairs: 4, ..DataConfig::default() },
            training: TrainingConfig {
                tokens: if quick { 196_608 } else { 327_680 },
                warmup: 0.1,
                weight_decay: 0.0,
                validate_every: 1_000_000,
                ..TrainingConfig::default()
            },
            // Two layers are the least that can look a pair up, and small ones do as well as large ones.
            model: ModelConfig { layers: 2, d_model: 64, d_ff: 64, ..text.model.clone() },
            ..text.clone()
        };
        Settings {
            mechanisms: ["mha", "mqa", "gqa", "mla"].map(String::from).into(),
            seeds: if quick { 2 } else { 3 },
            text,
            recall: Some(recall),
            contexts: if quick { vec![256, 1024, 4096] } else { vec![256, 1024, 4096, 16_384] },
            hold: Hold::None,
        }
    }

    /// Trains on `tokens` tokens of text, and on as many more or fewer of recall in proportion.
    pub fn set_tokens(&mut self, tokens: u64) {
        let factor = tokens as f64 / self.text.training.tokens as f64;
        if let Some(recall) = &mut self.recall {
            recall.training.tokens = ((recall.training.tokens as f64 * factor).round() as u64).max(1);
        }
        self.text.training.tokens = tokens;
    }

    /// Trains with products in this precision.
    pub fn set_precision(&mut self, precision: PrecisionKind) {
        for config in std::iter::once(&mut self.text).chain(&mut self.recall) {
            config.training.precision = precision;
        }
    }

    /// Whether it can all be done: an hour of training must not end in a refusal.
    fn check(&self) -> Result<()> {
        let refuse = |field: &str, why: &str| Err(LabError::from(attendant_core::Error::config(field, why)));
        if self.mechanisms.is_empty() {
            return refuse("--mechanisms", "got none, wanted at least one");
        }
        if self.mechanisms.iter().enumerate().any(|(i, name)| self.mechanisms[..i].contains(name)) {
            return refuse("--mechanisms", "got one twice, wanted each once");
        }
        if self.seeds == 0 {
            return refuse("--seeds", "got 0, wanted at least 1");
        }
        if self.text.training.tokens == 0 {
            return refuse("--tokens", "got 0, wanted at least 1");
        }
        self.runs().iter().try_for_each(Config::check)
    }

    /// The configuration of every run but for seed, rate and what is held equal.
    fn runs(&self) -> Vec<Config> {
        let of = |config: &Config| -> Vec<Config> {
            self.mechanisms.iter().map(|mechanism| Config { mechanism: mechanism.clone(), ..config.clone() }).collect()
        };
        std::iter::once(&self.text).chain(&self.recall).flat_map(of).collect()
    }
}

/// The learning rate recorded for a preset and task, or the configured one if none is.
pub fn recorded_rate(mechanism: &str, task: TaskKind, otherwise: f64) -> f64 {
    let rates: Value = serde_json::from_str(LEARNING_RATES).expect("the recorded rates are JSON");
    rates[mechanism][task.name()].as_f64().unwrap_or(otherwise)
}

/// Runs the comparison in `folder`. Run again there after an interruption it continues where it was: runs that are done are
/// read, the one that was cut off resumes with the same bits. Gives nothing if `stop` was set.
///
/// # Errors
/// If settings cannot be used, or something cannot be read or written. A mechanism whose training fails numerically is part
/// of the result.
pub fn compare(
    settings: &Settings,
    processor: &Processor,
    folder: &Path,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Moment),
) -> Result<Option<Comparison>> {
    settings.check()?;
    let mut settings = settings.clone();
    settings.set_precision(settings.text.training.precision.on(processor.isa()));
    let settings = &settings;
    let work = Work::new(settings);
    let tasks = Tasks::new(settings)?;
    let models = models(settings, &work, &tasks)?;
    let _lock = claim(folder)?;
    let mut done = 0.0;
    let mut parts: BTreeMap<String, Parts> = BTreeMap::new();
    for seed in 1..=settings.seeds {
        for (index, config) in work.runs.iter().enumerate() {
            let text = config.data.task == TaskKind::Text;
            let task = tasks.of(config.data.task);
            let config = configured(settings, config, seed, task.vocab_size())?;
            let name = format!("{}-{}-seed{seed}", config.mechanism, config.data.task.name());
            let share = Work::of(&work.runs[index]);
            let mut report = |fraction: f64| {
                watch(Moment { doing: name.clone(), done: (done + fraction * share) / work.total });
            };
            report(0.0);
            let Some(result) = train(config, task, processor, &folder.join("runs").join(&name), stop, &mut report)? else {
                return Ok(None);
            };
            done += share;
            let part = parts.entry(work.runs[index].mechanism.clone()).or_default();
            if text { part.text.push(result) } else { part.recall.push(result) }
        }
    }
    let mut outcomes = Vec::new();
    for mechanism in &settings.mechanisms {
        watch(Moment { doing: format!("{mechanism}: decoding"), done: done / work.total });
        let part = parts.remove(mechanism).unwrap_or_default();
        // A model that left the finite numbers may refuse to decode.
        let sound = part.text.iter().find(|run| run.failure.is_none());
        let cost = match sound.and_then(|run| run.model.as_ref()) {
            Some(decoder) => decode::measure(decoder, processor, &settings.contexts)?,
            None => DecodeCost { points: Vec::new(), bytes_per_token: f64::NAN, constant_bytes: 0 },
        };
        done += work.decode;
        outcomes.push(outcome(settings, mechanism, part, cost)?);
    }
    Ok(Some(Comparison {
        version: env!("CARGO_PKG_VERSION").into(),
        created: environment::now(),
        machine: Machine { cpu: environment::cpu_name(), threads: processor.threads(), isa: processor.isa().name().into() },
        configuration: serde_json::json!({
            "seeds": settings.seeds, "text": settings.text, "recall": settings.recall, "contexts": settings.contexts,
            "models": models,
        }),
        text: settings.text.data.text.clone(),
        held: settings.hold,
        precision: settings.text.training.precision,
        vocabulary: tasks.text.vocab_size(),
        mechanisms: outcomes,
    }))
}

/// The sizes of every model once what is held is equal, by task and mechanism.
fn models(settings: &Settings, work: &Work, tasks: &Tasks) -> Result<Value> {
    let mut models = serde_json::json!({});
    for config in &work.runs {
        let made = configured(settings, config, 1, tasks.of(config.data.task).vocab_size())?;
        models[made.data.task.name()][&made.mechanism] = serde_json::json!(made.model);
    }
    Ok(models)
}

/// Takes a folder for a comparison: a new or empty one, or that of a comparison which no other process is making.
fn claim(folder: &Path) -> Result<fs::File> {
    let holds = |name: &str| folder.join(name).exists();
    let empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(why) if why.kind() == ErrorKind::NotFound => true,
        Err(why) if why.kind() == ErrorKind::NotADirectory => {
            return Err(LabError::content(folder, "got a file, wanted a folder"));
        }
        Err(why) => return Err(LabError::io(folder, why)),
    };
    if !empty && (holds("run.json") || !(holds("runs") || holds(run::LOCK))) {
        return Err(LabError::content(folder, "holds something else, wanted a new or empty folder or that of a comparison"));
    }
    fs::create_dir_all(folder).map_err(|why| LabError::io(folder, why))?;
    run::lock(folder)
}

/// What there is to do, in training tokens times the weights each goes through; the decoding counts as so many.
struct Work {
    runs: Vec<Config>,
    decode: f64,
    total: f64,
}

impl Work {
    fn new(settings: &Settings) -> Work {
        let runs = settings.runs();
        let training: f64 = runs.iter().map(Work::of).sum();
        // Filling a cache is forward only, a third of the work of training, over a much longer past.
        let decode = settings.contexts.last().copied().unwrap_or(0) as f64 * 2.0 * settings.text.weights();
        let total = training * settings.seeds as f64 + decode * settings.mechanisms.len() as f64;
        Work { runs, decode, total }
    }

    /// The part that one run is.
    fn of(config: &Config) -> f64 {
        config.training.tokens as f64 * config.weights()
    }
}

fn configured(settings: &Settings, config: &Config, seed: u64, vocab_size: usize) -> Result<Config> {
    let rate = recorded_rate(&config.mechanism, config.data.task, config.training.learning_rate);
    let training = TrainingConfig { learning_rate: rate, ..config.training.clone() };
    let config = Config { seed, training, ..config.clone() };
    let reference = Config { mechanism: settings.mechanisms[0].clone(), ..config.clone() };
    adjust(&config, &reference, vocab_size, settings.hold)
}

/// What is learned, made once: every run of a kind learns the same.
struct Tasks {
    text: Arc<Task>,
    recall: Option<Arc<Task>>,
}

impl Tasks {
    fn new(settings: &Settings) -> Result<Tasks> {
        let task = |config: &Config| Task::new(config).map(Arc::new);
        Ok(Tasks { text: task(&settings.text)?, recall: settings.recall.as_ref().map(task).transpose()? })
    }

    fn of(&self, kind: TaskKind) -> Arc<Task> {
        let recall = self.recall.as_ref().filter(|_| kind == TaskKind::Recall);
        recall.unwrap_or(&self.text).clone()
    }
}

#[derive(Default)]
struct Parts {
    text: Vec<RunResult>,
    recall: Vec<RunResult>,
}

struct RunResult {
    seed: u64,
    rate: f64,
    judgement: Option<Judgement>,
    failure: Option<String>,
    model: Option<attendant_model::Decoder>,
    parameters: usize,
    tokens_per_second: f64,
    cpu_seconds: f64,
    points: Vec<CurvePoint>,
}

fn train(
    config: Config,
    task: Arc<Task>,
    processor: &Processor,
    folder: &Path,
    stop: &AtomicBool,
    report: &mut dyn FnMut(f64),
) -> Result<Option<RunResult>> {
    let mut trainer = Trainer::with_task(config.clone(), task, processor.clone())?;
    if folder.join("run.json").exists() {
        trainer = trainer.resume_here(folder)?;
    } else {
        trainer.place(folder)?;
    }
    let ended = trainer.run(stop, |step| report(step.step as f64 / step.steps as f64));
    let (judgement, failure) = match ended {
        Ok(Ending::Finished(judgement)) => (Some(judgement), None),
        Ok(Ending::Interrupted { .. }) => return Ok(None),
        Err(why @ LabError::Numeric { .. }) => (None, Some(why.to_string())),
        Err(why) => return Err(why),
    };
    let points = read_points(&folder.join("metrics.jsonl"))?;
    Ok(Some(RunResult {
        seed: config.seed,
        rate: config.training.learning_rate,
        judgement,
        failure,
        parameters: trainer.decoder().parameter_count(),
        tokens_per_second: config.tokens_per_step() as f64 / median(points.iter().map(|point| point.seconds).collect()),
        cpu_seconds: points.iter().map(|point| point.cpu_seconds).sum(),
        points: points.into_iter().map(|point| point.losses).collect(),
        model: (config.data.task == TaskKind::Text).then(|| trainer.into_decoder()),
    }))
}

/// What was recorded of a step.
struct Point {
    losses: CurvePoint,
    seconds: f64,
    cpu_seconds: f64,
}

fn read_points(path: &Path) -> Result<Vec<Point>> {
    let text = fs::read_to_string(path).map_err(|why| LabError::io(path, why))?;
    let point = |line: &str| {
        let record: Value = serde_json::from_str(line).ok()?;
        let (train, validation) = (record["loss"].as_f64(), record["validation_loss"].as_f64());
        Some(Point {
            losses: CurvePoint { tokens: record["tokens"].as_u64()?, train, validation },
            seconds: record["seconds"].as_f64()?,
            cpu_seconds: record["cpu_seconds"].as_f64()?,
        })
    };
    Ok(text.lines().filter_map(point).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn outcome(settings: &Settings, mechanism: &str, parts: Parts, cost: DecodeCost) -> Result<Outcome> {
    let made = preset(mechanism, settings.text.size())?;
    let card = made.mechanism.card();
    let failure = parts.text.iter().chain(&parts.recall).find_map(|run| run.failure.clone());
    let losses = parts.text.iter().filter_map(|run| run.judgement).map(|judgement| judgement.loss).collect();
    let recalls: Vec<f64> = parts.recall.iter().filter_map(|run| run.judgement).map(|judgement| judgement.accuracy).collect();
    let layers = settings.text.model.layers;
    Ok(Outcome {
        name: mechanism.into(),
        kind: made.configuration["kind"].as_str().unwrap_or_default().into(),
        card: card.sentence.into(),
        paper: card.paper.into(),
        parameters: parts.text.first().map_or(0, |run| run.parameters) as u64,
        loss: Measured::over_seeds(losses),
        recall: (!recalls.is_empty()).then(|| Measured::over_seeds(recalls)),
        recall_chance: settings.recall.as_ref().map(|config| 1.0 / config.data.pairs as f64),
        cache_bytes_per_token: cost.bytes_per_token,
        cache_formula: match cost.bytes_per_token {
            bytes if bytes.is_finite() => {
                format!("{} = {} values x {layers} layers x 4 B", card.cache, bytes / (4 * layers) as f64)
            }
            _ => card.cache.into(),
        },
        constant_bytes: cost.constant_bytes as u64,
        decode: cost.points,
        training_tokens_per_second: median(parts.text.iter().map(|run| run.tokens_per_second).collect()),
        cpu_seconds: parts.text.iter().chain(&parts.recall).map(|run| run.cpu_seconds).sum(),
        learning_rate: parts.text.first().map_or(f64::NAN, |run| run.rate),
        curves: parts.text.into_iter().map(|run| Curve { seed: run.seed, points: run.points }).collect(),
        failure,
    })
}
