//! GGUF, versions 2 and 3: metadata, descriptions of tensors, and their data, each part with counts that lead it.

mod cursor;
mod part;
mod value;
mod writer;

pub(crate) use part::Said;
pub use part::{MAX_PARTS, Part};
pub use value::{Array, Strings, Value};
pub use writer::Writer;

use crate::dtype::Dtype;
use crate::error::{Refusal, Result, quoted};
use crate::tensor::{Gaps, MAX_NAME, MAX_RANK, MAX_TENSORS, TensorInfo, Tensors, check_layout, check_name, elements};
use cursor::Cursor;
use std::collections::BTreeMap;

/// The most entries of the metadata.
pub const MAX_ENTRIES: usize = 4096;
/// The longest key, in bytes: what the format allows.
pub const MAX_KEY: usize = 65_535;
/// How much memory metadata and descriptions of tensors may take, in bytes.
pub const MAX_MEMORY: usize = 48 << 20;
/// The largest alignment of data, in bytes.
pub const MAX_ALIGNMENT: u64 = 1 << 20;

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;
/// A key of one byte, the type of the value, and the shortest value.
const SHORTEST_ENTRY: usize = 8 + 1 + 4 + 1;
/// A name of one byte, the number of dimensions, the type, and the offset.
const SHORTEST_TENSOR: usize = 8 + 1 + 4 + 4 + 8;
/// What a tensor costs besides its name: its entry in a tree whose nodes may be half empty, and its extents.
const TENSOR_MEMORY: usize = 2 * size_of::<(String, TensorInfo)>() + MAX_RANK * size_of::<usize>();

/// What a file says before its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// The version of the format: 2 or 3, which differ in nothing that a little-endian file shows.
    pub version: u32,
    /// What the writer noted.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors; their ranges are of the whole file.
    pub tensors: Tensors,
}

/// Reads everything before the data, and checks that the data of every tensor lies in the file, in bytes of its own.
///
/// # Errors
/// If anything is not as the format and the caps of this crate want it.
pub fn parse(file: &[u8]) -> Result<Gguf> {
    parse_within(file, MAX_MEMORY).map(|(gguf, _)| gguf)
}

/// The same, and how much is left of so much memory.
pub(crate) fn parse_within(file: &[u8], memory: usize) -> Result<(Gguf, usize)> {
    let mut cursor = Cursor::new(file, memory);
    let version = version(&mut cursor)?;
    let tensor_count = cursor.count("tensor count", MAX_TENSORS, SHORTEST_TENSOR)?;
    let entry_count = cursor.count("metadata count", MAX_ENTRIES, SHORTEST_ENTRY)?;
    let metadata = metadata(&mut cursor, entry_count)?;
    let alignment = alignment(&metadata)?;
    let mut described = BTreeMap::new();
    for index in 0..tensor_count {
        let at = cursor.offset();
        let (name, tensor) = description(&mut cursor, index)?;
        if described.contains_key(&name) {
            let why = format_args!("wanted a name of its own, got {}, which occurs twice", quoted(&name));
            return Err(Refusal::new(format_args!("tensors[{index}].name"), why).at(at));
        }
        described.insert(name, tensor);
    }
    let tensors = place(described, cursor.offset().next_multiple_of(alignment as usize), alignment, file.len())?;
    Ok((Gguf { version, metadata, tensors }, cursor.memory_left()))
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let magic = cursor.bytes("magic", MAGIC.len())?;
    if magic != MAGIC {
        return Err(Refusal::new("magic", format_args!("wanted \"GGUF\", got \"{}\"", magic.escape_ascii())).at(0));
    }
    match cursor.u32("version")? {
        version @ (2 | 3) => Ok(version),
        version => {
            let why = match version.swap_bytes() {
                swapped @ 1..=3 => format!("wanted a little-endian file, got version {swapped} big-endian"),
                _ => format!("wanted 2 or 3, got {version}"),
            };
            Err(Refusal::new("version", why).at(MAGIC.len()))
        }
    }
}

fn metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for index in 0..count {
        let field = format_args!("metadata[{index}].key");
        let at = cursor.offset();
        let key = cursor.string(field, MAX_KEY)?;
        if key.is_empty() || key.chars().any(char::is_control) {
            let why = format_args!("wanted a key without control characters, got {}", quoted(key));
            return Err(Refusal::new(field, why).at(at));
        }
        if metadata.contains_key(key) {
            let why = format_args!("wanted a key of its own, got {}, which occurs twice", quoted(key));
            return Err(Refusal::new(field, why).at(at));
        }
        cursor.take_memory(field, key.len() + 2 * size_of::<(String, Value)>())?;
        metadata.insert(key.to_owned(), Value::read(cursor, key)?);
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get(ALIGNMENT) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(bytes)) if bytes.is_power_of_two() && *bytes <= MAX_ALIGNMENT => Ok(*bytes),
        Some(other) => {
            let why = format_args!("wanted a power of two up to {MAX_ALIGNMENT}, got {}", other.summary());
            Err(Refusal::new(ALIGNMENT, why))
        }
    }
}

/// A tensor whose place in the file is not known yet: the data begins where all descriptions end.
struct Described {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
    /// From the beginning of the data.
    offset: u64,
    /// Where in the file the offset stands.
    offset_at: usize,
}

fn description(cursor: &mut Cursor<'_>, index: usize) -> Result<(String, Described)> {
    let at = cursor.offset();
    let name = cursor.string(format_args!("tensors[{index}].name"), MAX_NAME)?;
    let refuse_name = |why| Refusal::new(format_args!("tensors[{index}].name"), why).at(at);
    check_name(name).map_err(refuse_name)?;
    cursor.take_memory(format_args!("tensors[{index}].name"), name.len() + TENSOR_MEMORY)?;
    let (shape_at, shape) = shape(cursor, name)?;
    let refuse = |what: &str, why: String, at| Refusal::new(format_args!("tensor {}: {what}", quoted(name)), why).at(at);
    let count = elements(&shape).map_err(|why| refuse("shape", why, shape_at))?;
    let dtype_at = cursor.offset();
    let dtype = cursor.u32(format_args!("tensor {}: type", quoted(name)))?;
    let dtype = Dtype::from_ggml(dtype).map_err(|why| refuse("type", why, dtype_at))?;
    let row = shape.last().copied().unwrap_or(1);
    let bytes = dtype.bytes(row).and_then(|_| dtype.bytes(count)).ok_or_else(|| {
        let why = format!("wanted rows of whole blocks of {} elements for {dtype}, got {shape:?}", dtype.block_elements());
        refuse("shape", why, shape_at)
    })?;
    let offset_at = cursor.offset();
    let offset = cursor.u64(format_args!("tensor {}: offset", quoted(name)))?;
    Ok((name.to_owned(), Described { dtype, shape, bytes, offset, offset_at }))
}

/// Where the extents stand, and the extents, the slowest first: the format names the fastest first, and everyone else names it last.
fn shape(cursor: &mut Cursor<'_>, name: &str) -> Result<(usize, Vec<usize>)> {
    let at = cursor.offset();
    let rank = cursor.u32(format_args!("tensor {}: dimensions", quoted(name)))?;
    if rank as usize > MAX_RANK {
        let why = format_args!("wanted at most {MAX_RANK}, got {rank}");
        return Err(Refusal::new(format_args!("tensor {}: dimensions", quoted(name)), why).at(at));
    }
    let at = cursor.offset();
    let mut shape = vec![0; rank as usize];
    for place in shape.iter_mut().rev() {
        let extent = cursor.u64(format_args!("tensor {}: shape", quoted(name)))?;
        // Beyond what a machine can address: `elements` refuses it with the rest.
        *place = usize::try_from(extent).unwrap_or(usize::MAX);
    }
    Ok((at, shape))
}

/// Puts the tensors into the file, of whose `length` bytes the data begins at byte `start`.
fn place(described: BTreeMap<String, Described>, start: usize, alignment: u64, length: usize) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for (name, tensor) in described {
        let Described { dtype, shape, bytes, offset, offset_at } = tensor;
        let refuse = |why: String| Refusal::new(format_args!("tensor {}: offset", quoted(&name)), why).at(offset_at);
        if !offset.is_multiple_of(alignment) {
            return Err(refuse(format!("wanted a multiple of {alignment}, got {offset}")));
        }
        let begin = usize::try_from(offset).ok().and_then(|offset| start.checked_add(offset));
        let range = begin.and_then(|begin| Some(begin..begin.checked_add(bytes)?)).filter(|range| range.end <= length);
        let range = range.ok_or_else(|| {
            refuse(format!("wanted {bytes} bytes within the {} bytes of data, got offset {offset}", length.saturating_sub(start)))
        })?;
        tensors.insert(name, TensorInfo { dtype, shape, range });
    }
    check_layout(&tensors, start..length, Gaps::Allowed)?;
    Ok(tensors)
}
