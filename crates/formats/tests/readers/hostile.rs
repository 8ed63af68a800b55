//! Each file of the tables is refused in time, in bounds of memory, and by one line that says what is wrong and where.

use crate::clock::Clock;
use crate::{MEMORY, alone, config, gguf, parts, safetensors, shards, valid};
use attendant_formats::{Access, Config, Error, GenerationConfig, Weights, shards as index};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long a refusal may take to compute. A build that checks its own arithmetic is given three times as long.
pub(crate) const TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 300 } else { 100 });
/// How much memory a refusal may take, in bytes.
pub(crate) const ROOM: usize = 64 << 20;

/// Files in a folder, which one is opened, and words that the refusal says.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    pub(crate) open: &'static str,
    pub(crate) says: &'static [&'static str],
}

impl Case {
    /// One file.
    pub(crate) fn file(open: &'static str, name: &'static str, bytes: Vec<u8>, says: &'static [&'static str]) -> Case {
        Case { name, files: vec![(open, bytes)], open, says }
    }
}

/// Opens a file as whoever wants its content does.
fn open(path: &Path, access: Access) -> Result<(), Error> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("config.json") => config::read(path),
        Some("generation_config.json") => GenerationConfig::open(path).map(drop),
        _ => Weights::open(path, access).map(drop),
    }
}

/// What refusing a case took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    time: Duration,
    memory: usize,
}

/// Refuses a case, or says what breaks the promise.
fn refuse(case: &Case, folder: &Path) -> Result<Cost, String> {
    for (name, bytes) in &case.files {
        fs::write(folder.join(name), bytes).map_err(|why| format!("{name}: {why}"))?;
    }
    let path = folder.join(case.open);
    // What a file costs is the least that it cost: other programs can make a try slower, and none faster.
    let (mut least, mut most) = (Duration::MAX, 0);
    for access in [Access::Mapped, Access::Copied, Access::Mapped] {
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let start = Clock::of_thread();
        let result = open(&path, access);
        least = least.min(start.elapsed());
        let mut memory = MEMORY.peak_usage().saturating_sub(before);
        if access == Access::Copied {
            memory = memory.saturating_sub(case.files.iter().map(|(_, bytes)| 2 * bytes.len()).sum());
        }
        most = most.max(memory);
        let line = result.err().ok_or("accepted")?.to_string();
        if memory > ROOM {
            return Err(format!("took {memory} bytes: {line}"));
        }
        if let Some(missing) = case.says.iter().find(|words| !line.contains(*words)) {
            return Err(format!("does not say {missing:?}: {line}"));
        }
        let begins = format!("{}/", folder.display());
        if !line.starts_with(&begins) || line.chars().any(char::is_control) || line.chars().count() > 1300 {
            return Err(format!("no line of bounded length that begins with the file: {line:?}"));
        }
    }
    if least > TIME { Err(format!("took {least:?}")) } else { Ok(Cost { time: least, memory: most }) }
}

#[test]
fn hostile_files_are_refused() {
    let _alone = alone();
    let tables = [safetensors::table(), shards::table(), gguf::table(), parts::table(), config::table()];
    let cases: Vec<Case> = tables.into_iter().flatten().collect();
    let mut names: Vec<_> = cases.iter().map(|case| (case.open, case.name)).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let (mut slowest, mut largest, mut complaints) = ((Duration::ZERO, ""), (0, ""), Vec::new());
    for case in &cases {
        let folder = tempfile::tempdir().unwrap();
        match refuse(case, folder.path()) {
            Ok(cost) => {
                slowest = slowest.max((cost.time, case.name));
                largest = largest.max((cost.memory, case.name));
            }
            Err(why) => complaints.push(format!("{}: {}: {why}", case.open, case.name)),
        }
    }
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
    println!("{} refused; slowest {slowest:?}, largest in bytes {largest:?}", cases.len());
}

#[test]
fn good_files_beside_them_are_taken() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for file in valid::files() {
        let name = match file.reader {
            valid::Reader::SafeTensors => "model.safetensors",
            valid::Reader::Gguf => "model.gguf",
            valid::Reader::Config => "config.json",
            valid::Reader::Generation => "generation_config.json",
            valid::Reader::Index => {
                index::parse(&file.bytes).unwrap_or_else(|why| panic!("{}: {why}", file.name));
                continue;
            }
        };
        let path = folder.path().join(name);
        fs::write(&path, &file.bytes).unwrap();
        let read = match file.reader {
            valid::Reader::Config => Config::open(&path).map(drop),
            _ => open(&path, Access::Mapped),
        };
        read.unwrap_or_else(|why| panic!("{}: {why}", file.name));
    }
}
