//! stdout for data, stderr for talk.

use crate::failure::{Done, Failure};
use std::io::{self, ErrorKind, Write};

/// Writes data to stdout.
///
/// # Errors
/// [`Failure::Closed`] if the reader has gone, as `head` does when it has seen enough; that is the end, and no failure.
pub(crate) fn print(text: impl AsRef<str>) -> Done {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_ref().as_bytes()).and_then(|()| out.flush()).map_err(unwritable)
}

/// Says something on stderr. If nobody can hear it, that changes nothing.
pub(crate) fn say(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
}

fn unwritable(why: io::Error) -> Failure {
    if why.kind() == ErrorKind::BrokenPipe { Failure::Closed } else { Failure::Failed(format!("stdout: {why}")) }
}
