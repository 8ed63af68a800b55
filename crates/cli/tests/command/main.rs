//! The command as its users meet it: exit codes, stdout and stderr, and folders that survive whatever happens to them.

mod embed;
mod further;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod input;
mod inspect;
mod interruption;
mod published;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with a text and the configuration of a run on it that takes a moment.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let line = |i: u32| format!("{i} times {} is {}; the rest is silence.\n", i % 7, i * (i % 7));
        fs::write(folder.path().join("text.txt"), (0..400).map(line).collect::<String>()).unwrap();
        let text = folder.path().join("text.txt");
        let config = format!(
            "[model]\nlayers = 2\nd_model = 16\nheads = 4\nd_head = 4\nd_ff = 16\n\
             [data]\ntext = '{}'\nvocabulary = \"bytes\"\ncontext = 16\nbatch = 2\n\
             [training]\ntokens = 640\nvalidate_every = 5\nvalidation_tokens = 64\ncheckpoint_every = 8\n",
            text.display()
        );
        fs::write(folder.path().join("run.toml"), config).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with words that are parted by spaces; it runs in the folder.
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attendant"));
        command.current_dir(self.folder.path()).args(words.split(' ')).env_remove("ATTENDANT_ISA").env_remove("NO_COLOR");
        // Nobody beyond this machine is asked.
        command.env("HF_HUB_OFFLINE", "1");
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs what must go well and gives its stdout.
    fn good(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(code(&output), 0, "{words}: {}", error(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail with this code and one line on stderr, and gives that line.
    fn bad(&self, words: &str, want: i32) -> String {
        let output = self.run(words);
        let line = error(&output);
        assert_eq!((code(&output), line.lines().count()), (want, 1), "{words}: {line}");
        assert!(output.stdout.is_empty(), "{words}: {:?}", String::from_utf8_lossy(&output.stdout));
        line
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file under a folder with its content, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The newest checkpoint of a run.
fn newest(run: &Path) -> PathBuf {
    let steps = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    steps.max().expect("there is a checkpoint")
}
