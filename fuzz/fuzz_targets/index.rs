#![no_main]

use attendant_formats::shards;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(index) = shards::parse(text) {
        assert!(index.files.iter().all(|name| !name.contains(['/', '\\', ':', '\0']) && name.ends_with(".safetensors")));
        assert!(index.file_of.values().all(|&file| file < index.files.len()));
    }
});
