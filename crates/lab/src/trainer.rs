//! One training run: its steps, its folder, and how it continues after any interruption with the same bits.

use crate::config::{Config, learning_rate};
use crate::error::{LabError, Result};
use crate::events::EventWriter;
use crate::optimizer::Optimizer;
use crate::run::Run;
use crate::task::{Pair, Task};
use crate::{checkpoint, environment};
use attendant_core::error::require;
use attendant_core::ops::IGNORE;
use attendant_core::{Processor, Tape};
use attendant_mech::Batch;
use attendant_model::decoder::LogitRows;
use attendant_model::{Decoder, Language, Layout, checkpoint as model_checkpoint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Checkpoints that stay: the latest, and the one before it should the latest be damaged.
const KEEP: usize = 2;

const PROGRESS: &str = "progress.json";

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Steps done so far.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Loss on the batch, nats per token.
    pub loss: f64,
    /// Loss and accuracy on the validation data, if this step took them.
    pub validation: Option<Judgement>,
    /// Seconds the step took, validation and saving not counted.
    pub seconds: f64,
}

/// How well the model does on the validation data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Nats per token.
    pub loss: f64,
    /// Share of the tokens that are the model's first choice.
    pub accuracy: f64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// All steps are done.
    Finished(Judgement),
    /// It was asked to stop; a checkpoint is saved.
    Interrupted {
        /// Steps done so far.
        step: u64,
    },
}

/// A run under way.
pub struct Trainer {
    config: Config,
    task: Arc<Task>,
    decoder: Decoder,
    /// How the files of a published model that is trained further are written.
    layout: Option<Layout>,
    optimizer: Optimizer,
    tape: Tape,
    step: u64,
    /// The step of the latest checkpoint.
    saved: Option<u64>,
    folder: Option<Folder>,
}

struct Folder {
    run: Run,
    events: EventWriter,
}

/// What is recorded of a step.
struct Done {
    loss: f64,
    norm: f64,
    seconds: f64,
    /// Of all threads, since the step before was recorded: validation and saving are counted.
    cpu_seconds: f64,
    validation: Option<Judgement>,
}

/// What a checkpoint holds beside the model and the moments.
#[derive(Serialize, Deserialize)]
struct Progress {
    step: u64,
    config: Value,
}

impl Trainer {
    /// A run that keeps nothing on disk.
    ///
    /// # Errors
    /// If the configuration or its text cannot be used.
    pub fn in_memory(config: Config, processor: Processor) -> Result<Trainer> {
        config.check()?;
        if config.continues() {
            let from = PathBuf::from(&config.from);
            return Trainer::further(config, &from, processor);
        }
        let task = Arc::new(Task::new(&config)?);
        Trainer::with_task(config, task, processor)
    }

    /// The same, with the published model in a folder or file.
    fn further(config: Config, from: &Path, processor: Processor) -> Result<Trainer> {
        let (decoder, layout) = Layout::open(from)?;
        let plan = decoder.plan();
        let (context, there) = (config.data.context, plan.context);
        require(context <= there, "data.context", || format!("got {context}, wanted at most the {there} of the model"))?;
        let task = Arc::new(Task::of_model(&config, &Language::open(from)?, plan.vocab_size)?);
        Ok(Trainer { layout: Some(layout), ..Trainer::of(config, task, decoder, processor) })
    }

    /// The same, with a task made before, which several runs may share.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn with_task(config: Config, task: Arc<Task>, processor: Processor) -> Result<Trainer> {
        config.check()?;
        let decoder = Decoder::new(config.plan(task.vocab_size())?, config.seed)?;
        Ok(Trainer::of(config, task, decoder, processor))
    }

    fn of(mut config: Config, task: Arc<Task>, decoder: Decoder, processor: Processor) -> Trainer {
        config.training.precision = config.training.precision.on(processor.isa());
        let precision = config.training.precision.of_tape(processor.isa());
        let (optimizer, tape) = (Optimizer::new(&decoder), Tape::new(processor).with_precision(precision));
        Trainer { config, task, decoder, layout: None, optimizer, tape, step: 0, saved: None, folder: None }
    }

    /// A run in a new folder.
    ///
    /// # Errors
    /// If the configuration cannot be used, or the folder exists and holds something.
    pub fn create(config: Config, processor: Processor, folder: &Path) -> Result<Trainer> {
        let mut trainer = Trainer::in_memory(config, processor)?;
        trainer.place(folder)?;
        Ok(trainer)
    }

    /// Gives a run without a folder a new one.
    ///
    /// # Errors
    /// If the folder exists and holds something.
    pub fn place(&mut self, folder: &Path) -> Result<()> {
        let configuration = serde_json::to_value(&self.config).map_err(|why| LabError::json(folder, why))?;
        let (data, model) = (self.task.sha256(), self.model_sha256());
        let run = Run::create(folder, &configuration, data.as_deref(), model.as_deref(), self.tape.processor())?;
        self.folder = Some(Folder { run, events: EventWriter::create(folder, 0)? });
        Ok(())
    }

    /// Continues the run in a folder from its latest intact checkpoint, or from the start if it has none.
    ///
    /// # Errors
    /// If the folder is no run, is in use, or its checkpoints are all damaged or of another configuration.
    pub fn resume(processor: Processor, folder: &Path) -> Result<Trainer> {
        let run = Run::open(folder)?;
        let config = run.configuration()?;
        let trainer = match checkpoint::latest(folder)? {
            // The model that the run began with may be gone: a checkpoint is one as well.
            Some((_, path)) if config.continues() => Trainer::further(config, &path, processor)?,
            _ => Trainer::in_memory(config, processor)?,
        };
        trainer.resume_in(folder, run)
    }

    /// Continues, in a run's folder, a trainer made for the run's configuration.
    ///
    /// # Errors
    /// If the folder is no run, is of another configuration or in use, or its checkpoints are all damaged.
    pub fn resume_here(self, folder: &Path) -> Result<Trainer> {
        let run = Run::open(folder)?;
        if run.configuration()? != self.config {
            return Err(LabError::content(folder, "holds a run of another configuration; choose another folder or remove it"));
        }
        self.resume_in(folder, run)
    }

    fn resume_in(self, folder: &Path, mut run: Run) -> Result<Trainer> {
        let mut trainer = self;
        run.learns_from(trainer.task.sha256().as_deref())?;
        if let Some((step, path)) = checkpoint::latest(folder)? {
            trainer.fits(&path)?;
            if trainer.layout.is_none() {
                trainer.decoder = model_checkpoint::load_widened(&path)?;
            }
            trainer.optimizer.load(&mut trainer.decoder, &path.join("optimizer.safetensors"))?;
            (trainer.step, trainer.saved) = (step, Some(step));
        } else {
            run.starts_from(trainer.model_sha256().as_deref())?;
        }
        run.resume_at(trainer.step)?;
        trainer.folder = Some(Folder { run, events: EventWriter::create(folder, trainer.step)? });
        Ok(trainer)
    }

    /// The hash of a published model's parameters.
    fn model_sha256(&self) -> Option<String> {
        self.layout.as_ref()?;
        let values = self.decoder.parameters().iter().map(|parameter| bytemuck::cast_slice::<f32, u8>(parameter.tensor.data()));
        Some(checkpoint::hexadecimal(values.fold(Sha256::new(), Sha256::chain_update)))
    }

    /// Whether a checkpoint is of this run's configuration, which someone may have edited.
    fn fits(&self, checkpoint: &Path) -> Result<()> {
        let path = checkpoint.join(PROGRESS);
        let text = fs::read(&path).map_err(|why| LabError::io(&path, why))?;
        let progress: Progress = serde_json::from_slice(&text).map_err(|why| LabError::json(&path, why))?;
        if Config::from_json(&progress.config).is_ok_and(|config| config == self.config) {
            Ok(())
        } else {
            Err(LabError::content(&path, "differs from the configuration in run.json"))
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model as it is now.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model, without the rest.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// How the files of a published model that is trained further are written; none of other runs.
    pub fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// What it learns.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Steps done so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// How well a published model does before its first step, which is recorded as step 0; nothing of other runs.
    ///
    /// # Errors
    /// If the loss is not finite, or cannot be written.
    pub fn before(&mut self) -> Result<Option<Judgement>> {
        if self.layout.is_none() || self.step > 0 {
            return Ok(None);
        }
        let judgement = self.judge(&self.task.validation(&self.config))?;
        let Judgement { loss, accuracy } = judgement;
        if let Some(folder) = &mut self.folder {
            let record = json!({ "step": 0, "tokens": 0, "validation_loss": loss, "validation_accuracy": accuracy });
            folder.run.record(&record)?;
            folder.events.scalars(0, &[("validation/loss", loss), ("validation/accuracy", accuracy)])?;
        }
        Ok(Some(judgement))
    }

    /// Trains until done, or until `stop` is set; then it saves a checkpoint first. `watch` sees every step.
    ///
    /// # Errors
    /// If a loss or gradient is not finite ([`LabError::Numeric`]: the last good checkpoint stays), or something cannot be
    /// written.
    pub fn run(&mut self, stop: &AtomicBool, mut watch: impl FnMut(&Step)) -> Result<Ending> {
        let steps = self.config.steps();
        let validation = self.task.validation(&self.config);
        let mut last = None;
        let mut clock = environment::cpu_seconds().unwrap_or(0.0);
        while self.step < steps {
            if stop.load(Ordering::Relaxed) {
                self.save(&validation)?;
                return Ok(Ending::Interrupted { step: self.step });
            }
            let start = Instant::now();
            let (loss, norm) = self.train_step()?;
            let seconds = start.elapsed().as_secs_f64();
            let done = self.step == steps;
            let judge = done || self.step.is_multiple_of(self.config.training.validate_every);
            last = if judge { Some(self.judge(&validation)?) } else { None };
            let now = environment::cpu_seconds().unwrap_or(clock);
            self.record(&Done { loss, norm, seconds, cpu_seconds: now - clock, validation: last })?;
            clock = now;
            if done || self.step.is_multiple_of(self.config.training.checkpoint_every) {
                self.save(&validation)?;
            }
            watch(&Step { step: self.step, steps, loss, validation: last, seconds });
        }
        let judgement = match last {
            Some(judgement) => judgement,
            None => self.judge(&validation)?,
        };
        Ok(Ending::Finished(judgement))
    }

    /// Forward, backward, update. Gives the loss and the norm of the gradients.
    fn train_step(&mut self) -> Result<(f64, f64)> {
        let (inputs, targets) = self.task.batch(&self.config, self.step);
        let batch = Batch::even(self.config.data.batch, self.config.data.context);
        self.tape.clear();
        let bound = self.decoder.bind(&mut self.tape);
        let logits = self.decoder.forward(&mut self.tape, &bound, &batch, &inputs, &mut [], LogitRows::All);
        let logits = logits.map_err(|why| self.numeric_if(self.step + 1, why.into()))?;
        let loss = self.tape.cross_entropy(logits, &targets);
        let value = f64::from(self.tape.value(loss)[0]);
        if !value.is_finite() {
            return Err(self.numeric(self.step + 1, "loss", value));
        }
        self.tape.backward(loss);
        let gradients: Vec<_> = bound.vars().iter().map(|&var| self.tape.take_gradient(var)).collect();
        self.tape.clear();
        let rate = learning_rate(&self.config.training, self.step, self.config.steps());
        let processor = self.tape.processor().clone();
        let training = &self.config.training;
        let norm = self.optimizer.step(processor.machine(), &mut self.decoder, &gradients, self.step + 1, rate, training);
        gradients.into_iter().flatten().for_each(|gradient| self.tape.give(gradient));
        if !norm.is_finite() {
            return Err(self.numeric(self.step + 1, "gradient norm", norm));
        }
        self.step += 1;
        Ok((value, norm))
    }

    fn judge(&self, validation: &[Pair]) -> Result<Judgement> {
        let judgement = judge(&self.decoder, self.tape.processor().clone(), validation, self.config.data.context);
        let judgement = judgement.map_err(|why| self.numeric_if(self.step, why))?;
        match judgement.loss.is_finite() {
            true => Ok(judgement),
            false => Err(self.numeric(self.step, "validation loss", judgement.loss)),
        }
    }

    fn numeric(&self, step: u64, what: &str, value: f64) -> LabError {
        LabError::Numeric { step, what: what.into(), value, saved: self.saved }
    }

    /// The same of a forward that met what it could not rank; other errors as they are.
    fn numeric_if(&self, step: u64, why: LabError) -> LabError {
        match why {
            LabError::Core(attendant_core::Error::Numeric { what, value }) => self.numeric(step, &what, value),
            other => other,
        }
    }

    fn record(&mut self, done: &Done) -> Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let Done { loss, norm, seconds, cpu_seconds, validation } = *done;
        let rate = learning_rate(&self.config.training, self.step - 1, self.config.steps());
        let tokens = self.step * self.config.tokens_per_step();
        let mut record = json!({
            "step": self.step, "tokens": tokens, "loss": loss, "gradient_norm": norm, "learning_rate": rate, "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        });
        let mut scalars = vec![("train/loss", loss), ("train/gradient_norm", norm), ("train/learning_rate", rate)];
        if let Some(Judgement { loss, accuracy }) = validation {
            record["validation_loss"] = loss.into();
            record["validation_accuracy"] = accuracy.into();
            scalars.extend([("validation/loss", loss), ("validation/accuracy", accuracy)]);
        }
        folder.run.record(&record)?;
        folder.events.scalars(self.step, &scalars)
    }

    /// Saves a checkpoint, unless the model has left the finite numbers: a checkpoint that stays must be a good one.
    fn save(&mut self, validation: &[Pair]) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.judge(&validation[..1])?;
        folder.run.checkpoint(self.step, KEEP, |path| self.fill(path))?;
        self.saved = Some(self.step);
        Ok(())
    }

    fn fill(&self, path: &Path) -> Result<()> {
        match &self.layout {
            Some(layout) => layout.save(&self.decoder, path)?,
            None => model_checkpoint::save(&self.decoder, path)?,
        }
        if let Some(vocabulary) = self.task.vocabulary() {
            vocabulary.save(&path.join("tokenizer.json"))?;
        }
        let inexact = self.layout.as_ref().map_or(Vec::new(), |layout| layout.inexact(&self.decoder));
        self.optimizer.save(&self.decoder, &inexact, &path.join("optimizer.safetensors"))?;
        let place = path.join(PROGRESS);
        let config = serde_json::to_value(&self.config).map_err(|why| LabError::json(&place, why))?;
        let progress = Progress { step: self.step, config };
        let text = serde_json::to_string_pretty(&progress).map_err(|why| LabError::json(&place, why))?;
        fs::write(&place, text).map_err(|why| LabError::io(&place, why))
    }
}

/// Loss and accuracy of a model on batches of sequences of `context` tokens.
///
/// # Errors
/// If the model refuses a batch.
pub fn judge(decoder: &Decoder, processor: Processor, batches: &[Pair], context: usize) -> Result<Judgement> {
    let mut tape = Tape::inference(processor);
    let (mut loss, mut right, mut counted) = (0.0, 0, 0);
    for (inputs, targets) in batches {
        tape.clear();
        let bound = decoder.bind(&mut tape);
        let batch = Batch::even(inputs.len() / context, context);
        let logits = decoder.forward(&mut tape, &bound, &batch, inputs, &mut [], LogitRows::All)?;
        let count = targets.iter().filter(|&&target| target != IGNORE).count();
        let mean = tape.cross_entropy(logits, targets);
        loss += f64::from(tape.value(mean)[0]) * count as f64;
        let width = tape.width(logits);
        let rows = tape.value(logits).chunks_exact(width).zip(targets).filter(|(_, target)| **target != IGNORE);
        right += rows.filter(|(row, target)| first_choice(row) == **target).count();
        counted += count;
    }
    Ok(Judgement { loss: loss / counted as f64, accuracy: right as f64 / counted as f64 })
}

fn first_choice(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
    best.0 as u32
}
