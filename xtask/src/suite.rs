//! Running tests: the command the README gives, and how many tests ran.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// What one line of a test program's output says, if it is the closing one.
    fn of_line(line: &str) -> Option<Tally> {
        let counts = line.strip_prefix("test result: ")?;
        let count = |what: &str| counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
        Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs a test command, passes what it prints on to `out`, and counts.
///
/// # Errors
/// With the count so far, if the command fails, or if not a single test ran.
pub(crate) fn run(command: &mut Command, out: &mut impl Write) -> (Tally, Result<(), String>) {
    let mut tally = Tally::default();
    let result =
        stream(command, out, &mut tally).and_then(|()| if tally.passed == 0 { Err("no test ran".into()) } else { Ok(()) });
    (tally, result)
}

fn stream(command: &mut Command, out: &mut impl Write, tally: &mut Tally) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cargo test: {e}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let lines = BufReader::new(child.stdout.take().expect("standard output was asked for")).split(b'\n');
    for line in lines {
        let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
        writeln!(out, "{line}").map_err(failed)?;
        if let Some(part) = Tally::of_line(&line) {
            *tally += part;
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("{status}")) }
}

/// The words after `cargo` of the test command in a fenced block of the README: what a newcomer types is what is checked.
///
/// # Errors
/// If there is none, or it leaves crates out.
pub(crate) fn command_in(readme: &str) -> Result<Vec<&str>, String> {
    let mut fenced = false;
    let command = readme.lines().find(|line| {
        fenced ^= line.starts_with("```");
        fenced && line.starts_with("cargo test")
    });
    let command = command.ok_or("README.md gives no test command: no fenced block has a line that begins with `cargo test`")?;
    let words: Vec<_> = command.split('#').next().unwrap_or(command).split_whitespace().skip(1).collect();
    if words.contains(&"--workspace") {
        Ok(words)
    } else {
        Err(format!("README.md: {command:?} leaves crates out; it wants --workspace"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.52s";
        assert_eq!(Tally::of_line(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(Tally::of_line("test a::b ... ok"), None);
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn several_programs_are_added_up() {
        let line = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'";
        let (tally, result) = run(&mut shell(&format!("{line}; {line}")), &mut Vec::new());
        assert_eq!((tally, result), (Tally { passed: 4, failed: 0, skipped: 2 }, Ok(())));
        let (tally, result) = run(&mut shell(&format!("{line}; exit 101")), &mut Vec::new());
        assert_eq!(tally.passed, 2);
        assert!(result.unwrap_err().contains("101"));
    }

    #[test]
    fn a_run_without_a_test_fails() {
        let line = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        let mut shown = Vec::new();
        let (_, result) = run(&mut shell(&format!("echo '{line}'")), &mut shown);
        assert_eq!(String::from_utf8(shown), Ok(format!("{line}\n")));
        assert_eq!(result, Err("no test ran".into()));
    }

    #[test]
    fn the_readme_says_how_to_test() {
        let readme =
            "cargo test --outside\n```sh\ncargo build\n```\nTo test:\n```sh\ncargo test --workspace --quiet # all of it\n```\n";
        assert_eq!(command_in(readme), Ok(vec!["test", "--workspace", "--quiet"]));
        assert!(command_in("cargo test --workspace\n").unwrap_err().contains("no fenced block"));
        assert!(command_in("```\ncargo test\n```\n").unwrap_err().contains("--workspace"));
    }
}
