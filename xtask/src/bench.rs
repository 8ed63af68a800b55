//! `cargo x bench`: this working tree beside another revision of itself, and beside other programs, in turn.
//!
//! A shared machine drifts by more than most changes give, so only figures of one round compare: every round runs each program once, and what is
//! printed are medians over rounds and the ratio of those. Others print the lines that `attendant bench --json` prints.

mod line;
mod table;

use crate::flags::Flags;
use crate::{cargo, root, target_folder};
use line::Line;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use table::Table;

/// A program that prints lines, and its name in the table.
struct Program {
    name: String,
    command: Command,
}

pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let words = flags.rest();
    let against: Option<String> = flags.value("--against")?;
    let rounds = flags.value("--rounds")?.unwrap_or(3usize);
    let mut peers = Vec::new();
    while let Some(peer) = flags.value::<String>("--peer")? {
        peers.push(peer);
    }
    flags.finish()?;
    if words.is_empty() || rounds == 0 {
        return Err("bench: wants at least one round, and after -- what `attendant bench` is to be asked".into());
    }
    let target = target_folder()?;
    let mut programs = vec![attendant("attendant", root(), &target, &words)?];
    if let Some(revision) = &against {
        let folder = checkout(revision, &target.join("bench").join("revision"))?;
        programs.push(attendant(revision, &folder, &target.join("bench").join("target"), &words)?);
    }
    for peer in &peers {
        let mut command = Command::new("sh");
        command.args(["-c", peer]);
        programs.push(Program { name: peer.clone(), command });
    }
    let log = target.join("bench").join("lines.jsonl");
    let table = measure(&mut programs, rounds, &log)?;
    print!("{table}");
    eprintln!("every line that was read: {}", log.display());
    Ok(())
}

/// The build of a workspace in `folder`, asked for `words`.
fn attendant(name: &str, folder: &Path, target: &Path, words: &[String]) -> Result<Program, String> {
    let mut build = cargo();
    build.current_dir(folder).args(["build", "--release", "--locked", "--quiet", "--package", "attendant"]);
    let status = build.env("CARGO_TARGET_DIR", target).status().map_err(|why| format!("cargo build: {why}"))?;
    if !status.success() {
        return Err(format!("{name} in {} does not build", folder.display()));
    }
    let program = target.join("release").join(format!("attendant{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(program);
    command.arg("bench").args(words).arg("--json");
    Ok(Program { name: name.into(), command })
}

/// A work tree of `revision` in `folder`, made anew or moved there.
fn checkout(revision: &str, folder: &Path) -> Result<PathBuf, String> {
    let git = |arguments: &[&str]| -> Result<(), String> {
        let output = Command::new("git").current_dir(root()).args(arguments).output().map_err(|why| format!("git: {why}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        output.status.success().then_some(()).ok_or_else(|| format!("git {}: {}", arguments.join(" "), said.trim()))
    };
    let path = folder.to_str().ok_or("bench: the target folder has a name that is not Unicode")?;
    if folder.exists() {
        git(&["-C", path, "checkout", "--quiet", "--detach", revision])?;
    } else {
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--quiet", "--detach", path, revision])?;
    }
    Ok(folder.to_owned())
}

/// Runs each program once a round, in turn, and keeps what it printed.
fn measure(programs: &mut [Program], rounds: usize, log: &Path) -> Result<Table, String> {
    let folder = log.parent().expect("the log lies in a folder");
    let failed = |why: std::io::Error| format!("{}: {why}", log.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut log_file = std::fs::File::create(log).map_err(failed)?;
    let mut table = Table::new(programs.iter().map(|program| program.name.clone()));
    for round in 1..=rounds {
        for (column, program) in programs.iter_mut().enumerate() {
            eprintln!("round {round} of {rounds}: {}", program.name);
            let output = program.command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
            let output = output.map_err(|why| format!("{}: {why}", program.name))?;
            if !output.status.success() {
                return Err(format!("{}: {}", program.name, output.status));
            }
            log_file.write_all(&output.stdout).map_err(failed)?;
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().filter_map(Line::parse).for_each(|line| table.add(column, line));
        }
    }
    Ok(table)
}
