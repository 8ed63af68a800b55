//! What can go wrong below the command: every error names what, where, wanted and got in one line.

/// The result of everything that can be refused.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Rows or a tensor of another shape than needed.
    #[error("{what}: wanted shape {want}, got {got}")]
    Shape {
        /// Which rows or tensor.
        what: String,
        /// The shape needed, as text, since a side of it may be free.
        want: String,
        /// The shape given.
        got: String,
    },
    /// A setting that cannot be used.
    #[error("{field}: {why}")]
    Config {
        /// Which setting.
        field: String,
        /// What it was and what would do.
        why: String,
    },
    /// State that does not fit the call: a plane that is missing, full, or at another position.
    #[error("state {plane}: {why}")]
    State {
        /// Which plane.
        plane: String,
        /// What was wanted of it and what it holds.
        why: String,
    },
    /// A quantity that something is chosen by and that is no finite number.
    #[error("{what}: got {value}, wanted a number")]
    Numeric {
        /// Which quantity.
        what: String,
        /// What it was.
        value: f64,
    },
}

impl Error {
    /// A [`Error::Config`].
    pub fn config(field: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Config { field: field.into(), why: why.into() }
    }

    /// A [`Error::Shape`].
    pub fn shape(what: impl Into<String>, want: impl Into<String>, got: impl Into<String>) -> Error {
        Error::Shape { what: what.into(), want: want.into(), got: got.into() }
    }
}

/// Fails with [`Error::Numeric`] unless all values can be ranked.
///
/// # Errors
/// `what` and the first value that is not finite.
pub fn finite(what: &str, values: impl IntoIterator<Item = f64>) -> Result<()> {
    match values.into_iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::Numeric { what: what.into(), value }),
        None => Ok(()),
    }
}

/// Fails with [`Error::Config`] unless `ok`.
///
/// # Errors
/// `field` and what `why` says.
pub fn require(ok: bool, field: &str, why: impl FnOnce() -> String) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::config(field, why())) }
}
