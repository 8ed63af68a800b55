//! safetensors: eight bytes that say how long the header is, a header in JSON, and the data.

use crate::dtype::Dtype;
use crate::error::{Refusal, Result, quoted};
use crate::json;
use crate::tensor::{Gaps, MAX_RANK, MAX_TENSORS, TensorInfo, Tensors, check_layout, check_name, elements};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::ops::Range;

/// The longest header, in bytes.
pub const MAX_HEADER: usize = 16 << 20;
/// The most entries of `__metadata__`.
pub const MAX_METADATA: usize = 4096;

const LENGTH: usize = size_of::<u64>();
const METADATA: &str = "__metadata__";

/// What the header of a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SafeTensors {
    /// What the writer noted.
    pub metadata: BTreeMap<String, String>,
    /// The tensors; their ranges are of the whole file.
    pub tensors: Tensors,
}

/// Reads the header of a file, and checks that its data is what the header says: each byte of it belongs to one tensor.
///
/// # Errors
/// If anything is not as the format and the caps of this crate want it.
pub fn parse(file: &[u8]) -> Result<SafeTensors> {
    let header = header(file)?;
    let data = header.end..file.len();
    let text = &file[header.clone()];
    // A header of spaces, or a list, is JSON too, and means nothing.
    if text.first() != Some(&b'{') {
        return Err(Refusal::new("header", "wanted it to begin with \"{\"").at(header.start));
    }
    let parsed = json::read("header", header.start, text, MAX_HEADER, HeaderVisitor { data: data.clone() })?;
    check_layout(&parsed.tensors, data, Gaps::Refused)?;
    Ok(parsed)
}

/// Whether a refusal is of what every file of this format begins with: the length of a header, and its first byte.
pub(crate) fn is_of_framing(refusal: &Refusal) -> bool {
    matches!((refusal.field(), refusal.offset()), ("header length", Some(0)) | ("header", Some(8)))
}

/// Where the header lies.
fn header(file: &[u8]) -> Result<Range<usize>> {
    let refuse = |why: String| Refusal::new("header length", why).at(0);
    let length = file.first_chunk().ok_or_else(|| refuse(format!("wanted {LENGTH} bytes, got {}", file.len())))?;
    let (length, room) = (u64::from_le_bytes(*length), file.len() - LENGTH);
    if length > MAX_HEADER as u64 {
        return Err(refuse(format!("wanted at most {MAX_HEADER} bytes, got {length}")));
    }
    if length > room as u64 {
        return Err(refuse(format!("wanted at most the {room} bytes that follow, got {length}")));
    }
    Ok(LENGTH..LENGTH + length as usize)
}

/// Reads the object of all tensors.
struct HeaderVisitor {
    data: Range<usize>,
}

impl<'de> de::DeserializeSeed<'de> for HeaderVisitor {
    type Value = SafeTensors;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<SafeTensors, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = SafeTensors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<SafeTensors, A::Error> {
        let mut header = SafeTensors::default();
        let mut metadata = None;
        while let Some(name) = entries.next_key::<String>()? {
            if name == METADATA {
                if metadata.is_some() {
                    return Err(A::Error::custom(format_args!("key \"{METADATA}\" occurs twice")));
                }
                metadata = Some(entries.next_value::<Metadata>()?.0);
                continue;
            }
            check_name(&name).map_err(|why| A::Error::custom(format_args!("name of a tensor: {why}")))?;
            if header.tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom(format_args!("wanted at most {MAX_TENSORS} tensors")));
            }
            let slot = match header.tensors.entry(name) {
                Slot::Vacant(slot) => slot,
                Slot::Occupied(slot) => return Err(A::Error::custom(format_args!("tensor {} occurs twice", quoted(slot.key())))),
            };
            let Entry { dtype: Name(dtype), shape: Shape(shape), data_offsets } = entries.next_value_seed(EntryObject)?;
            let refuse = |(field, why)| A::Error::custom(format_args!("tensor {}: {field}: {why}", quoted(slot.key())));
            let range = range(dtype, &shape, data_offsets, &self.data).map_err(refuse)?;
            slot.insert(TensorInfo { dtype, shape, range });
        }
        header.metadata = metadata.unwrap_or_default();
        Ok(header)
    }
}

/// The bytes of a tensor in the file, or the field that is wrong and why.
fn range(
    dtype: Dtype,
    shape: &[usize],
    [start, end]: [u64; 2],
    data: &Range<usize>,
) -> Result<Range<usize>, (&'static str, String)> {
    let count = elements(shape).map_err(|why| ("shape", why))?;
    let bytes =
        dtype.bytes(count).ok_or_else(|| ("shape", format!("{count} elements of {dtype} are no whole number of bytes")))?;
    if start > end || end > data.len() as u64 {
        let why = format!("wanted a range within the {} bytes of data, got [{start}, {end}]", data.len());
        return Err(("data_offsets", why));
    }
    if end - start != bytes as u64 {
        let why = format!("wanted {bytes} bytes for {shape:?} of {dtype}, got the {} of [{start}, {end}]", end - start);
        return Err(("data_offsets", why));
    }
    Ok(data.start + start as usize..data.start + end as usize)
}

/// What the header says of a tensor: these three fields and no others, each once.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Name,
    shape: Shape,
    data_offsets: [u64; 2],
}

/// Reads an [`Entry`] from an object, where the derived reader would take a list of its fields as well.
struct EntryObject;

impl<'de> de::DeserializeSeed<'de> for EntryObject {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Entry, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntryObject {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Entry, A::Error> {
        Entry::deserialize(MapAccessDeserializer::new(entries))
    }
}

/// A type by its name.
struct Name(Dtype);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Name, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a type")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
                let known = Dtype::from_safetensors(name).map(Name);
                known.ok_or_else(|| E::custom(format_args!("dtype: wanted a known type, got {}", quoted(name))))
            }
        }
        reader.deserialize_str(Text)
    }
}

/// Extents, of which no more are read than a tensor may have.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Shape, D::Error> {
        struct Extents;
        impl<'de> Visitor<'de> for Extents {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of extents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(extent) = items.next_element::<usize>()? {
                    if shape.len() == MAX_RANK {
                        return Err(A::Error::custom(format_args!("shape: wanted at most {MAX_RANK} dimensions")));
                    }
                    shape.push(extent);
                }
                Ok(Shape(shape))
            }
        }
        reader.deserialize_seq(Extents)
    }
}

/// What the writer noted: text by text.
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Metadata, D::Error> {
        struct Notes;
        impl<'de> Visitor<'de> for Notes {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Metadata, A::Error> {
                let mut notes = BTreeMap::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if notes.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("key {} occurs twice", quoted(&key))));
                    }
                    if notes.len() == MAX_METADATA {
                        return Err(A::Error::custom(format_args!("{METADATA}: wanted at most {MAX_METADATA} entries")));
                    }
                    notes.insert(key, entries.next_value()?);
                }
                Ok(Metadata(notes))
            }
        }
        reader.deserialize_map(Notes)
    }
}
