//! Files as bytes: mapped, which costs no memory and no time, or copied. With `mapping::watch` the only unsafe code outside the kernels.
//!
//! A mapped file can be cut off by whoever may write it, and the next read of a page that is gone raises SIGBUS, which ends the process
//! with a core dump and not a word. No check beforehand helps, and a lock would have to be one that others respect. So each mapping is
//! watched: a read that fails inside one ends the process with one line that names the file and the byte, and exit code 2, as any
//! other refusal does. Handing out zeros instead and going on, which the handler could also do, would let wrong weights answer.
#![allow(unsafe_code, reason = "mapping a file and watching for its end cannot be done without")]

#[cfg(unix)]
mod watch;

use crate::error::{Error, Refusal};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use std::fs::{self, File};
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;

/// How a file becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Its pages are read when they are touched. Whoever writes the file meanwhile changes the bytes.
    #[default]
    Mapped,
    /// It is read once into memory of its own: for files on network disks, or that others write.
    Copied,
}

/// The bytes of a file.
#[derive(Debug)]
pub struct FileBytes(Kind);

#[derive(Debug)]
enum Kind {
    Mapped {
        /// Dropped first: what is mapped at this address afterwards is not this file.
        #[cfg(unix)]
        _watched: watch::Watched,
        mapping: Mmap,
    },
    Copied(Vec<u8>),
}

impl FileBytes {
    /// The bytes of a regular file.
    ///
    /// # Errors
    /// If the file cannot be opened or read, or is a folder, a pipe or a device, on which reading may never end.
    pub fn open(path: &Path, access: Access) -> Result<FileBytes, Error> {
        let (mut file, length) = open_regular(path)?;
        // An empty range cannot be mapped.
        if access == Access::Copied || length == 0 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|source| Error::io(path, source))?;
            return Ok(FileBytes(Kind::Copied(bytes)));
        }
        // SAFETY: the mapping is read-only and private to this value, which unmaps it when no borrow of it is left. Bytes that another
        // process changes meanwhile are bytes all the same: readers copy what they check before they rely on it, and index only
        // through slices. A page that is gone is what the watch is for.
        let mapping = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
        #[cfg(unix)]
        let _watched = watch::Watched::new(path, &mapping).map_err(|source| Error::io(path, source))?;
        Ok(FileBytes(Kind::Mapped {
            #[cfg(unix)]
            _watched,
            mapping,
        }))
    }

    /// Gives back the memory that the bytes of a range take, of a mapped file: they are read again when they are touched again. What was
    /// copied stays.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Kind::Mapped { mapping, .. } = &self.0
            && range.start < range.end
            && range.end <= mapping.len()
        {
            // SAFETY: nothing was ever written to the mapping, so whoever borrows its bytes finds those of the file again, on which it
            // relies already. Pages at both ends that lie in the range in part may go along, and come back like the others. Where the
            // system refuses, it keeps the pages, and nothing is lost but memory.
            let _ = unsafe { mapping.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Mapped { mapping, .. } => mapping,
            Kind::Copied(bytes) => bytes,
        }
    }
}

/// Reads a small file whole.
///
/// # Errors
/// As [`FileBytes::open`], and if it is longer than `most` bytes.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Error> {
    let (file, length) = open_regular(path)?;
    let too_long = |length| Refusal::new("file", format_args!("wanted at most {most} bytes, got {length}")).in_file(path);
    if length > most as u64 {
        return Err(too_long(length));
    }
    let mut bytes = Vec::new();
    // It may have grown since its length was asked for.
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|source| Error::io(path, source))?;
    if bytes.len() > most { Err(too_long(bytes.len() as u64)) } else { Ok(bytes) }
}

/// Asks before opening: opening a pipe waits for whoever writes it.
fn open_regular(path: &Path) -> Result<(File, u64), Error> {
    let io = |source| Error::io(path, source);
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        let got = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(Refusal::new("file", format_args!("wanted a regular file, got {got}")).in_file(path));
    }
    Ok((File::open(path).map_err(io)?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_copied_bytes_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"a", &[7; 10_000]] {
            let path = folder.path().join("file");
            fs::write(&path, content).unwrap();
            assert_eq!(&*FileBytes::open(&path, Access::Mapped).unwrap(), content);
            assert_eq!(&*FileBytes::open(&path, Access::Copied).unwrap(), content);
        }
    }

    #[test]
    fn bytes_that_were_released_come_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        fs::write(file.path(), &content).unwrap();
        for access in [Access::Mapped, Access::Copied] {
            let bytes = FileBytes::open(file.path(), access).unwrap();
            assert_eq!(&*bytes, content);
            for range in [5000..90_000, 0..100_000, 7..7, 99_999..100_001] {
                bytes.release(range);
                assert_eq!(&*bytes, content);
            }
        }
    }

    /// Not of the whole process, in which other tests run: of the pages that this mapping alone has.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_released_takes_no_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![1; 8 << 20]).unwrap();
        let bytes = FileBytes::open(file.path(), Access::Mapped).unwrap();
        let resident = || {
            let maps = fs::read_to_string("/proc/self/smaps").unwrap();
            let own = maps.split_once(&format!("{:x}-", bytes.as_ptr().addr())).unwrap().1;
            let line = own.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
        };
        assert_eq!(bytes.iter().map(|&byte| usize::from(byte)).sum::<usize>(), bytes.len());
        assert!(resident() > 4 << 20, "{}", resident());
        bytes.release(1 << 20..bytes.len());
        assert!(resident() <= 1 << 20, "{}", resident());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_reading() {
        let folder = tempfile::tempdir().unwrap();
        let why = |path: &Path| FileBytes::open(path, Access::Mapped).unwrap_err().to_string();
        assert!(why(folder.path()).ends_with("file: wanted a regular file, got a folder"));
        assert!(why(&folder.path().join("absent")).contains("No such file"));
        #[cfg(unix)]
        assert!(why(Path::new("/dev/zero")).ends_with("wanted a regular file, got a pipe or a device"));
    }

    #[test]
    fn a_small_file_is_read_up_to_its_cap() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [1; 100]).unwrap();
        assert_eq!(read(file.path(), 100).unwrap().len(), 100);
        assert!(read(file.path(), 99).unwrap_err().to_string().ends_with("file: wanted at most 99 bytes, got 100"));
    }
}
