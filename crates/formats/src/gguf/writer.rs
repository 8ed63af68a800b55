//! Writing GGUF, as far as tests and seeds of fuzzing need it.

use crate::dtype::Dtype;

const ALIGNMENT: usize = 32;

/// Makes a file. What it is given it writes as it is: it can write files that no reader takes.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    entries: u64,
    metadata: Vec<u8>,
    tensors: u64,
    descriptions: Vec<u8>,
    data: Vec<u8>,
}

impl Writer {
    /// A file without content.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An entry of the metadata as it stands in the file: `kind` is the format's number of its type.
    pub fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Writer {
        self.entries += 1;
        self.metadata.extend(text(key));
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self
    }

    /// An entry of type u32.
    pub fn number(self, key: &str, value: u32) -> Writer {
        self.entry(key, 4, &value.to_le_bytes())
    }

    /// An entry of type f32.
    pub fn float(self, key: &str, value: f32) -> Writer {
        self.entry(key, 6, &value.to_le_bytes())
    }

    /// An entry of type bool.
    pub fn flag(self, key: &str, value: bool) -> Writer {
        self.entry(key, 7, &[value.into()])
    }

    /// An entry of type string.
    pub fn string(self, key: &str, value: &str) -> Writer {
        self.entry(key, 8, &text(value))
    }

    /// An array of strings.
    pub fn strings(self, key: &str, values: &[&str]) -> Writer {
        let items: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.entry(key, 9, &array(8, values.len(), &items))
    }

    /// An array of f32.
    pub fn floats(self, key: &str, values: &[f32]) -> Writer {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.entry(key, 9, &array(6, values.len(), &items))
    }

    /// An array of i32.
    pub fn signed(self, key: &str, values: &[i32]) -> Writer {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.entry(key, 9, &array(5, values.len(), &items))
    }

    /// A tensor, its extents the slowest first.
    ///
    /// # Panics
    /// If GGUF has no such type.
    pub fn tensor(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Writer {
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
        let offset = self.data.len() as u64;
        let extents: Vec<u64> = shape.iter().rev().map(|&extent| extent as u64).collect();
        self.data.extend(bytes);
        self.description(name, &extents, dtype.ggml().expect("a type that GGUF has"), offset)
    }

    /// The description of a tensor as it stands in the file, without data.
    pub fn description(mut self, name: &str, extents: &[u64], kind: u32, offset: u64) -> Writer {
        self.tensors += 1;
        self.descriptions.extend(text(name));
        self.descriptions.extend((extents.len() as u32).to_le_bytes());
        self.descriptions.extend(extents.iter().flat_map(|extent| extent.to_le_bytes()));
        self.descriptions.extend(kind.to_le_bytes());
        self.descriptions.extend(offset.to_le_bytes());
        self
    }

    /// The file, of version 3.
    pub fn finish(self) -> Vec<u8> {
        let mut file = header(3, self.tensors, self.entries);
        file.extend(self.metadata);
        file.extend(self.descriptions);
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        file.extend(self.data);
        file
    }
}

/// What a file begins with.
fn header(version: u32, tensors: u64, entries: u64) -> Vec<u8> {
    [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn array(kind: u32, count: usize, items: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes(), items].concat()
}

#[cfg(test)]
mod tests {
    use super::super::{Array, Value, parse};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let file = Writer::new()
            .number("n", 7)
            .float("f", 0.5)
            .flag("b", true)
            .string("s", "größe")
            .strings("t", &["a", "", "bc"])
            .floats("w", &[1.0, -2.5])
            .signed("i", &[-1])
            .tensor("x", Dtype::F32, &[2, 3], &[1; 24])
            .tensor("y", Dtype::Q4_0, &[1, 32], &[2; 18])
            .finish();
        let read = parse(&file).unwrap();
        assert_eq!(read.metadata["n"], Value::Unsigned(7));
        assert_eq!(read.metadata["f"], Value::Float(0.5));
        assert_eq!(read.metadata["b"], Value::Bool(true));
        assert_eq!(read.metadata["s"], Value::String("größe".into()));
        let Value::Array(Array::Strings(strings)) = &read.metadata["t"] else { panic!("{:?}", read.metadata["t"]) };
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", "", "bc"]);
        assert_eq!(read.metadata["w"], Value::Array(Array::Float(vec![1.0, -2.5])));
        assert_eq!(read.metadata["i"], Value::Array(Array::Signed(vec![-1])));
        assert_eq!(read.tensors["x"].shape, [2, 3]);
        assert_eq!(&file[read.tensors["x"].range.clone()], [1; 24]);
        assert_eq!((read.tensors["y"].dtype, &file[read.tensors["y"].range.clone()]), (Dtype::Q4_0, &[2; 18][..]));
    }
}
