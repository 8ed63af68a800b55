//! Runs that are stopped, that diverge, that another process wants, and that a disk has no room for.

use crate::{Place, code, error, files, newest};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A command under way, which does not outlive the test.
pub(crate) struct Started(Option<Child>);

impl Started {
    /// Starts it and waits until a run has recorded a step.
    pub(crate) fn new(place: &Place, words: &str, run: &str) -> Started {
        let process = place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Started(Some(process));
        let metrics = place.path(run).join("metrics.jsonl");
        until("a step was recorded", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
        started
    }

    /// Sends what Ctrl-C sends, and waits until it has ended.
    fn interrupt(mut self) -> Output {
        let process = self.0.take().expect("it is interrupted once");
        assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
        process.wait_with_output().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(120), "two minutes, and not yet: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// The metrics without what a clock said.
pub(crate) fn metrics(run: &Path) -> Vec<Value> {
    let mut lines: Vec<Value> =
        fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().retain(|key, _| !key.ends_with("seconds"));
    }
    lines
}

const LONG: &str = "--set training.tokens=64000 --set training.checkpoint_every=300";

#[cfg(unix)]
#[test]
fn an_interrupted_training_saves_and_continues_with_the_same_bits() {
    let place = Place::new();
    place.good(&format!("train --config run.toml --out whole {LONG}"));
    let output = Started::new(&place, &format!("train --config run.toml --out run {LONG}"), "run").interrupt();
    assert_eq!(code(&output), 130, "{}", error(&output));
    let step = metrics(&place.path("run")).len();
    assert!(step < 2000, "it ended before it was interrupted");
    assert!(newest(&place.path("run")).ends_with(format!("step-{step:08}")));
    assert!(error(&output).contains(&format!("interrupted after step {step}; saved, continue with --resume run")));
    place.good("train --resume run");
    assert!(files(&newest(&place.path("run"))) == files(&newest(&place.path("whole"))));
    assert_eq!(metrics(&place.path("run")), metrics(&place.path("whole")));
}

#[test]
fn a_run_keeps_the_precision_that_it_began_with() {
    let place = Place::new();
    let precision = |run: &str| {
        let about: Value = serde_json::from_slice(&fs::read(place.path(run).join("run.json")).unwrap()).unwrap();
        about["configuration"]["training"]["precision"].as_str().unwrap().to_owned()
    };
    for words in ["--precision f32 --out f32", "--precision bf16 --out bf16", "--out auto"] {
        place.good(&format!("train --config run.toml {words}"));
    }
    place.good("train --resume bf16");
    assert_eq!((precision("f32"), precision("bf16")), ("f32".into(), "bf16".into()));
    // What `auto` comes to is what the processor is fast at, and one of the two.
    assert!(files(&newest(&place.path("auto"))) == files(&newest(&place.path(&precision("auto")))));
    assert!(files(&newest(&place.path("f32"))) != files(&newest(&place.path("bf16"))));
    assert_eq!(code(&place.run("train --resume bf16 --precision f32")), 2);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_being_written_is_read_but_not_written() {
    let place = Place::new();
    let words = "train --config run.toml --out run --set training.tokens=64000000 --set training.checkpoint_every=300";
    let started = Started::new(&place, words, "run");
    assert!(place.bad("train --resume run", 2).contains("run: another process is writing here"));
    assert!(place.bad("train --config run.toml --out run", 2).contains("run: the folder holds something"));
    until("a checkpoint was saved", || place.path("run/checkpoints/step-00000300").exists());
    place.good("generate run -p 1 --max-new 2");
    assert_eq!(code(&started.interrupt()), 130);
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_continues_in_its_folder() {
    let place = Place::new();
    let words =
        |out: &str| format!("compare --quick --mechanisms gqa,mla --seeds 1 --tokens 2048 --text text.txt --json --out {out}");
    let whole: Value = serde_json::from_str(&place.good(&words("whole"))).unwrap();
    let started = Started::new(&place, &words("c"), "c/runs/gqa-text-seed1");
    assert!(place.bad(&words("c"), 2).contains("c: another process is writing here"));
    let output = started.interrupt();
    assert_eq!(code(&output), 130, "{}", error(&output));
    assert!(error(&output).contains("run again with --out c to continue"), "{}", error(&output));
    let again: Value = serde_json::from_str(&place.good(&words("c"))).unwrap();
    for index in 0..2 {
        let of = |comparison: &Value| {
            [&comparison["mechanisms"][index]["loss"], &comparison["mechanisms"][index]["recall"]].map(Value::clone)
        };
        assert_eq!(of(&again), of(&whole));
        assert!(again["mechanisms"][index]["cpu_seconds"].as_f64().unwrap() > 0.0);
    }
    assert!(place.path("c/report.html").exists() && place.path("c/comparison.json").exists());
}

#[test]
fn a_training_that_diverges_says_which_checkpoint_stays() {
    let place = Place::new();
    let wild = "--set training.checkpoint_every=1 --set training.learning_rate";
    let line = place.bad(&format!("train --config run.toml --out none {wild}=1e38"), 3);
    assert!(line.contains(" is ") && line.contains("no checkpoint was saved before it"), "{line}");
    assert!(!place.path("none/checkpoints").exists());
    // Where keys are chosen, scores leave the finite numbers before the loss does.
    let line = place.bad(&format!("train --config run.toml --out sparse --set mechanism=dsa {wild}=1e38"), 3);
    assert!(line.contains("score of the indexer is ") && line.contains("no checkpoint was saved before it"), "{line}");
    let line = place.bad(&format!("train --config run.toml --out some {wild}=1e30"), 3);
    assert!(line.contains("the checkpoint of step 1 stays"), "{line}");
    place.good("generate some -p 1 --max-new 2");
}

#[test]
fn a_full_disk_costs_nothing_that_was_saved() {
    let place = Place::new();
    // A mount of its own name space: it needs no rights and is gone with the process. The filler leaves room for one checkpoint.
    let script = "mkdir disk && mount -t tmpfs -o size=1200k none disk || exit 77; head -c 1073152 /dev/zero > disk/filler\n\
                  \"$0\" train --config run.toml --out disk/run; echo \"exit $?\"; ls disk/run/checkpoints\n\
                  \"$0\" train --resume disk/run; echo \"exit $?\"\n\
                  rm disk/filler; \"$0\" train --resume disk/run; echo \"exit $?\"; cp -r disk/run run";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_attendant")])
        .current_dir(place.folder.path())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && !error(&output).contains("unshare") => output,
        other => return println!("skipped: no tiny disk here: {other:?}"),
    };
    let (said, talk) = (String::from_utf8_lossy(&output.stdout), error(&output));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["exit 1", "step-00000008", "exit 1"], "{said}{talk}");
    assert_eq!(lines.last(), Some(&"exit 0"), "{said}{talk}");
    for line in talk.lines() {
        assert!(line.starts_with("attendant: disk/run/") && line.contains("No space left on device"), "{talk}");
        assert!(line.ends_with("what was saved stays, continue with --resume disk/run"), "{talk}");
    }
    assert_eq!(talk.lines().count(), 2, "{talk}");
    place.good("train --config run.toml --out whole");
    assert!(files(&newest(&place.path("run"))) == files(&newest(&place.path("whole"))));
}
