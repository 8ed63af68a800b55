//! `attendant docs`

use crate::arguments::{Arguments, Docs, Document};
use crate::failure::{Done, Failure};
use crate::output::print;
use attendant_lab::config::Config;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::fmt::Write as _;
use std::io::{self, Write as _};

const EXIT_CODES: &str = "0 fine, 1 failed, 2 usage or bad input, 3 training left the finite numbers, 130 interrupted.";

pub(crate) fn run(options: &Docs) -> Done {
    let mut command = Arguments::command();
    let mut out = Vec::new();
    match options.what {
        Document::Completions => clap_complete::generate(options.shell, &mut command, "attendant", &mut out),
        Document::Man => manual(command, &mut out).map_err(|why| Failure::Failed(why.to_string()))?,
        Document::Cli => out = reference(command).into_bytes(),
        Document::Config => {
            out = toml::to_string(&Config::default()).map_err(|why| Failure::Failed(why.to_string()))?.into_bytes();
        }
    }
    print(String::from_utf8_lossy(&out))
}

/// One page for everything: the command, then a section for each of its own commands.
fn manual(mut command: Command, out: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, ".SH \"ATTENDANT {}\"\n{about}.", sub.get_name().to_uppercase())?;
        let mut options = Vec::new();
        Man::new(sub.clone()).render_options_section(&mut options)?;
        // The section's own heading would come between a command and its options.
        out.extend(String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "").bytes());
    }
    writeln!(out, ".SH \"EXIT STATUS\"\n{EXIT_CODES}")?;
    page.render_version_section(out)
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
