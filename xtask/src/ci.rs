//! `cargo x ci`: everything a change must pass, cheapest first.

use crate::flags::Flags;
use crate::suite::{self, Tally};
use crate::{cargo, docs, root, tidy};
use std::fs;
use std::io::stdout;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a step has to say at the end besides that it passed.
type Outcome = Result<String, String>;

struct Step {
    name: &'static str,
    run: fn(&mut Tally) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |_| format() },
    Step { name: "tidy", run: |_| tidy::run().map(|()| String::new()) },
    Step {
        name: "clippy",
        run: |_| run_cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]),
    },
    Step {
        name: "docs",
        run: |_| run_cargo(&["doc", "--locked", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]),
    },
    Step { name: "test", run: test },
    Step { name: "exam", run: exam },
    Step { name: "generated", run: |_| docs::current().map(|()| String::new()) },
];

/// The registry's lines declare the files of the mechanisms, and `cargo fmt` finds no module that a macro declares: those
/// files are named to rustfmt.
fn format() -> Outcome {
    run_cargo(&["fmt", "--all", "--check"], &[])?;
    let folder = root().join("crates/mech/src/mechanisms");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // rustfmt finds what these declare in folders of their own.
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    let status = Command::new("rustfmt").args(["--check", "--edition", "2024"]).args(files).current_dir(root()).status();
    match status.map_err(|e| format!("rustfmt: {e}"))?.success() {
        true => Ok(String::new()),
        false => Err("a mechanism's file is not formatted".into()),
    }
}

/// Runs every step, or those that `--only` names, until one fails.
///
/// # Errors
/// If a step fails.
pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let mut only = Vec::new();
    while let Some(name) = flags.value::<String>("--only")? {
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            return Err(format!("--only: got {name:?}, the steps are {}", names.join(", ")));
        }
        only.push(name);
    }
    flags.finish()?;
    let wanted = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    let steps: Vec<_> = STEPS.iter().filter(wanted).collect();
    let mut tally = Tally::default();
    let mut results: Vec<(Duration, Outcome)> = Vec::new();
    for step in &steps {
        println!("== {}", step.name);
        let start = Instant::now();
        let result = (step.run)(&mut tally);
        let time = start.elapsed();
        println!("== {}", verdict(step, time, &result));
        let failed = result.is_err();
        results.push((time, result));
        if failed {
            break;
        }
    }
    summarize(&steps, &results, tally)
}

fn summarize(steps: &[&Step], results: &[(Duration, Outcome)], tally: Tally) -> Result<(), String> {
    println!("\n== summary");
    for (step, (time, result)) in steps.iter().zip(results) {
        println!("{}", verdict(step, *time, result));
    }
    for step in &steps[results.len()..] {
        println!("{:<10} not run", step.name);
    }
    if tally != Tally::default() {
        println!("{tally}");
    }
    let broken = steps.iter().zip(results).find(|(_, (_, result))| result.is_err());
    broken.map_or(Ok(()), |(step, _)| Err(format!("ci: {} failed", step.name)))
}

fn verdict(step: &Step, time: Duration, result: &Outcome) -> String {
    let (word, note) = match result {
        Ok(note) => ("ok", note),
        Err(why) => ("FAILED", why),
    };
    format!("{:<10} {word:<6} {:>7.1} s  {note}", step.name, time.as_secs_f64()).trim_end().to_owned()
}

fn run_cargo(words: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let status = cargo().args(words).envs(environment.iter().copied()).status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(String::new()) } else { Err(format!("cargo {}: {status}", words[0])) }
}

fn test(tally: &mut Tally) -> Outcome {
    let readme = fs::read_to_string(root().join("README.md")).map_err(|e| format!("README.md: {e}"))?;
    let words = suite::command_in(&readme)?;
    let (part, result) = suite::run(cargo().args(&words), &mut stdout());
    *tally += part;
    result.map(|()| format!("{part}, by `cargo {}`", words.join(" ")))
}

/// The tests of the mechanisms once more on every instruction set this machine has.
fn exam(tally: &mut Tally) -> Outcome {
    let mut note = Vec::new();
    let programs = test_programs("crates/mech/tests")?;
    for (isa, available) in instruction_sets() {
        if !available {
            println!("-- exam on {isa}: NOT RUN, this processor lacks it");
            note.push(format!("{isa} NOT RUN (this processor lacks it)"));
            continue;
        }
        println!("-- exam on {isa}");
        let mut command = cargo();
        // With --package the features of what lies below would be others, and every kernel would be built once more.
        command.args(["test", "--locked", "--workspace"]).env("ATTENDANT_ISA", isa);
        for program in &programs {
            command.args(["--test", program]);
        }
        let (part, result) = suite::run(&mut command, &mut stdout());
        *tally += part;
        result.map_err(|why| format!("on {isa}: {why}"))?;
        note.push(format!("{isa} {} passed", part.passed));
    }
    Ok(note.join(", "))
}

/// The names of the test programs in a folder.
fn test_programs(folder: &str) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(root().join(folder)).map_err(|e| format!("{folder}: {e}"))?;
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let mut names: Vec<String> = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The names that `ATTENDANT_ISA` takes, and whether this processor has the set: what `Isa::available` in `attendant-kernels` asks,
/// asked again here because a chore depends on no crate of the workspace.
fn instruction_sets() -> [(&'static str, bool); 6] {
    #[cfg(target_arch = "x86_64")]
    let (avx2, avx512, bf16) = {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2 && is_x86_feature_detected!("avx512f");
        (avx2, avx512, avx512 && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512bf16"))
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (avx2, avx512, bf16) = (false, false, false);
    // Nothing stable asks the processor for AMX; Linux says so if it also saves its registers.
    let amx =
        bf16 && fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" amx_bf16 ") && text.contains(" amx_tile "));
    [("scalar", true), ("scalar16", true), ("avx2", avx2), ("avx512", avx512), ("avx512bf16", bf16), ("amx", amx)]
}
