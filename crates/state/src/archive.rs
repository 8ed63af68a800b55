//! The state of a sequence as bytes: a prompt's cache that outlives the process.
//!
//! Little-endian: the magic `ATTSTATE`; version, type and rings, 4 bytes each; a fingerprint of the layouts and the position,
//! 8 bytes each; for every plane of every layer the rows appended, 8 bytes, and the rows held, as they are stored, token-major
//! in ascending position; a checksum of all that, 8 bytes. How rows were paged is not in it.

use crate::layout::{Growth, Plane, Precision, StateLayout};
use crate::sequence::SequenceState;
use crate::storage::{Dtype, Rings, Storage};
use crate::store::PlaneStore;
use std::fmt::Display;
use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"ATTSTATE";
const VERSION: u32 = 1;
/// More tokens than any sequence has, and few enough to count on from without overflow.
const MOST_TOKENS: u64 = 1 << 48;

/// Why a state could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The writer or the reader failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A call has appended to some planes and not advanced: there is no position that the state belongs to.
    #[error("plane {plane} of layer {layer} is ahead of position {position}: a call is not complete")]
    Ahead {
        /// Which layer.
        layer: usize,
        /// Which plane.
        plane: &'static str,
        /// Tokens of the sequence.
        position: usize,
    },
    /// Bytes that are not what they should be: damaged, cut off, or of another model or storage.
    #[error("{field} at byte {at}: wanted {want}, got {got}")]
    Damaged {
        /// What the bytes are.
        field: String,
        /// Where they begin.
        at: u64,
        /// What would do.
        want: String,
        /// What there is.
        got: String,
    },
}

impl SequenceState {
    /// Writes the state, between two calls.
    ///
    /// # Errors
    /// If the writer fails, or a call is not complete.
    pub fn write(&self, to: impl Write) -> Result<(), ArchiveError> {
        let mut to = Sink { to, hash: Hash::new() };
        let layers = || (0..self.layers()).map(|layer| self.layer(layer).planes());
        let storage = self.storage();
        to.put(&MAGIC)?;
        to.put(&VERSION.to_le_bytes())?;
        to.put(&tag(storage.dtype).to_le_bytes())?;
        to.put(&u32::from(storage.rings == Rings::KeepAll).to_le_bytes())?;
        to.put(&fingerprint(layers().map(|planes| planes.iter().map(PlaneStore::plane))).to_le_bytes())?;
        to.put(&(self.position() as u64).to_le_bytes())?;
        let mut rows = Vec::new();
        for (layer, planes) in layers().enumerate() {
            for plane in planes {
                if plane.replaced || plane.appended() as u64 > most_rows(plane.plane(), self.position()) {
                    return Err(ArchiveError::Ahead { layer, plane: plane.plane().name, position: self.position() });
                }
                rows.clear();
                plane.save(&mut rows);
                to.put(&(plane.appended() as u64).to_le_bytes())?;
                to.put(&rows)?;
            }
        }
        let checksum = to.hash.0;
        to.put(&checksum.to_le_bytes())?;
        Ok(to.to.flush()?)
    }

    /// Reads a state of a model with these layouts, and nothing after it. Paging may be another than when it was written.
    ///
    /// Allocates no more than a multiple of what the reader gives and what a new state has, whatever the bytes say.
    ///
    /// # Errors
    /// If the reader fails, or the bytes are damaged, cut off, or of other layouts, another type or other rings.
    ///
    /// # Panics
    /// If the storage has pages of no rows, or room for none at first.
    pub fn read(from: impl Read, layouts: &[StateLayout], storage: Storage) -> Result<SequenceState, ArchiveError> {
        let mut from = Source { from, at: 0, hash: Hash::new() };
        from.expect("magic", MAGIC, |magic| format!("{:?}", String::from_utf8_lossy(&magic)))?;
        from.expect("version", VERSION.to_le_bytes(), |bytes| u32::from_le_bytes(bytes).to_string())?;
        from.expect("type", tag(storage.dtype).to_le_bytes(), |bytes| {
            let got = u32::from_le_bytes(bytes);
            DTYPES.get(got as usize).map_or_else(|| got.to_string(), |dtype| format!("{dtype:?}"))
        })?;
        from.expect("rings", u32::from(storage.rings == Rings::KeepAll).to_le_bytes(), |bytes| match bytes {
            [0, 0, 0, 0] => "Overwrite".into(),
            [1, 0, 0, 0] => "KeepAll".into(),
            other => u32::from_le_bytes(other).to_string(),
        })?;
        let print = fingerprint(layouts.iter().map(StateLayout::planes));
        from.expect("fingerprint of the layouts", print.to_le_bytes(), |bytes| format!("{:016x}", u64::from_le_bytes(bytes)))?;
        let position = from.count("position", MOST_TOKENS)?;
        let mut state = SequenceState::new(layouts, storage);
        for layer in 0..layouts.len() {
            for index in 0..layouts[layer].planes().len() {
                from.plane(layer, state.layer_mut(layer).plane_mut(index), position)?;
            }
        }
        let checksum = from.hash.0;
        from.expect("checksum", checksum.to_le_bytes(), |bytes| format!("{:016x}", u64::from_le_bytes(bytes)))?;
        Ok(state.restored(position))
    }
}

/// The most rows that a plane of a sequence of `position` tokens has between two calls.
fn most_rows(plane: &Plane, position: usize) -> u64 {
    match plane.growth {
        Growth::PerToken | Growth::Ring { .. } => position as u64,
        Growth::PerBlock { tokens } => (position / tokens) as u64,
        Growth::Constant => 0,
        Growth::PerSource => MOST_TOKENS,
    }
}

const DTYPES: [Dtype; 5] = [Dtype::F32, Dtype::Bf16, Dtype::F16, Dtype::Int8, Dtype::Int4];

fn tag(dtype: Dtype) -> u32 {
    DTYPES.iter().position(|&known| known == dtype).expect("every type is listed") as u32
}

/// A hash of everything that decides which rows there are and what they mean.
fn fingerprint<'a>(layers: impl Iterator<Item = impl IntoIterator<Item = &'a Plane>>) -> u64 {
    let mut hash = Hash::new();
    let mut number = |n: usize| hash.add(&(n as u64).to_le_bytes());
    for layer in layers {
        number(usize::MAX);
        for plane in layer {
            number(plane.name.len());
            plane.name.bytes().for_each(|byte| number(byte.into()));
            let growth = match plane.growth {
                Growth::PerToken => [0, 0, 0],
                Growth::PerBlock { tokens } => [1, tokens, 0],
                Growth::Ring { window, keep } => [2, window, keep],
                Growth::Constant => [3, 0, 0],
                Growth::PerSource => [4, 0, 0],
            };
            growth.into_iter().for_each(&mut number);
            [plane.heads, plane.width, usize::from(plane.precision == Precision::Exact)].into_iter().for_each(&mut number);
        }
    }
    hash.0
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits: a changed byte always changes it.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }
}

struct Sink<W> {
    to: W,
    hash: Hash,
}

impl<W: Write> Sink<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.add(bytes);
        self.to.write_all(bytes)
    }
}

struct Source<R> {
    from: R,
    at: u64,
    hash: Hash,
}

impl<R: Read> Source<R> {
    fn damaged<T>(&self, field: impl Display, want: impl Display, got: impl Display) -> Result<T, ArchiveError> {
        Err(ArchiveError::Damaged { field: field.to_string(), at: self.at, want: want.to_string(), got: got.to_string() })
    }

    /// The next `count` bytes. Memory grows with what arrives, not with what was promised.
    fn take(&mut self, field: impl Display, count: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let got = self.from.by_ref().take(count).read_to_end(&mut bytes)? as u64;
        if got < count {
            return self.damaged(field, format_args!("{count} bytes"), format_args!("{got} and the end"));
        }
        self.hash.add(&bytes);
        self.at += count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], ArchiveError> {
        Ok(self.take(field, N as u64)?.try_into().expect("as many bytes as were asked for"))
    }

    fn expect<const N: usize>(
        &mut self,
        field: &str,
        want: [u8; N],
        show: impl Fn([u8; N]) -> String,
    ) -> Result<(), ArchiveError> {
        let at = self.at;
        let got = self.array(field)?;
        if got == want {
            return Ok(());
        }
        Err(ArchiveError::Damaged { field: field.into(), at, want: show(want), got: show(got) })
    }

    fn count(&mut self, field: &str, most: u64) -> Result<usize, ArchiveError> {
        let at = self.at;
        let got = u64::from_le_bytes(self.array(field)?);
        match usize::try_from(got) {
            Ok(count) if got <= most => Ok(count),
            _ => Err(ArchiveError::Damaged { field: field.into(), at, want: format!("at most {most}"), got: got.to_string() }),
        }
    }

    fn plane(&mut self, layer: usize, store: &mut PlaneStore, position: usize) -> Result<(), ArchiveError> {
        let plane = *store.plane();
        let field = format!("layer {layer}, plane {}", plane.name);
        let appended = self.count(&format!("{field}, rows appended"), most_rows(&plane, position))?;
        let bytes = store.rows_held(appended) as u128 * plane.row_bytes(store.storage().dtype) as u128;
        let Ok(bytes) = u64::try_from(bytes) else {
            return self.damaged(field, format_args!("at most {} bytes", u64::MAX), bytes);
        };
        let rows = self.take(field, bytes)?;
        store.load(appended, &rows);
        Ok(())
    }
}
