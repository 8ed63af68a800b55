//! The `attendant` command. stdout is data, stderr is talk.

#![forbid(unsafe_code)]

mod arguments;
mod command;
mod failure;
mod model;
mod output;
mod progress;

use arguments::{Arguments, Command};
use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|why| why.exit());
    let done = match arguments.command {
        Command::Compare(options) => command::compare::run(&options),
        Command::Train(options) => command::train::run(&options),
        Command::Chat(options) => command::chat::run(&options),
        Command::Eval(options) => command::eval::run(&options),
        Command::Embed(options) => command::embed::run(&options),
        Command::Generate(options) => command::generate::run(&options),
        Command::Inspect(options) => command::inspect::run(&options),
        Command::Logits(options) => command::logits::run(&options),
        Command::Mechanisms(options) => command::mechanisms::run(&options),
        Command::Bench(options) => command::bench::run(&options, matches.subcommand_matches("bench")),
        Command::Sweep(options) => command::sweep::run(&options),
        Command::Docs(options) => command::docs::run(&options),
    };
    failure::exit(done)
}
