#![no_main]

#[path = "../../crates/formats/tests/readers/sound.rs"]
mod sound;

use attendant_formats::gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    match gguf::parse(file) {
        Ok(read) => sound::sound(&read.tensors, file),
        Err(refusal) => assert!(!refusal.to_string().contains(char::is_control)),
    }
});
