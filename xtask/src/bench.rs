//! `cargo x bench` and `cargo x table`: this working tree beside another revision of itself, and beside other programs, in turn.
//!
//! A shared machine drifts by more than most changes give, so only figures of one round compare: every round runs each program once, and what is
//! printed are medians over rounds and the ratio of those. Others take the words of `attendant bench` and print lines as its `--json` does.

mod line;
mod sections;
mod table;

use crate::flags::Flags;
use crate::{cargo, root, target_folder};
use line::Line;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use table::Table;

pub(crate) use sections::run as run_table;

/// A program that is told what to measure, and its name in the table.
struct Program {
    name: String,
    start: Start,
}

enum Start {
    /// Our own: `attendant bench WORD... --json`.
    Attendant(PathBuf),
    /// A line of shell, with the words after it.
    Shell(String),
}

impl Program {
    fn command(&self, words: &[String]) -> Command {
        match &self.start {
            Start::Attendant(path) => {
                let mut command = Command::new(path);
                command.arg("bench").args(words).arg("--json");
                command
            }
            Start::Shell(line) => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("{line} \"$@\""), "sh"]).args(words).current_dir(root());
                command
            }
        }
    }
}

/// What `--peer`, `--against` and `--rounds` say.
struct Programs {
    programs: Vec<Program>,
    rounds: usize,
    target: PathBuf,
}

impl Programs {
    /// Builds our own.
    fn from(flags: &mut Flags) -> Result<Programs, String> {
        let against: Option<String> = flags.value("--against")?;
        let rounds = flags.value("--rounds")?.unwrap_or(3usize);
        let mut peers = Vec::new();
        while let Some(peer) = flags.value::<String>("--peer")? {
            let (name, line) = peer.split_once('=').ok_or_else(|| format!("--peer: got {peer:?}, wanted NAME=COMMAND"))?;
            peers.push(Program { name: name.into(), start: Start::Shell(line.into()) });
        }
        if rounds == 0 {
            return Err("--rounds: got 0, wanted at least one".into());
        }
        let target = target_folder()?;
        let mut programs = vec![attendant("attendant", root(), &target)?];
        if let Some(revision) = &against {
            let folder = checkout(revision, &target.join("bench").join("revision"))?;
            programs.push(attendant(revision, &folder, &target.join("bench").join("target"))?);
        }
        programs.extend(peers);
        Ok(Programs { programs, rounds, target })
    }

    /// The file that takes every line that is read.
    fn log(&self) -> Result<(PathBuf, File), String> {
        let (folder, name) = (self.target.join("bench"), "lines.jsonl");
        let path = folder.join(name);
        let file = std::fs::create_dir_all(&folder).and_then(|()| File::create(&path));
        Ok((path.clone(), file.map_err(|why| format!("{}: {why}", path.display()))?))
    }

    /// Runs each program once a round, in turn, and keeps what it printed.
    fn measure(&self, words: &[String], mut table: Table, log: &mut File) -> Result<Table, String> {
        for round in 1..=self.rounds {
            for (column, program) in self.programs.iter().enumerate() {
                eprintln!("{}: round {round} of {}: {}", words[0], self.rounds, program.name);
                let output = program.command(words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
                let output = output.map_err(|why| format!("{}: {why}", program.name))?;
                if !output.status.success() {
                    return Err(format!("{}: {}", program.name, output.status));
                }
                log.write_all(&output.stdout).map_err(|why| format!("the log of lines: {why}"))?;
                let text = String::from_utf8_lossy(&output.stdout);
                text.lines().filter_map(Line::parse).for_each(|line| table.add(column, line));
            }
        }
        Ok(table)
    }

    fn table(&self, aims: Vec<table::Aim>) -> Table {
        Table::new(self.programs.iter().map(|program| program.name.clone()), aims)
    }
}

/// Measures one thing.
///
/// # Errors
/// If a program does not build or fails.
pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let words = flags.rest();
    if words.is_empty() {
        return Err("bench: wants after -- what `attendant bench` is to be asked".into());
    }
    let programs = Programs::from(&mut flags)?;
    flags.finish()?;
    let (path, mut log) = programs.log()?;
    print!("{}", programs.measure(&words, programs.table(Vec::new()), &mut log)?);
    eprintln!("every line that was read: {}", path.display());
    Ok(())
}

/// The build of a workspace in `folder`.
fn attendant(name: &str, folder: &Path, target: &Path) -> Result<Program, String> {
    let mut build = cargo();
    build.current_dir(folder).args(["build", "--release", "--locked", "--quiet", "--package", "attendant"]);
    let status = build.env("CARGO_TARGET_DIR", target).status().map_err(|why| format!("cargo build: {why}"))?;
    if !status.success() {
        return Err(format!("{name} in {} does not build", folder.display()));
    }
    let program = target.join("release").join(format!("attendant{}", std::env::consts::EXE_SUFFIX));
    Ok(Program { name: name.into(), start: Start::Attendant(program) })
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
