//! What a mechanism keeps between calls, declared as data.
//!
//! A mechanism names its *planes* of rows ([`Plane`]), each with a [`Growth`]. Bytes, paging, rings, quantised rows,
//! snapshots, forks, rewinding and files follow from that declaration; nothing here knows a mechanism.
//!
//! Reading comes before committing: a call reads the rows of the past in place, next to its own new rows, and appends the
//! new rows only afterwards. A ring may therefore overwrite freely: the early queries of a chunk have already read the
//! rows that the chunk's later rows replace.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`layout`] | which planes there are, and how many bytes they take |
//! | [`storage`] | how rows are laid out, and in which type |
//! | `retention` | which positions a plane still holds, and in which slots |
//! | `page` | rows in memory: head-major, encoded |
//! | [`store`] | one plane of one sequence |
//! | [`sequence`] | every plane of one sequence: forks, snapshots, truncation |
//! | [`archive`] | the same as bytes, for a file |

#![forbid(unsafe_code)]

pub mod archive;
pub mod layout;
mod page;
mod retention;
pub mod sequence;
pub mod storage;
pub mod store;

pub use archive::ArchiveError;
pub use layout::{Growth, Plane, Precision, StateLayout};
pub use sequence::{LayerState, SequenceState, Snapshot};
pub use storage::{Dtype, Paging, Rings, Storage};
pub use store::PlaneStore;
