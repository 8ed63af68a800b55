//! Reading forward through a file, never past its end, with an account of the memory that is made of it. What is read is named by something
//! that is put into words only for a refusal.

use crate::error::{Refusal, Result};
use std::fmt::Display;

/// A place in a file.
pub(super) struct Cursor<'a> {
    file: &'a [u8],
    offset: usize,
    memory_left: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a file, of which at most `memory` bytes of values may be made.
    pub(super) fn new(file: &'a [u8], memory: usize) -> Cursor<'a> {
        Cursor { file, offset: 0, memory_left: memory }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn memory_left(&self) -> usize {
        self.memory_left
    }

    /// Accounts for memory before it is taken.
    pub(super) fn take_memory(&mut self, field: impl Display, bytes: usize) -> Result<()> {
        let left = self.memory_left.checked_sub(bytes);
        let why = "wanted metadata and descriptions that fit the memory allowed for them";
        self.memory_left = left.ok_or_else(|| Refusal::new(field, why).at(self.offset))?;
        Ok(())
    }

    /// The next `length` bytes.
    pub(super) fn bytes(&mut self, field: impl Display, length: usize) -> Result<&'a [u8]> {
        let rest = &self.file[self.offset..];
        let bytes = rest.get(..length).ok_or_else(|| {
            Refusal::new(field, format_args!("wanted {length} bytes, got the {} that the file still has", rest.len()))
                .at(self.offset)
        })?;
        self.offset += length;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, field: impl Display) -> Result<[u8; N]> {
        let bytes = self.bytes(field, N)?;
        Ok(*bytes.first_chunk().expect("`bytes` gives as many as it was asked for"))
    }

    pub(super) fn u32(&mut self, field: impl Display) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: impl Display) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A number of things to come, of which there may be `most`, each at least `shortest` bytes long.
    pub(super) fn count(&mut self, field: impl Display + Copy, most: usize, shortest: usize) -> Result<usize> {
        let at = self.offset;
        let count = self.u64(field)?;
        let room = (self.file.len() - self.offset) / shortest;
        let refuse = |why: String| Err(Refusal::new(field, why).at(at));
        match usize::try_from(count) {
            Ok(count) if count <= most.min(room) => Ok(count),
            Ok(count) if count <= most => {
                refuse(format!("wanted at most the {room} that the rest of the file has room for, got {count}"))
            }
            _ => refuse(format!("wanted at most {most}, got {count}")),
        }
    }

    /// The bytes of a text of at most `longest` bytes.
    pub(super) fn text(&mut self, field: impl Display + Copy, longest: usize) -> Result<&'a [u8]> {
        let length = self.count(field, longest, 1)?;
        self.bytes(field, length)
    }

    /// A text of at most `longest` bytes.
    pub(super) fn string(&mut self, field: impl Display + Copy, longest: usize) -> Result<&'a str> {
        let bytes = self.text(field, longest)?;
        std::str::from_utf8(bytes).map_err(|why| {
            let valid = why.valid_up_to();
            let at = self.offset - bytes.len() + valid;
            Refusal::new(field, format_args!("wanted UTF-8, got the byte {:#04x}", bytes[valid])).at(at)
        })
    }

    /// Goes back to read again what was read.
    pub(super) fn back_to(&mut self, offset: usize) {
        self.offset = offset.min(self.offset);
    }
}
