//! Valid files with damage of every kind: readers refuse or take them, and what they take keeps its promises.

use crate::alone;
use crate::sound::sound;
use crate::valid::{Reader, files};
use attendant_formats::{Config, GenerationConfig, gguf, safetensors, shards};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many damaged files each valid file gives.
const ROUNDS: u64 = 4000;

/// Numbers of full period from one seed; what a test draws need not be better.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(40) + 1)
    }
}

const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    8,
    31,
    32,
    33,
    255,
    256,
    65_535,
    65_536,
    1 << 24,
    1 << 31,
    u32::MAX as u64,
    1 << 61,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 31,
    u64::MAX - 7,
    u64::MAX,
];
const WORDS: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "null",
    "Infinity",
    "\\u0000",
    "../",
    "[[[[[[[[[[",
    "\"a\":1,",
    "\"dtype\":",
    "[0,1]",
    "\u{feff}",
    "9223372036854775807",
];

/// Damages a file once. `other` is a file to take pieces from.
fn damage(file: &mut Vec<u8>, other: &[u8], draw: &mut Draw) {
    let at = draw.below(file.len() + 1);
    match draw.below(9) {
        0 if at < file.len() => file[at] ^= 1 << draw.below(8),
        1 if at < file.len() => file[at] = draw.next() as u8,
        2 => {
            let number = draw.of(NUMBERS).to_le_bytes();
            let width = draw.of(&[1, 4, 8]);
            for (place, byte) in file.iter_mut().skip(at).zip(&number[..width]) {
                *place = *byte;
            }
        }
        3 => drop(file.drain(draw.range(file.len()))),
        4 => {
            let piece = file[draw.range(file.len())].to_vec();
            drop(file.splice(at..at, piece));
        }
        5 => {
            let piece = other[draw.range(other.len())].to_vec();
            drop(file.splice(at..at, piece));
        }
        6 => drop(file.splice(at..at, draw.of(WORDS).bytes())),
        7 => file.truncate(at),
        // A length that says what stands there: damage behind it is then seen by more than the first check.
        _ if file.len() >= 8 => {
            let length = (file.len() as u64 - 8).saturating_sub(draw.next() % 32);
            file[..8].copy_from_slice(&length.to_le_bytes());
        }
        _ => file.push(draw.next() as u8),
    }
}

/// Reads a file, and says whether it was taken.
///
/// # Panics
/// If the reader panics, or what it takes breaks a promise.
fn read(reader: Reader, file: &[u8]) -> bool {
    match reader {
        Reader::SafeTensors => safetensors::parse(file).is_ok_and(|read| {
            sound(&read.tensors, file);
            true
        }),
        Reader::Gguf => gguf::parse(file).is_ok_and(|read| {
            sound(&read.tensors, file);
            true
        }),
        Reader::Index => shards::parse(file).is_ok_and(|read| {
            let plain = |name: &String| !name.contains(['/', '\\', ':']) && name.ends_with(".safetensors");
            assert!(read.files.iter().all(plain) && read.file_of.values().all(|&file| file < read.files.len()));
            true
        }),
        Reader::Config => Config::parse(file).is_ok_and(|config| {
            let _ = config.get("hidden_size").size(1..=64);
            let _ = config.get("rope_scaling").object().map(|scaling| scaling.get("factor").float(0.0..=1.0));
            true
        }),
        Reader::Generation => GenerationConfig::parse(file).is_ok(),
    }
}

#[test]
fn damaged_files_never_harm_a_reader() {
    let _alone = alone();
    let seed = std::env::var("ATTENDANT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    println!("ATTENDANT_SEED={seed}");
    let files = files();
    let (mut taken, mut refused) = (0u32, 0u32);
    for (index, valid) in files.iter().enumerate() {
        for round in 0..ROUNDS {
            let mut draw = Draw(seed ^ (index as u64) << 48 ^ round << 16);
            let mut file = valid.bytes.clone();
            for _ in 0..1 + draw.below(4) {
                let other = &files[draw.below(files.len())].bytes;
                damage(&mut file, other, &mut draw);
            }
            let result = catch_unwind(AssertUnwindSafe(|| read(valid.reader, &file)));
            match result {
                Ok(true) => taken += 1,
                Ok(false) => refused += 1,
                Err(_) => panic!("ATTENDANT_SEED={seed}, {}, round {round}: {:?}", valid.name, file.escape_ascii().to_string()),
            }
        }
    }
    // Damage that always or never matters would test nothing.
    assert!(taken > 500 && refused > 5000, "{taken} taken, {refused} refused");
}
