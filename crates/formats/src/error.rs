//! Refusals: one line that names the file, the field and the byte, whatever the file holds.

use std::fmt::{self, Display, Write};
use std::path::{Path, PathBuf};

/// The longest field and the longest reason that are printed, in characters.
const LONGEST: usize = 400;
/// How much of a name from a file is printed, in characters.
const LONGEST_NAME: usize = 80;

/// The result of everything that reads content, which knows no file.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Why some content cannot be used. Prints as one line of bounded length: what is put in may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    field: String,
    offset: Option<u64>,
    why: String,
}

impl Refusal {
    /// Refuses `field`; `why` says what was wanted and got. Names from a file go through [`quoted`].
    pub fn new(field: impl Display, why: impl Display) -> Refusal {
        Refusal { field: one_line(field), offset: None, why: one_line(why) }
    }

    /// Says at which byte of the file the trouble begins.
    pub fn at(self, offset: usize) -> Refusal {
        Refusal { offset: Some(offset as u64), ..self }
    }

    /// Says in which file.
    pub fn in_file(self, path: &Path) -> Error {
        Error::Refused { path: path.into(), refusal: self }
    }

    /// What was refused.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The byte of the file where the trouble begins, where it has one.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}, byte {offset}: {}", self.field, self.why),
            None => write!(f, "{}: {}", self.field, self.why),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{}: {source}", shown(path))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The content cannot be used.
    #[error("{}: {refusal}", shown(path))]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What of it, and why.
        refusal: Refusal,
    },
}

impl Error {
    /// The file system's refusal of `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Error {
        Error::Io { path: path.into(), source }
    }
}

/// A path as it was given, without the line breaks and colours that the name of a downloaded file may hold.
fn shown(path: &Path) -> String {
    one_line(path.display())
}

/// Text on one line, of bounded length, with everything escaped that would leave the line or colour the terminal.
pub(crate) fn one_line(text: impl Display) -> String {
    let mut line = OneLine::default();
    // Writing stops with an error where the line is full; what stands is then cut, which is what is wanted.
    let full = write!(line, "{text}").is_err();
    line.text + if full { "…" } else { "" }
}

/// A name from a file in quotes, escaped and cut to a length that can be printed.
pub fn quoted(name: &str) -> impl Display + '_ {
    struct Quoted<'a>(&'a str);
    impl Display for Quoted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let cut = self.0.char_indices().nth(LONGEST_NAME).map_or(self.0.len(), |(at, _)| at);
            let rest = if cut < self.0.len() { "…" } else { "" };
            write!(f, "\"{}{rest}\"", self.0[..cut].escape_debug())
        }
    }
    Quoted(name)
}

#[derive(Default)]
struct OneLine {
    text: String,
    characters: usize,
}

impl Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.characters == LONGEST {
                return Err(fmt::Error);
            }
            self.characters += 1;
            match character {
                '"' | '\'' | '\\' => self.text.push(character),
                other => self.text.extend(other.escape_debug()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_of_bounded_length() {
        let nasty = "a\nb\u{1b}[31m\u{202e}\"".repeat(1000);
        let refusal = Refusal::new(quoted(&nasty), format_args!("wanted a name, got {nasty}")).at(7);
        let line = refusal.in_file(Path::new("x\n\u{1b}.gguf")).to_string();
        assert!(line.starts_with("x\\n\\u{1b}.gguf: \"a\\nb\\u{1b}[31m\\u{202e}\\\"a"), "{line}");
        assert!(line.chars().all(|character| !character.is_control()), "{line}");
        assert!(line.contains(", byte 7: wanted a name"), "{line}");
        assert!(line.len() < 20 * LONGEST, "{}", line.len());
    }

    #[test]
    fn a_short_name_stays_as_it_is() {
        assert_eq!(quoted("model.größe.0").to_string(), "\"model.größe.0\"");
        assert_eq!(Refusal::new("d_model", "missing").to_string(), "d_model: missing");
    }
}
