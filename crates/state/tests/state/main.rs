//! Stores against a plain model: every row that was ever appended, in a list.

mod archive;
mod bytes;
mod cases;
mod history;
mod model;
mod precision;
mod ring;
