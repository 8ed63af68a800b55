//! Attention mechanisms, each one file: one forward for training, prefill and decode, and a plain oracle.
//!
//! A mechanism is a file in `mechanisms/` and a line in [`registry`]. Everything else (training, generation, paging, byte
//! counts, a place in every comparison, a documentation row, the exam) follows from what it declares.

#![forbid(unsafe_code)]

pub mod batch;
pub mod card;
pub mod context;
pub mod exam;
pub mod mechanism;
pub mod mechanisms;
pub mod observer;
mod oracle;
pub mod pattern;
pub mod qk_norm;
pub mod registry;
pub mod rotary;
pub mod temperature;

pub use attendant_core as core;
pub use attendant_state as state;
pub use batch::{Batch, Sequence};
pub use card::{Card, Order, Tier};
pub use context::{Context, Memory};
pub use mechanism::{Bound, Init, Mechanism, Oracle, Parameter, Parameters, Registered, Size};
pub use observer::{AttentionMap, NamedRows, Observer};
pub use pattern::{Bias, Pattern, See};
pub use qk_norm::{NormKind, NormScope, QkNorm};
pub use registry::{Kind, Preset, build, kinds, preset, presets};
pub use rotary::{Rotary, Scaling};
pub use temperature::Temperature;
