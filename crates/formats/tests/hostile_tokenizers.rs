//! Files that make the tokenizers crate panic, write out of its buffer, or eat memory are refused in one line, quickly; and whatever
//! else happens to a file, nothing panics.

use attendant_formats::tokenizer::{GgufVocabulary, Tokenizer};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts what is allocated.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// How much memory a refusal may take, in bytes.
const ROOM: usize = 64 << 20;

/// Memory is counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refused, in one line, in time and in bounds of memory.
fn refused(name: &str, text: &[u8]) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let start = Instant::now();
    let result = Tokenizer::from_json(text);
    let took = start.elapsed();
    let memory = MEMORY.peak_usage().saturating_sub(before);
    let why = result.map(drop).expect_err(name).to_string();
    assert!(!why.contains('\n') && why.len() < 2000, "{name}: {why}");
    assert!(memory <= ROOM, "{name}: {memory} bytes");
    assert!(took < Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 }), "{name}: {took:?}");
}

/// A small tokenizer that is in order.
fn good() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{ "id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true }],
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": [["a", "b"]] }
    })
}

/// The good one with the value at a path replaced.
fn with(path: &str, value: Value) -> Value {
    let mut file = good();
    let (parent, name) = path.rsplit_once('/').unwrap();
    file.pointer_mut(parent).unwrap()[name] = value;
    file
}

fn template(pieces: Value, special: Value) -> Value {
    json!({ "type": "TemplateProcessing", "single": pieces, "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }], "special_tokens": special })
}

fn normalizers(part: Value, count: usize) -> Value {
    json!({ "type": "Sequence", "normalizers": vec![part; count] })
}

fn replace(from: &str, to: &str) -> Value {
    json!({ "type": "Replace", "pattern": { "String": from }, "content": to })
}

#[test]
fn hostile_files_are_refused() {
    let _alone = alone();
    Tokenizer::from_json(good().to_string().as_bytes()).unwrap();
    let a = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let bos = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
    let bos_is = |ids: Value| json!({ "<s>": { "id": "<s>", "ids": ids, "tokens": ["<s>"] } });
    let split =
        |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let wordpiece = |field: &str, value: Value| {
        let mut model = json!({ "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                                "max_input_chars_per_word": 100, "vocab": { "[UNK]": 0, "a": 1 } });
        model[field] = value;
        model
    };
    let unigram = |vocab: Value, unk: Value| json!({ "type": "Unigram", "unk_id": unk, "vocab": vocab });
    let deep = (0..40).fold(json!({ "type": "NFC" }), |part, _| json!({ "type": "Sequence", "normalizers": [part] }));
    let table = [
        ("a merge longer than any token", "/model/merges", json!([["ab", "ab"]])),
        ("a merge of nothing known", "/model/merges", json!([["x", "y"]])),
        ("a merge that makes no token", "/model/merges", json!([["b", "a"]])),
        ("merges of one", "/model/merges", json!([["a"]])),
        ("merges of three", "/model/merges", json!([["a", "b", "ab"]])),
        ("merges without a space", "/model/merges", json!(["ab"])),
        ("merges with two spaces", "/model/merges", json!(["a b ab"])),
        ("merges of numbers", "/model/merges", json!([[1, 2]])),
        ("no merges", "/model/merges", Value::Null),
        ("a prefix that cuts a character in two", "/model/continuing_subword_prefix", json!("é")),
        ("a prefix longer than a token", "/model/continuing_subword_prefix", json!("##")),
        ("dropout", "/model/dropout", json!(0.5)),
        ("dropout beyond 1", "/model/dropout", json!(7)),
        ("an unknown token that is none", "/model/unk_token", json!("<unk>")),
        ("no tokens", "/model/vocab", json!({})),
        ("a huge id", "/model/vocab/ab", json!(u32::MAX)),
        ("an id beyond 32 bits", "/model/vocab/ab", json!(1_u64 << 40)),
        ("a negative id", "/model/vocab/ab", json!(-1)),
        ("an id twice", "/model/vocab/ab", json!(0)),
        ("a long token", "/model/vocab", json!({ "a": 0, "b": 1, "ab": 2, "x".repeat(5000): 3 })),
        ("a gap that moves an added token", "/model/vocab", json!({ "a": 0, "b": 1, "ab": 3 })),
        ("a model of another kind", "/model/type", json!("Neural")),
        ("a model without vocabulary", "/model", json!({ "type": "BPE" })),
        ("no model", "/model", Value::Null),
        ("scores for byte pairs", "/model/vocab", json!([["a", 0.0]])),
        ("another version", "/version", json!("9.9")),
        (
            "cutting at 0",
            "/truncation",
            json!({ "direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0 }),
        ),
        (
            "a stride beyond the length",
            "/truncation",
            json!({ "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 5 }),
        ),
        (
            "cutting far out",
            "/truncation",
            json!({ "direction": "Right", "max_length": u64::MAX, "strategy": "LongestFirst", "stride": 1 }),
        ),
        (
            "filling up for ever",
            "/padding",
            json!({ "strategy": { "Fixed": u64::MAX }, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "x" }),
        ),
        (
            "filling up to multiples",
            "/padding",
            json!({ "strategy": "BatchLongest", "pad_to_multiple_of": 1_u64 << 60, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "x" }),
        ),
        ("an added token with a huge id", "/added_tokens/0/id", json!(u32::MAX)),
        ("an added token with another's id", "/added_tokens/0/id", json!(1)),
        ("an added token after a gap", "/added_tokens/0/id", json!(700)),
        ("an added token of nothing", "/added_tokens/0/content", json!("")),
        ("a long added token", "/added_tokens/0/content", json!("x".repeat(5000))),
        ("an added token twice", "/added_tokens", json!([{ "id": 3, "content": "x" }, { "id": 4, "content": "x" }])),
        ("an added id twice", "/added_tokens", json!([{ "id": 3, "content": "x" }, { "id": 3, "content": "y" }])),
        ("pieces of length 0", "/pre_tokenizer", json!({ "type": "FixedLength", "length": 0 })),
        ("a template with an absent token", "/post_processor", template(json!([bos, a]), json!({}))),
        ("a template with an absent id", "/post_processor", template(json!([bos, a]), bos_is(json!([77])))),
        ("a template with other ids than tokens", "/post_processor", template(json!([bos, a]), bos_is(json!([3, 3])))),
        ("a template with the text twice", "/post_processor", template(json!([a, a]), json!({}))),
        (
            "a template with a third text",
            "/post_processor",
            template(json!([{ "Sequence": { "id": "C", "type_id": 0 } }]), json!({})),
        ),
        ("a template with many tokens", "/post_processor", template(json!(vec![bos.clone(); 1000]), bos_is(json!([3])))),
        ("a template that is a text", "/post_processor", template(json!("$A"), json!({}))),
        (
            "a post-processor with an absent id",
            "/post_processor",
            json!({ "type": "BertProcessing", "sep": ["x", 99], "cls": ["y", 98] }),
        ),
        ("a post-processor without ids", "/post_processor", json!({ "type": "RobertaProcessing" })),
        ("a doubling normalizer", "/normalizer", normalizers(replace("a", "aa"), 40)),
        ("a long insertion", "/normalizer", replace("a", &"x".repeat(1000))),
        ("a long beginning", "/normalizer", json!({ "type": "Prepend", "prepend": "x".repeat(1000) })),
        ("many normalizers", "/normalizer", normalizers(json!({ "type": "Nmt" }), 1000)),
        ("nested normalizers", "/normalizer", deep),
        ("a normalizer of another kind", "/normalizer", json!({ "type": "Shell", "command": "true" })),
        ("a normalizer without type", "/normalizer", json!({})),
        ("a normalizer that is a list", "/normalizer", json!([])),
        ("a character map that is no base64", "/normalizer", json!({ "type": "Precompiled", "precompiled_charsmap": "&&&&" })),
        ("a character map that is cut off", "/normalizer", json!({ "type": "Precompiled", "precompiled_charsmap": "/////w==" })),
        (
            "a character map with a long search tree",
            "/normalizer",
            json!({ "type": "Precompiled", "precompiled_charsmap": "/P///wAAAAA=" }),
        ),
        (
            "a character map with half an entry",
            "/normalizer",
            json!({ "type": "Precompiled", "precompiled_charsmap": "AgAAAAAAAAA=" }),
        ),
        ("a character map of nothing", "/normalizer", json!({ "type": "Precompiled", "precompiled_charsmap": "" })),
        ("a pattern that is none", "/pre_tokenizer", split("(")),
        ("a pattern that explodes", "/pre_tokenizer", split("((((a{999}){999}){999}){999}){999}")),
        ("a pattern that explodes behind a look", "/pre_tokenizer", split("(?:(?=a)(?:(?!b)c){900}){900}")),
        ("a long pattern", "/pre_tokenizer", split(&"a".repeat(10_000))),
        ("a deep pattern", "/pre_tokenizer", split(&format!("{}a{}", "(".repeat(1500), ")".repeat(1500)))),
        (
            "a behaviour of another kind",
            "/pre_tokenizer",
            json!({ "type": "Split", "pattern": { "String": "a" }, "behavior": "Explode", "invert": false }),
        ),
        ("a doubling decoder", "/decoder", json!({ "type": "Sequence", "decoders": vec![replace("a", "aaaa"); 20] })),
        ("a decoder of another kind", "/decoder", json!({ "type": "Nothing" })),
        (
            "a decoder that strips without end",
            "/decoder",
            json!({ "type": "Strip", "content": "a", "start": 0, "stop": u64::MAX }),
        ),
        ("words of any length", "/model", wordpiece("max_input_chars_per_word", json!(u64::MAX))),
        ("words without unknown", "/model", wordpiece("unk_token", json!("absent"))),
        ("words without prefix", "/model", wordpiece("continuing_subword_prefix", Value::Null)),
        ("an unknown id beyond the vocabulary", "/model", unigram(json!([["a", 0.0]]), json!(1))),
        ("no unknown id", "/model", unigram(json!([["a", 0.0]]), Value::Null)),
        ("no scored tokens", "/model", unigram(json!([]), json!(0))),
        ("a huge score", "/model", unigram(json!([["a", 1e300]]), json!(0))),
        ("a score that is a text", "/model", unigram(json!([["a", "b"]]), json!(0))),
    ];
    assert!(table.len() >= 70, "{}", table.len());
    for (name, path, value) in table {
        refused(name, with(path, value).to_string().as_bytes());
    }
}

#[test]
fn hostile_texts_are_refused() {
    let _alone = alone();
    refused("nothing", b"");
    refused("no JSON", b"GGUF");
    refused("another shape", b"[]");
    refused("not UTF-8", b"{\"version\": \"\xff\"}");
    refused("a number that is none", b"{\"model\": NaN}");
    refused("the model twice", br#"{"model": {"vocab": {"a": 0}, "merges": []}, "model": {"vocab": {"a": 0}, "merges": []}}"#);
    refused("a token twice", br#"{"model": {"vocab": {"a": 0, "a": 1}, "merges": []}}"#);
    refused(
        "a part's field twice",
        br#"{"normalizer": {"type": "NFC", "type": "NFD"}, "model": {"vocab": {"a": 0}, "merges": []}}"#,
    );
    refused("deep", format!("{{\"normalizer\": {}", "[".repeat(100_000)).as_bytes());
    refused("cut off", &good().to_string().as_bytes()[..200]);
}

#[test]
fn what_still_fails_in_use_is_a_refusal() {
    let _alone = alone();
    let decoder = json!({ "type": "Strip", "content": "a", "start": 0, "stop": 5 });
    let tokenizer = Tokenizer::from_json(with("/decoder", decoder).to_string().as_bytes()).unwrap();
    let why = tokenizer.decode(&[0], false).unwrap_err().to_string();
    assert!(why.starts_with("tokens: cannot be used") && !why.contains('\n'), "{why}");
    let long = Tokenizer::from_json(good().to_string().as_bytes()).unwrap().encode(&"a ".repeat(16 << 20), true).unwrap_err();
    assert!(long.to_string().contains("this tokenizer takes"), "{long}");
}

#[test]
fn hostile_fields_of_gguf_are_refused() {
    let _alone = alone();
    let tokens = || ["<s>", "a", "b", "ab"].map(String::from).to_vec();
    let good = || GgufVocabulary {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens: tokens(),
        merges: vec!["a b".into()],
        ..Default::default()
    };
    Tokenizer::from_gguf(good()).unwrap();
    let llama = || GgufVocabulary { model: "llama".into(), scores: vec![0.0; 4], ..good() };
    Tokenizer::from_gguf(llama()).unwrap();
    let table: [(&str, GgufVocabulary); 13] = [
        ("no kind", GgufVocabulary { model: "".into(), ..good() }),
        ("another kind", GgufVocabulary { model: "rwkv".into(), ..good() }),
        ("no way to cut", GgufVocabulary { pre: None, ..good() }),
        ("another way to cut", GgufVocabulary { pre: Some("x\ny".into()), ..good() }),
        ("no tokens", GgufVocabulary { tokens: vec![], ..good() }),
        ("merges of one", GgufVocabulary { merges: vec!["ab".into()], ..good() }),
        ("a merge too long", GgufVocabulary { merges: vec!["ab ab".into()], ..good() }),
        ("kinds for some", GgufVocabulary { token_type: vec![1], ..good() }),
        ("a beginning that is none", GgufVocabulary { bos: Some(4), ..good() }),
        ("a beginning to add that is not said", GgufVocabulary { add_bos: Some(true), ..good() }),
        ("no scores", GgufVocabulary { scores: vec![], ..llama() }),
        (
            "a score that is no number",
            GgufVocabulary { model: "t5".into(), scores: vec![f32::NAN; 4], unknown: Some(0), ..good() },
        ),
        ("words without ends", GgufVocabulary { model: "bert".into(), unknown: Some(0), ..good() }),
    ];
    for (name, fields) in table {
        let why = Tokenizer::from_gguf(fields).map(drop).expect_err(name).to_string();
        assert!(!why.contains('\n'), "{name}: {why}");
    }
    let twice = || ["a", "b", "ab", "a"].map(String::from).to_vec();
    for fields in [GgufVocabulary { tokens: twice(), ..good() }, GgufVocabulary { tokens: twice(), ..llama() }] {
        let why = Tokenizer::from_gguf(fields).map(drop).expect_err("a token twice").to_string();
        assert!(why.ends_with("model.vocab: \"a\" occurs twice"), "{why}");
    }
}

/// A generator whose numbers are specified (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Replaces, removes or repeats something in a JSON value, most often by its like, so that readers get to what it means.
fn mutate(value: &mut Value, numbers: &mut Numbers) {
    let alike = numbers.below(32) > 0;
    match value {
        Value::Array(items) if alike && !items.is_empty() => {
            let at = numbers.below(items.len());
            match numbers.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => mutate(&mut items[at], numbers),
            }
        }
        Value::Object(fields) if alike && !fields.is_empty() => {
            let name = fields.keys().nth(numbers.below(fields.len())).expect("one of the fields").clone();
            match numbers.below(16) {
                0 => drop(fields.remove(&name)),
                _ => mutate(&mut fields[&name], numbers),
            }
        }
        Value::Number(_) if alike => {
            *value = [json!(0), json!(1), json!(7), json!(-1), json!(u32::MAX), json!(1e9)][numbers.below(6)].clone()
        }
        Value::String(_) if alike => *value = ["", "a", "é", " ", "<unk>", "##a"][numbers.below(6)].into(),
        Value::Bool(set) if alike => *set = !*set,
        _ => *value = [json!(0), json!("a"), json!(true), json!([]), json!({}), Value::Null][numbers.below(6)].clone(),
    }
}

#[test]
fn mutated_files_never_panic() {
    let _alone = alone();
    let seed = std::env::var("ATTENDANT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20261124);
    println!("ATTENDANT_SEED={seed}");
    let mut numbers = Numbers(seed);
    let files = [
        include_bytes!("data/tokenizers/bytelevel_llama3.tokenizer.json").as_slice(),
        include_bytes!("data/tokenizers/spm_bpe_llama2.tokenizer.json"),
        include_bytes!("data/tokenizers/unigram_t5.tokenizer.json"),
        include_bytes!("data/tokenizers/wordpiece_bert.tokenizer.json"),
    ];
    let words: [&[u8]; 12] =
        [b"0", b"-1", b"4294967295", b"\"\"", b"null", b"[]", b"{}", b"1e9", b"\"\xc3\xa9\"", b",", b"\"a\"", b"true"];
    let mut accepted = 0;
    for round in 0..400 {
        let mut file = files[round % files.len()].to_vec();
        let changes = 1 + numbers.below(3);
        // Values, which leave it JSON, or bytes, which seldom do.
        if numbers.below(2) == 0 {
            let mut value = serde_json::from_slice(&file).expect("the files are JSON");
            for _ in 0..changes {
                mutate(&mut value, &mut numbers);
            }
            file = value.to_string().into_bytes();
        } else {
            for _ in 0..changes {
                let at = numbers.below(file.len());
                let end = (at + numbers.below(12)).min(file.len());
                match numbers.below(3) {
                    0 => file[at] = numbers.below(256) as u8,
                    1 => drop(file.drain(at..end)),
                    _ => drop(file.splice(at..end, words[numbers.below(words.len())].iter().copied())),
                }
            }
        }
        if let Ok(tokenizer) = Tokenizer::from_json(&file) {
            accepted += 1;
            for text in ["", "The keys of\n\nevery héad 🙂 <|end|>", " \u{0} "] {
                if let Ok(ids) = tokenizer.encode(text, true) {
                    let _ = tokenizer.decode(&ids, false);
                }
            }
        }
    }
    assert!(accepted > 10, "{accepted} of 400 were accepted: too few to say anything");
}

#[test]
fn mutated_vocabularies_never_panic() {
    let _alone = alone();
    let seed = std::env::var("ATTENDANT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20261129);
    println!("ATTENDANT_SEED={seed}");
    let mut numbers = Numbers(seed);
    let words = ["", "a", "b", "ab", "<s>", "</s>", "<0x41>", "▁", "▁a", "##b", "é", "\u{0}", "a b", "[UNK]", "<unk>", "ab ab"];
    let tokens = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a", "[UNK]", "##b", "<0x41>"].map(String::from);
    let kinds = ["gpt2", "llama", "t5", "bert"];
    let mut accepted = 0;
    for round in 0..2000 {
        let mut fields = GgufVocabulary {
            model: kinds[round % kinds.len()].into(),
            pre: Some("gpt-2".into()),
            scores: vec![-1.0; tokens.len()],
            token_type: vec![1; tokens.len()],
            tokens: tokens.to_vec(),
            merges: if round % kinds.len() == 0 { vec!["a b".into(), "▁ a".into()] } else { Vec::new() },
            bos: Some(1),
            eos: Some(2),
            unknown: Some(0),
            separator: Some(2),
            ..Default::default()
        };
        for _ in 0..numbers.below(4) {
            let at = numbers.below(fields.tokens.len());
            let word = words[numbers.below(words.len())].to_owned();
            let id = [0, 1, 5, 10, 11, u32::MAX][numbers.below(6)];
            match numbers.below(11) {
                0 => fields.tokens[at] = word,
                1 => fields.merges.push(word),
                2 => fields.scores = vec![f32::NAN; at],
                3 => fields.token_type = vec![[0, 1, 2, 3, 4, 5, 6, -1][numbers.below(8)]; tokens.len()],
                4 => fields.bos = Some(id),
                5 => fields.eos = None,
                6 => fields.unknown = Some(id),
                7 => fields.add_bos = Some(true),
                8 => fields.pre = Some(word),
                9 => fields.precompiled_charsmap = (0..numbers.below(24)).map(|_| numbers.below(256) as u8).collect(),
                _ => fields.tokens.truncate(at.max(1)),
            }
        }
        match Tokenizer::from_gguf(fields) {
            Err(why) => assert!(!why.to_string().contains(char::is_control), "{why}"),
            Ok(tokenizer) => {
                accepted += 1;
                for text in ["", "ab a\n\nhéad 🙂 <s>", " \u{0} "] {
                    if let Ok(ids) = tokenizer.encode(text, true) {
                        let _ = tokenizer.decode(&ids, false);
                    }
                }
            }
        }
    }
    assert!((500..1900).contains(&accepted), "{accepted}: damage that always or never matters would test nothing");
}
