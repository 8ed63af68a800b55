//! stdout for data, stderr for talk.

use crate::failure::{Done, Failure};
use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes data to stdout, as it is.
///
/// # Errors
/// [`Failure::Closed`] if the reader has gone, as `head` does when it has seen enough; that is the end, and no failure.
pub(crate) fn print(text: impl AsRef<str>) -> Done {
    fn write(mut out: impl Write, text: &str) -> io::Result<()> {
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }
    let text = text.as_ref();
    // Only a terminal may need what it is told translated; for whoever else reads, an escape sequence is data as any other.
    let terminal = io::stdout().is_terminal();
    let written = if terminal { write(anstream::stdout().lock(), text) } else { write(io::stdout().lock(), text) };
    written.map_err(unwritable)
}

/// Writes text that a model made to stdout: as it is, but what would steer a terminal is shown there and not obeyed.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_generated(text: &str) -> Done {
    if io::stdout().is_terminal() { print(harmless(text)) } else { print(text) }
}

/// Says something on stderr. If nobody can hear it, that changes nothing.
pub(crate) fn say(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", harmless(text.as_ref()));
}

/// Asks for something on stderr, in the line where it is typed.
pub(crate) fn ask(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Text with every control character escaped that is no line break and no tab.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    escaped(text, steers)
}

/// Text with every control character escaped, which is one line then.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

fn escaped(text: &str, which: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&which) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if which(character) { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown.into()
}

fn unwritable(why: io::Error) -> Failure {
    if why.kind() == ErrorKind::BrokenPipe { Failure::Closed } else { Failure::Failed(format!("stdout: {why}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        let text = "ä\t1\n\u{1b}[2J\r\u{7}\u{9b}";
        assert_eq!(harmless(text), "ä\t1\n\\u{1b}[2J\\r\\u{7}\\u{9b}");
        assert_eq!(one_line(text), "ä\\t1\\n\\u{1b}[2J\\r\\u{7}\\u{9b}");
        assert!(matches!(harmless("C:\\ä"), Cow::Borrowed(_)));
    }
}
