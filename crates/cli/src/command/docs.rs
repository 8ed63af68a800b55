//! `attendant docs`

use crate::arguments::{Arguments, Docs, Document};
use crate::failure::{Done, Failure};
use crate::output::print;
use attendant_lab::config::Config;
use clap::{Command, CommandFactory};
use std::fmt::Write as _;

pub(crate) fn run(options: &Docs) -> Done {
    let mut command = Arguments::command();
    let mut out = Vec::new();
    match options.what {
        Document::Completions => clap_complete::generate(options.shell, &mut command, "attendant", &mut out),
        Document::Man => clap_mangen::Man::new(command).render(&mut out).map_err(|why| Failure::Failed(why.to_string()))?,
        Document::Cli => out = reference(command).into_bytes(),
        Document::Config => {
            let text = toml::to_string(&Config::default()).map_err(|why| Failure::Failed(why.to_string()))?;
            out = format!("```toml\n{text}```\n").into_bytes();
        }
    }
    print(String::from_utf8_lossy(&out))
}

fn reference(command: Command) -> String {
    let mut text = String::new();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let _ =
            writeln!(text, "## attendant {}\n\n{about}.\n\n| option | meaning | default |\n| --- | --- | --- |", sub.get_name());
        for argument in sub.get_arguments().filter(|argument| argument.get_id() != "help") {
            let values: Vec<String> = argument.get_value_names().into_iter().flatten().map(|name| format!(" {name}")).collect();
            let takes = if argument.get_action().takes_values() { values.concat() } else { String::new() };
            let name = match (argument.get_short(), argument.get_long()) {
                (Some(short), Some(long)) => format!("-{short}, --{long}{takes}"),
                (_, Some(long)) => format!("--{long}{takes}"),
                _ => takes.trim().to_string(),
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let shown = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
            let defaults: Vec<String> = if argument.get_action().takes_values() {
                argument.get_default_values().iter().map(|value| shown(value)).collect()
            } else {
                Vec::new()
            };
            let choices: Vec<String> = argument.get_possible_values().iter().map(|value| value.get_name().to_string()).collect();
            let choices = if choices.is_empty() || !argument.get_action().takes_values() {
                String::new()
            } else {
                format!(" ({})", choices.join(", "))
            };
            let _ = writeln!(text, "| `{name}` | {help}{choices} | {} |", defaults.join(","));
        }
        text.push('\n');
    }
    text
}
