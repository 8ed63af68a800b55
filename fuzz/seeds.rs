//! Writes the files that fuzzing begins with: `seeds FOLDER` makes FOLDER/TARGET/NAME.

#[path = "../crates/formats/tests/readers/valid.rs"]
mod valid;

use std::path::{Path, PathBuf};
use std::{env, fs, io};
use valid::Reader;

/// Small tokenizers of each kind; what the readers' tests carry is too long to be changed byte by byte.
const TOKENIZERS: [(&str, &[u8]); 3] = [
    (
        "bpe",
        br#"{"version":"1.0","added_tokens":[{"id":3,"content":"<s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":{"type":"Fuse"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}"#,
    ),
    (
        "unigram",
        br#"{"version":"1.0","added_tokens":[],"normalizer":{"type":"Precompiled","precompiled_charsmap":"CAAAAAAAAAAAAAAAYQA="},"pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"always","split":true},"post_processor":null,"decoder":{"type":"Metaspace","replacement":"_","prepend_scheme":"always","split":true},"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5],["_a",-1.0]],"byte_fallback":false}}"#,
    ),
    (
        "wordpiece",
        br###"{"version":"1.0","added_tokens":[],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":null,"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[UNK]":0,"a":1,"##b":2}}}"###,
    ),
];

/// Vocabularies as the target reads them.
const VOCABULARIES: [(&str, &str); 4] = [
    ("gpt2", "gpt2\ngpt-2\n0\n0\n\n\na b|ab a\n3<s>\n1a\n1b\n1ab\n1aba"),
    ("llama", "llama\ndefault\n1\n2\n0\n\n\n2<unk>\n3<s>\n3</s>\n6<0x41>\n1\u{2581}\n1a\n1\u{2581}a"),
    ("t5", "t5\ndefault\n1\n1\n0\n\n\n2<unk>\n3</s>\n1\u{2581}\n1a"),
    ("bert", "bert\nbert-bge\n1\n2\n0\n\n\n2[UNK]\n3[CLS]\n3[SEP]\n1\u{2581}a\n1b"),
];

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or_else(|| io::Error::other("wanted a folder"))?);
    for file in valid::files() {
        let target = folder.join(match file.reader {
            Reader::SafeTensors => "safetensors",
            Reader::Index => "index",
            Reader::Gguf => "gguf",
            Reader::Config => "config",
            Reader::Generation => "generation",
        });
        write(&target, &file.name.replace(' ', "_"), &file.bytes)?;
    }
    for (at, template) in valid::TEMPLATES.iter().enumerate() {
        write(&folder.join("template"), &at.to_string(), template.as_bytes())?;
    }
    for (name, file) in TOKENIZERS {
        write(&folder.join("tokenizer"), name, file)?;
    }
    for (name, lines) in VOCABULARIES {
        write(&folder.join("vocabulary"), name, lines.as_bytes())?;
    }
    Ok(())
}

fn write(target: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(target)?;
    fs::write(target.join(name), bytes)
}
