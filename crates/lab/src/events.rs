//! TensorBoard event files: records with masked checksums around protocol buffers, written by hand since only four fields occur.

use crate::error::{LabError, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file under way.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// A new file in a run's folder, for a run that has done `step` steps: it tells TensorBoard to forget what earlier files
    /// hold of later ones.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<EventWriter> {
        let seconds = now();
        let path = (0..)
            .map(|n| folder.join(format!("events.out.tfevents.{:010}.attendant.{n:04}", seconds as u64)))
            .find(|path| !path.exists())
            .expect("some number is free");
        let file = File::create(&path).map_err(|why| LabError::io(&path, why))?;
        let mut writer = EventWriter { path, file };
        let mut version = event(seconds, 0);
        field_bytes(&mut version, 3, b"brain.Event:2");
        writer.write(&version)?;
        // At step 0 too: a run may start over that was cut off before its first checkpoint.
        writer.write(&start(seconds, step + 1))?;
        Ok(writer)
    }

    /// Adds scalars of one step.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        self.write(&summary(now(), step, scalars))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(|why| LabError::io(&self.path, why))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Wall time (field 1) and step (field 2) of an event.
fn event(seconds: f64, step: u64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(seconds.to_le_bytes());
    event.push(2 << 3);
    varint(&mut event, step);
    event
}

/// SessionLog { status: START } (field 7): what earlier files hold from this step on is dropped.
fn start(seconds: f64, step: u64) -> Vec<u8> {
    let mut start = event(seconds, step);
    field_bytes(&mut start, 7, &[1 << 3, 1]);
    start
}

/// An event with a summary (field 5): its values (field 1) are a tag (field 1) and a number (field 2).
fn summary(seconds: f64, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut entry = Vec::new();
        field_bytes(&mut entry, 1, tag.as_bytes());
        entry.push(2 << 3 | 5);
        entry.extend((*value as f32).to_le_bytes());
        field_bytes(&mut summary, 1, &entry);
    }
    let mut event = event(seconds, step);
    field_bytes(&mut event, 5, &summary);
    event
}

fn field_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Length, its checksum, the data, its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes that TensorBoard 2.21's own protocol buffers and checksums give for the same events.
    #[test]
    fn the_bytes_are_those_of_tensorboard() {
        let event = summary(1_700_000_000.5, 300, &[("train/loss", 2.5), ("b", -1.0)]);
        let want = concat!(
            "2b00000000000000861bc34b0900002040fc54d94110ac022a1d0a110a0a747261696e2f6c6f7373",
            "15000020400a080a016215000080bf2db39b9b",
        );
        assert_eq!(hex(&record(&event)), want);
        assert_eq!(hex(&start(1.0, 3)), "09000000000000f03f10033a020801");
    }

    #[test]
    fn a_resumed_run_starts_another_file() {
        let folder = tempfile::tempdir().unwrap();
        EventWriter::create(folder.path(), 0).unwrap().scalars(1, &[("loss", 2.0)]).unwrap();
        EventWriter::create(folder.path(), 1).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
