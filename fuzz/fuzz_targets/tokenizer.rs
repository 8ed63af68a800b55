#![no_main]

use attendant_formats::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    match Tokenizer::from_json(file) {
        Ok(tokenizer) => {
            if let Ok(ids) = tokenizer.encode("The keys of\n\nevery h\u{e9}ad <|end|> \u{0}", true) {
                let _ = tokenizer.decode(&ids, false);
            }
        }
        Err(refusal) => assert!(!refusal.to_string().contains(char::is_control)),
    }
});
