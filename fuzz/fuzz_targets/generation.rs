#![no_main]

use attendant_formats::GenerationConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(read) = GenerationConfig::parse(text) {
        assert!(read.top_p.is_none_or(|share| (0.0..=1.0).contains(&share)));
        assert!(read.temperature.is_none_or(|temperature| temperature >= 0.0 && temperature.is_finite()));
    }
});
