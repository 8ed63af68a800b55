//! `cargo x kill`: a training that is killed at random moments and resumed must end in the same bytes as one that never stopped.

mod moment;
mod run_folder;

use crate::flags::Flags;
use crate::{cargo, target_folder};
use moment::{Moment, Random};
use run_folder::RunFolder;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// As many runs in a row without a kill say that the training ends before anything can happen to it.
const UNTOUCHED_RUNS: usize = 3;

/// The program that trains, as `train --config FILE --out FOLDER` and `train --resume FOLDER`.
struct Trainer {
    program: PathBuf,
    lead: Vec<String>,
}

struct Trial {
    config: PathBuf,
    folder: PathBuf,
    /// At least so many runs, and so many kills over all of them.
    runs: usize,
    kills: usize,
    seed: u64,
}

/// How the kills of a trial fell.
#[derive(Default)]
struct Falls {
    runs: usize,
    /// Kills by the newest checkpoint at that moment; `None` before the first.
    by_step: BTreeMap<Option<u64>, usize>,
    /// Kills aimed at the moment when a checkpoint is being written.
    while_saving: usize,
}

impl Falls {
    fn kills(&self) -> usize {
        self.by_step.values().sum()
    }
}

impl fmt::Display for Falls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills over {} runs, {} of them while a checkpoint was being written;",
            self.kills(),
            self.runs,
            self.while_saving
        )?;
        for (step, count) in &self.by_step {
            match step {
                None => write!(f, " {count} before the first checkpoint")?,
                Some(step) => write!(f, ", {count} after step {step}")?,
            }
        }
        Ok(())
    }
}

/// Builds the command and holds it to the promise.
///
/// # Errors
/// If a resumed run ends in other bytes than the uninterrupted one, or does not end well.
pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let config = flags.value("--config")?.ok_or("--config: wants the configuration of a training of a few seconds")?;
    let runs = flags.value("--runs")?.unwrap_or(5);
    let kills = flags.value("--kills")?.unwrap_or(50);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = flags.value("--seed")?.unwrap_or(clock);
    flags.finish()?;

    let built = cargo().args(["build", "--quiet", "--package", "attendant"]).status().map_err(|e| format!("cargo: {e}"))?;
    if !built.success() {
        return Err(format!("cargo build: {built}"));
    }
    let target = target_folder()?;
    let program = target.join("debug").join(format!("attendant{}", std::env::consts::EXE_SUFFIX));
    let trainer = Trainer { program, lead: Vec::new() };
    println!("kill: seed {seed}");
    let falls = trial(&trainer, &Trial { config, folder: target.join("kill"), runs, kills, seed })?;
    println!("kill: seed {seed}: {falls}; every final checkpoint equals the uninterrupted one, byte for byte");
    Ok(())
}

fn trial(trainer: &Trainer, trial: &Trial) -> Result<Falls, String> {
    if trial.folder.exists() {
        fs::remove_dir_all(&trial.folder).map_err(|e| format!("{}: {e}", trial.folder.display()))?;
    }
    fs::create_dir_all(&trial.folder).map_err(|e| format!("{}: {e}", trial.folder.display()))?;
    let calm = RunFolder::new(&trial.folder, "uninterrupted");
    let start = Instant::now();
    finished(trainer.start(&trial.config, &calm)?.wait(), &calm)?;
    let whole = start.elapsed();
    let steps = calm.newest_step().ok_or("the uninterrupted run left no checkpoint")?;
    println!("kill: {steps} steps in {:.1} s when nothing interrupts them", whole.as_secs_f64());

    let mut random = Random::new(trial.seed);
    let mut falls = Falls::default();
    let mut untouched = 0;
    while falls.runs < trial.runs || falls.kills() < trial.kills {
        let before = falls.kills();
        let run = RunFolder::new(&trial.folder, &format!("run-{}", falls.runs));
        until_finished(trainer, &trial.config, &run, || Moment::draw(&mut random, whole), &mut falls)?;
        run.same_result(&calm).map_err(|why| format!("after {} kills in this run: {why}", falls.kills() - before))?;
        println!("kill: run {}: {} kills, same bytes", falls.runs, falls.kills() - before);
        falls.runs += 1;
        untouched = if falls.kills() == before { untouched + 1 } else { 0 };
        if untouched == UNTOUCHED_RUNS {
            return Err(format!("{UNTOUCHED_RUNS} runs in a row ended before they could be killed; the training is too short"));
        }
    }
    Ok(falls)
}

/// Starts the run, kills it at the moments drawn and resumes it, until it ends by itself.
fn until_finished(
    trainer: &Trainer,
    config: &Path,
    run: &RunFolder,
    mut draw: impl FnMut() -> Moment,
    falls: &mut Falls,
) -> Result<(), String> {
    loop {
        let moment = draw();
        let before = run.entries();
        let mut child = trainer.start(config, run)?;
        let start = Instant::now();
        while !moment.has_come(start.elapsed(), || run.entries() != before) {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return finished(Ok(status), run);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().map_err(|e| format!("kill: {e}"))?;
        let status = child.wait().map_err(|e| e.to_string())?;
        if status.success() {
            return Ok(()); // it ended between the last look and the kill
        }
        *falls.by_step.entry(run.newest_step()).or_default() += 1;
        falls.while_saving += usize::from(moment.is_saving());
    }
}

fn finished(status: std::io::Result<ExitStatus>, run: &RunFolder) -> Result<(), String> {
    let status = status.map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}\n{}", run.path().display(), run.said())) }
}

impl Trainer {
    /// Begins the run, or resumes it once its folder says what it is: before its first checkpoint, that is from the start.
    fn start(&self, config: &Path, run: &RunFolder) -> Result<Child, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.lead).arg("train");
        if run.path().join("run.json").exists() {
            command.arg("--resume").arg(run.path());
        } else {
            command.arg("--config").arg(config).arg("--out").arg(run.path());
        }
        let log =
            File::options().create(true).append(true).open(run.log()).map_err(|e| format!("{}: {e}", run.log().display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().map_err(|e| format!("{}: {e}", self.program.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trainer in a few lines of shell: thirty steps, a checkpoint after each, written aside and then renamed.
    const HONEST: &str = r#"
        case $2 in --config) out=$5;; --resume) out=$3;; esac
        all=$out/checkpoints; mkdir -p $all; touch $out/run.json; rm -rf $all/new
        step=$(ls $all | sed -n 's/^step-//p' | sort -n | tail -n 1); step=${step:-0}
        sum=0; if [ $step -gt 0 ]; then sum=$(cat $all/step-$step/model.safetensors); fi
        while [ $step -lt 30 ]; do
            step=$((step + 1)); sum=$(( (sum * 31 + step) % 1000003 )); sleep 0.005
            mkdir $all/new; echo $sum > $all/new/model.safetensors; mv $all/new $all/step-$step
        done"#;

    fn kill(name: &str, script: &str) -> Result<Falls, String> {
        let lead = ["-c", script, "trainer"].map(str::to_owned).to_vec();
        let trainer = Trainer { program: "sh".into(), lead };
        let folder = std::env::temp_dir().join(format!("xtask-kill-{name}-{}", std::process::id()));
        let result = trial(&trainer, &Trial { config: "none".into(), folder: folder.clone(), runs: 2, kills: 8, seed: 7 });
        fs::remove_dir_all(folder).unwrap();
        result
    }

    #[test]
    fn a_trainer_that_resumes_exactly_passes() {
        let falls = kill("honest", HONEST).unwrap();
        assert!(falls.kills() >= 8 && falls.runs >= 2, "{falls}");
        assert!(falls.by_step.keys().any(Option::is_some), "{falls}");
    }

    #[test]
    fn a_trainer_that_forgets_its_state_is_caught() {
        let why = kill("forgetful", &HONEST.replace("sum=$(cat $all/step-$step/model.safetensors)", "sum=1")).err().unwrap();
        assert!(why.contains("model.safetensors differs"), "{why}");
    }

    #[test]
    fn a_trainer_that_cannot_resume_is_caught_with_what_it_said() {
        let why =
            kill("helpless", &HONEST.replace("--resume) out=$3;;", "--resume) echo no way back >&2; exit 3;;")).err().unwrap();
        assert!(why.contains("exit status: 3") && why.contains("no way back"), "{why}");
    }
}
