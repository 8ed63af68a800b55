//! What can go wrong in the laboratory, one line each.

use std::path::{Path, PathBuf};

/// The result of everything that can be refused or fail.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Why something was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A setting, shape or state that cannot be used.
    #[error(transparent)]
    Core(#[from] attendant_core::Error),
    /// A model that was not read or written.
    #[error(transparent)]
    Checkpoint(#[from] attendant_model::CheckpointError),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file or folder whose content cannot be used.
    #[error("{path}: {why}")]
    Content {
        /// Which file or folder.
        path: PathBuf,
        /// What was wanted and got.
        why: String,
    },
    /// Training left the finite numbers.
    #[error("step {step}: {what} is {value}; {}", stays(*.saved))]
    Numeric {
        /// The step that failed, from 1.
        step: u64,
        /// Which quantity.
        what: String,
        /// What it was.
        value: f64,
        /// The step of the last good checkpoint, if there is one.
        saved: Option<u64>,
    },
}

fn stays(saved: Option<u64>) -> String {
    saved.map_or_else(|| "no checkpoint was saved before it".into(), |step| format!("the checkpoint of step {step} stays"))
}

impl LabError {
    /// A [`LabError::Io`].
    pub fn io(path: &Path, source: std::io::Error) -> LabError {
        LabError::Io { path: path.into(), source }
    }

    /// A [`LabError::Content`].
    pub fn content(path: &Path, why: impl std::fmt::Display) -> LabError {
        LabError::Content { path: path.into(), why: why.to_string().replace('\n', " ") }
    }

    /// A [`LabError::Content`] about JSON.
    pub fn json(path: &Path, why: serde_json::Error) -> LabError {
        LabError::content(path, why)
    }
}
