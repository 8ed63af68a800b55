//! Programs that cargo has built, by what it says of them in JSON.

use crate::cargo;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program and what it was built as.
pub(crate) struct Program {
    /// The name of its target: `attendant`, `exam`.
    pub(crate) name: String,
    /// Whether it runs tests.
    pub(crate) test: bool,
    pub(crate) path: PathBuf,
}

/// Builds with `cargo WORDS` and gives every program that came of it.
///
/// # Errors
/// If cargo cannot be run or the build fails.
pub(crate) fn programs(words: &[&str], environment: &[(&str, &str)]) -> Result<Vec<Program>, String> {
    let mut command: Command = cargo();
    command.args(words).args(["--message-format", "json-render-diagnostics"]).envs(environment.iter().copied());
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo {}: {}", words.join(" "), output.status));
    }
    let messages = output.stdout.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let program = |message: Value| {
        Some(Program {
            name: message["target"]["name"].as_str()?.to_owned(),
            test: message["profile"]["test"] == true,
            path: message["executable"].as_str()?.into(),
        })
    };
    Ok(messages.filter_map(program).collect())
}
