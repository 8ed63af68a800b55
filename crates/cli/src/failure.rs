//! How the command ends: 0 fine, 1 failed, 2 usage or bad input, 3 numerical failure, 130 interrupted.

use crate::output::{one_line, say};
use attendant_lab::LabError;
use attendant_model::CheckpointError;
use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Why the command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something in the surroundings: a disk, a pipe.
    Failed(String),
    /// What it was given cannot be used.
    Refused(String),
    /// Training left the finite numbers.
    Numeric(String),
    /// It was asked to stop, and saved.
    Interrupted(String),
    /// Whoever read stdout has gone. Nobody is left to tell, and nothing failed.
    Closed,
}

/// The result of a command.
pub(crate) type Done = Result<(), Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(why) | Failure::Refused(why) | Failure::Numeric(why) | Failure::Interrupted(why) => f.write_str(why),
            Failure::Closed => f.write_str("stdout: closed"),
        }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Failure {
        let line = error.to_string();
        match error {
            LabError::Numeric { .. } => Failure::Numeric(line),
            LabError::Io { source, .. } | LabError::Checkpoint(CheckpointError::Io { source, .. }) => match source.kind() {
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::PermissionDenied
                | ErrorKind::InvalidData => Failure::Refused(line),
                _ => Failure::Failed(line),
            },
            _ => Failure::Refused(line),
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Failure {
        LabError::from(error).into()
    }
}

impl From<attendant_core::Error> for Failure {
    fn from(error: attendant_core::Error) -> Failure {
        Failure::Refused(error.to_string())
    }
}

/// Says why on stderr and gives the exit code.
pub(crate) fn exit(done: Done) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::Closed) {
        say(format!("attendant: {}", one_line(&failure.to_string())));
    }
    ExitCode::from(match failure {
        Failure::Closed => 0,
        Failure::Failed(_) => 1,
        Failure::Refused(_) => 2,
        Failure::Numeric(_) => 3,
        Failure::Interrupted(_) => 130,
    })
}
