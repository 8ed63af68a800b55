//! What a mechanism keeps between calls, declared as data.
//!
//! A mechanism names its *planes* of rows ([`Plane`]), each with a [`Growth`]. Bytes, paging, rings, snapshots, forks and
//! rewinding follow from that declaration; nothing here knows a mechanism.
//!
//! Reading comes before committing: a call reads the rows of the past in place, next to its own new rows, and appends the
//! new rows only afterwards. A ring may therefore overwrite freely: the early queries of a chunk have already read the
//! rows that the chunk's later rows replace.

#![forbid(unsafe_code)]

pub mod layout;
mod page;
pub mod sequence;
pub mod store;

pub use layout::{Growth, Paging, Plane, Precision, Rings, StateLayout, Storage};
pub use sequence::{LayerState, SequenceState, Snapshot};
pub use store::PlaneStore;
