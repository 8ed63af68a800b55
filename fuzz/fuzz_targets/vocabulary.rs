#![no_main]

use attendant_formats::Tokenizer;
use attendant_formats::tokenizer::GgufVocabulary;
use libfuzzer_sys::fuzz_target;

// One field a line: the model, how texts are cut, three ids, the character map, the merges with bars between them, and then the tokens,
// each behind a byte that is its kind and its score.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or("");
    let (model, pre) = (line().to_owned(), Some(line().to_owned()));
    let mut id = || line().parse().ok();
    let (bos, eos, unknown) = (id(), id(), id());
    let precompiled_charsmap = line().as_bytes().to_vec();
    let merges = line().split('|').filter(|merge| !merge.is_empty()).map(str::to_owned).collect();
    let kinds: Vec<(char, &str)> = lines.filter_map(|line| Some((line.chars().next()?, line))).collect();
    let number = |kind: &(char, &str)| i32::from(kind.0 as u8) - i32::from(b'0');
    let fields = GgufVocabulary {
        model,
        pre,
        tokens: kinds.iter().map(|(kind, line)| line[kind.len_utf8()..].to_owned()).collect(),
        scores: kinds.iter().map(|kind| -number(kind) as f32).collect(),
        token_type: kinds.iter().map(number).collect(),
        merges,
        precompiled_charsmap,
        bos,
        eos,
        unknown,
        separator: eos,
        ..GgufVocabulary::default()
    };
    match Tokenizer::from_gguf(fields) {
        Ok(tokenizer) => {
            if let Ok(ids) = tokenizer.encode("The keys of\n\nevery h\u{e9}ad <s> \u{0}", true) {
                let _ = tokenizer.decode(&ids, false);
            }
        }
        Err(refusal) => assert!(!refusal.to_string().contains(char::is_control)),
    }
});
