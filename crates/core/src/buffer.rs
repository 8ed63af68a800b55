//! Aligned memory and its reuse. A training step asks for the same sizes as the step before; giving it the same memory
//! saves the page faults that would otherwise cost more than the element-wise work.

use attendant_kernels::memory::Memory;
use attendant_kernels::quant::ActivationBlock;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Values of a cache line, of which a buffer takes whole ones.
const LINE: usize = 16;

/// `f32` values that begin on a cache line, and if they are many on huge pages.
#[derive(Clone, Default)]
pub struct Buffer {
    memory: Memory<f32>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Buffer {
        Buffer { memory: Memory::zeroed(len.next_multiple_of(LINE)), len }
    }
}

impl From<&[f32]> for Buffer {
    fn from(values: &[f32]) -> Buffer {
        let mut buffer = Buffer::zeros(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

/// Buffers that are free, by size class.
#[derive(Default)]
pub struct Buffers {
    free: Vec<Vec<Buffer>>,
    poison: bool,
    held: usize,
    /// Rows as bytes, of the product at hand.
    pub(crate) blocks: Vec<ActivationBlock>,
}

impl Buffers {
    /// With `poison`, every buffer is handed out full of NaN: a kernel that reads before it writes is then seen.
    pub fn new(poison: bool) -> Buffers {
        Buffers { poison, ..Buffers::default() }
    }

    /// A buffer of `len` values that hold anything.
    pub fn take(&mut self, len: usize) -> Buffer {
        let lines = len.div_ceil(LINE);
        let class = size_class(lines);
        let mut buffer = match self.free.get_mut(class).and_then(Vec::pop) {
            Some(buffer) => buffer,
            None => {
                self.held += class_lines(class) * 64;
                Buffer { memory: Memory::zeroed(class_lines(class) * LINE), len: 0 }
            }
        };
        buffer.len = len;
        if self.poison {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&mut self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Takes back a buffer that [`Buffers::take`] gave. One made elsewhere is dropped.
    pub fn give(&mut self, buffer: Buffer) {
        let lines = buffer.memory.len() / LINE;
        let class = size_class(lines);
        if lines != class_lines(class) {
            return;
        }
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(buffer);
    }

    /// Bytes ever allocated here, in use or free.
    pub fn allocated_bytes(&self) -> usize {
        self.held
    }
}

/// Classes are a quarter of a power of two apart, so at most a fifth of a buffer is unused.
fn size_class(lines: usize) -> usize {
    if lines <= 4 {
        return lines;
    }
    let power = (usize::BITS - 1 - (lines - 1).leading_zeros()) as usize;
    let quarter = ((lines - 1) >> (power - 2)) - 4;
    (power - 2) * 4 + quarter + 5
}

/// Lines of a buffer of this class: the largest count that [`size_class`] maps to it.
fn class_lines(class: usize) -> usize {
    if class <= 4 {
        return class;
    }
    let (power, quarter) = ((class - 5) / 4 + 2, (class - 5) % 4);
    (quarter + 5) << (power - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_every_size_mapped_to_it() {
        for lines in 0..5000 {
            let class = size_class(lines);
            assert!(class_lines(class) >= lines && class_lines(class) <= lines + lines / 4, "{lines} in {}", class_lines(class));
            assert_eq!(size_class(class_lines(class)), class, "{lines}");
        }
    }

    #[test]
    fn a_buffer_comes_back_and_is_poisoned() {
        let mut buffers = Buffers::new(true);
        let mut first = buffers.take(100);
        assert!(first.iter().all(|x| x.is_nan()));
        first.fill(1.0);
        buffers.give(first);
        let held = buffers.allocated_bytes();
        let second = buffers.take(99);
        assert_eq!(second.len(), 99);
        assert!(second.iter().all(|x| x.is_nan()));
        assert_eq!(buffers.allocated_bytes(), held);
    }
}
