//! Models by the name that a hub knows them by, such as `HuggingFaceTB/SmolLM2-135M-Instruct`.
//!
//! What is fetched lies in the cache that Python's `huggingface_hub` keeps, file for file as that package would have put it: what one has
//! fetched the other finds. A server is not trusted: see [`Hub::fetch`].

#![forbid(unsafe_code)]

mod cache;
mod choice;
mod client;
mod download;
mod error;
mod headers;
mod hub;
mod listing;
mod name;
mod path;
mod settings;
mod wanted;

pub use error::{Error, Result};
pub use hub::{Event, Hub, Part};
pub use name::Name;
pub use settings::{Patience, Settings, Token};
