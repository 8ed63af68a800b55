//! Why a model was not fetched: one line, whatever a server sent.

use attendant_formats::Refusal;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name, a setting, or what the hub answered cannot be used.
    #[error("{0}")]
    Refused(Refusal),
    /// The hub cannot be reached or is not well; later it may be.
    #[error("{0}")]
    Unreached(Refusal),
    /// The file system refused. What was fetched before stays, and the next attempt continues there.
    #[error("{}", Refusal::new(path.display(), source))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn refused(what: impl Display, why: impl Display) -> Error {
        Error::Refused(Refusal::new(what, why))
    }

    pub(crate) fn unreached(what: impl Display, why: impl Display) -> Error {
        Error::Unreached(Refusal::new(what, why))
    }

    /// For `map_err`: the file system's refusal of `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.into(), source }
    }
}
