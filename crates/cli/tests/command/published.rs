//! Models as others publish them: a folder of the tests of families, with a vocabulary of characters and a template beside it.

use crate::{Place, code, error};
use serde_json::json;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Output, Stdio};

const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789 .,;!?:|\n";

/// Writes a folder `model` of this family into the place.
pub(crate) fn publish(place: &Place, family: &str) {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data").join(family), place.path("model"));
    fs::create_dir(&to).unwrap();
    fs::copy(from.join("model.safetensors"), to.join("model.safetensors")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    // With random weights every token is as likely, and an end would come when it likes.
    config["eos_token_id"] = json!(null);
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    let marks = ["<pad>", "<s>", "</s>"];
    let characters = CHARACTERS.chars().map(String::from);
    let vocabulary: serde_json::Map<_, _> =
        marks.map(String::from).into_iter().chain(characters).enumerate().map(|(id, token)| (token, json!(id))).collect();
    let added = marks.iter().enumerate().map(|(id, content)| json!({"id": id, "content": content, "special": true}));
    let tokenizer = json!({
        "added_tokens": added.collect::<Vec<_>>(),
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    fs::write(to.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let template = "{% for message in messages %}{{ message.role }}:{{ message.content }}|{% endfor %}a:";
    fs::write(to.join("chat_template.jinja"), template).unwrap();
}

/// Talks with the model, line by line.
fn chat(place: &Place, words: &str, lines: &str) -> Output {
    let mut process = place.command(words);
    let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses its model may be gone before it is spoken to.
    let said = process.stdin.take().unwrap().write_all(lines.as_bytes());
    assert!(said.is_ok() || said.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
    process.wait_with_output().unwrap()
}

/// Two layers keep keys and values of two heads of twelve values.
const BYTES: usize = 2 * 2 * 2 * 12 * 4;

#[test]
fn no_more_positions_are_kept_than_asked_for() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let line = place.bad("generate model -p it.was.a.truth --context 12", 2);
    assert_eq!(line, "attendant: --prompt: got 14 tokens, wanted at most the 12 of --context\n");
    for most in [14, 40, 128] {
        let output = place.run(&format!("generate model -p it.was.a.truth --max-new 500 --seed 5 --context {most}"));
        let talk = error(&output);
        assert_eq!(code(&output), 0, "{talk}");
        assert!(talk.contains(&format!("it ends here: all {most} positions of --context are full\n")), "{talk}");
        assert!(talk.contains(&format!("{} tokens, ", most - 14)), "{talk}");
        assert!(talk.contains(&format!("cache: {} bytes for {most} tokens", most * BYTES)), "{talk}");
    }
    let output = place.run("generate model -p it.was.a.truth --max-new 5 --seed 5 --context 40");
    assert!(!error(&output).contains("ends here"), "{}", error(&output));
}

#[test]
fn a_template_may_stand_where_processors_look_for_it() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let words = "chat model --max-new 4 --seed 5";
    let wanted = chat(&place, words, "it was\n");
    assert_eq!(code(&wanted), 0, "{}", error(&wanted));
    let template = fs::read_to_string(place.path("model/chat_template.jinja")).unwrap();
    fs::remove_file(place.path("model/chat_template.jinja")).unwrap();
    assert_eq!(code(&chat(&place, words, "it was\n")), 2);
    fs::write(place.path("model/chat_template.json"), json!({ "chat_template": template }).to_string()).unwrap();
    assert_eq!(chat(&place, words, "it was\n").stdout, wanted.stdout);
}

#[test]
fn a_model_is_found_by_its_folder_and_by_its_files() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    fs::copy(place.path("model/model.safetensors"), place.path("model/other.safetensors")).unwrap();
    let generated = |model: &str| place.good(&format!("generate {model} -p it.was --max-new 5 --seed 5"));
    let wanted = generated("model");
    for file in ["config.json", "model.safetensors", "other.safetensors"] {
        assert_eq!(generated(&format!("model/{file}")), wanted, "{file}");
    }
    fs::create_dir(place.path("empty")).unwrap();
    for (model, want) in [("none.gguf", "none.gguf: No such file"), ("empty", "empty: got no checkpoint there, wanted a run")] {
        for words in ["generate -p x", "chat", "eval --text text.txt", "inspect", "logits --ids x --out y", "embed x"] {
            let (command, options) = words.split_once(' ').map_or((words, ""), |(command, options)| (command, options));
            let words = format!("{command} {model} {options}");
            assert!(place.bad(words.trim_end(), 2).starts_with(&format!("attendant: {want}")), "{words}");
        }
    }
}

#[test]
fn the_end_of_the_last_line_is_no_part_of_a_prompt() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let words = |from: &str| format!("generate model {from} --max-new 5 --seed 5");
    let wanted = place.good(&words("--prompt it.was"));
    fs::write(place.path("text"), "it.was\r\n").unwrap();
    assert_eq!(place.good(&words("--prompt-file text")), wanted);
    for from in ["--prompt -", "--prompt-file -"] {
        let output = chat(&place, &words(from), "it.was\n");
        assert_eq!((code(&output), String::from_utf8_lossy(&output.stdout).as_ref()), (0, &*wanted), "{}", error(&output));
    }
    fs::write(place.path("text"), "\n").unwrap();
    assert_eq!(place.bad(&words("--prompt-file text"), 2), "attendant: text: got no tokens, wanted at least one\n");
}

#[test]
fn a_blank_line_ends_no_conversation_that_is_read_from_a_file() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let output = chat(&place, "chat model --max-new 2 --stats", "how are you?\n\nand now?\n");
    assert_eq!((code(&output), error(&output).matches(" tokens/s; cache: ").count()), (0, 2), "{}", error(&output));
}

#[test]
fn more_positions_than_the_model_was_made_for_are_said_and_more_than_it_has_are_refused() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let output = place.run("generate model -p it.was.a.truth --max-new 500 --seed 5 --context 300");
    let talk = error(&output);
    assert!(code(&output) == 0 && talk.starts_with("--context: got 300, and the model was made for 128\n"), "{talk}");
    assert!(talk.contains(&format!("cache: {} bytes for 300 tokens", 300 * BYTES)), "{talk}");
    let place = Place::new();
    publish(&place, "opt");
    let line = place.bad("generate model -p it.was.a.truth --context 65", 2);
    assert_eq!(line, "attendant: --context: got 65, wanted at most the 64 positions that were learned\n");
}

#[test]
fn a_chat_forgets_its_oldest_turns_to_leave_room_for_an_answer() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let words = "chat model --context 80 --max-new 6 --seed 5 --stats --system be.brief";
    let output = chat(&place, words, "how are you?\nand now?\nwhat is left of it?\nbye.\n");
    let talk = error(&output);
    assert_eq!(code(&output), 0, "{talk}");
    let forgotten: Vec<&str> = talk.lines().filter(|line| line.contains("forgotten")).collect();
    assert!(!forgotten.is_empty(), "{talk}");
    assert!(
        forgotten.iter().all(|line| line.ends_with(" old turns are forgotten: they and an answer exceed 80 positions")),
        "{talk}"
    );
    assert_eq!(talk.matches(" tokens/s; cache: ").count(), 4, "{talk}");
    assert!(!talk.contains("full"), "{talk}");
    let output = chat(&place, words, "how are you?\na question that is longer than all that is kept of what was said, by far\n");
    assert_eq!(code(&output), 2);
    let line = error(&output).lines().last().unwrap().to_owned();
    assert!(
        line.starts_with("attendant: prompt: got ") && line.ends_with("wanted at most 74, 6 of 80 being an answer's"),
        "{line}"
    );
}

#[test]
fn what_of_a_larger_model_is_not_read_is_said_by_every_command_that_runs_it() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let path = place.path("model/config.json");
    let inner: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::write(&path, json!({"model_type": "seeing", "text_config": inner, "vision_config": {}}).to_string()).unwrap();
    write_ids(&place, &[("input_ids", &[5, 6, 7])]);
    let training = "--set training.tokens=32 --set data.context=16 --set data.batch=2 --set training.validation_tokens=16";
    for words in [
        "generate model -p it.was --max-new 2",
        "generate model --ids ids --max-new 2 --out tokens",
        "chat model --max-new 2",
        "eval model --text text.txt --window 32 --windows 1",
        "logits model --ids ids --out out",
        &format!("train --from model --text text.txt --out run {training}"),
    ] {
        let output = chat(&place, words, "hello\n");
        let talk = error(&output);
        let line = "only the language model is read, and not what reads images or sound";
        assert!(code(&output) == 0 && talk.lines().filter(|said| said.contains(line)).count() == 1, "{words}: {talk}");
    }
}

/// The name of a tensor, and its only row.
type Row<'a> = (&'a str, &'a [i64]);

/// Writes a file `ids` with these tensors.
fn write_ids(place: &Place, tensors: &[Row<'_>]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, row) in tensors {
        let start = data.len();
        data.extend(row.iter().flat_map(|id| id.to_le_bytes()));
        header.insert((*name).into(), json!({"dtype": "I64", "shape": [1, row.len()], "data_offsets": [start, data.len()]}));
    }
    let header = json!(header).to_string();
    fs::write(place.path("ids"), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}

#[test]
fn tokens_that_cannot_be_used_are_refused_by_file_and_tensor() {
    let place = Place::new();
    publish(&place, "t5");
    let cases: [(&[Row<'_>], &str); 4] = [
        (&[("input_ids", &[5, 6, 7])], "decoder_input_ids: got none, wanted the target's tokens"),
        (&[("input_ids", &[5, 6]), ("attention_mask", &[0, 0])], "attention_mask: got row 0 without a token"),
        (&[("input_ids", &[5, -6, 7])], "input_ids: got -6, which no token has"),
        (&[("input_ids", &[5, 99_999]), ("decoder_input_ids", &[0])], "ids: got 99999, wanted less than the vocabulary of"),
    ];
    for (tensors, want) in cases {
        write_ids(&place, tensors);
        let line = place.bad("logits model --ids ids --out out", 2);
        assert!(line.starts_with(&format!("attendant: ids: {want}")), "{line}");
    }
    let line = place.bad("logits model --ids text.txt --out out", 2);
    assert!(line.starts_with("attendant: text.txt: content: wanted GGUF or safetensors, got neither"), "{line}");
}

#[test]
fn what_an_evaluation_leaves_out_is_said() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    fs::write(place.path("short.txt"), "a".repeat(50)).unwrap();
    let output = place.run("eval model --text short.txt --window 32 --json");
    assert_eq!((code(&output), error(&output).as_str()), (0, "the last 18 of 50 tokens are not read: they fill no window\n"));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!([&report["tokens"], &report["judged"], &report["unread"]], [&json!(32), &json!(31), &json!(18)]);
    let output = place.run("eval model --text text.txt --window 200 --windows 1");
    assert_eq!((code(&output), error(&output).as_str()), (0, "--window: got 200, and the model was made for 128\n"));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1 window of 200 tokens\n"));
    let path = place.path("model/tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let start = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing", "single": [start, text("A")], "pair": [start, text("A"), text("B")],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    });
    fs::write(&path, tokenizer.to_string()).unwrap();
    let output = place.run("eval model --text text.txt --window 32 --windows 1");
    let said = "windows begin without \"<s>\", which the tokenizer puts before a text\n";
    assert_eq!((code(&output), error(&output).as_str()), (0, said));
}

#[test]
fn a_chat_keeps_what_its_model_was_made_for() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    let output = chat(&place, "chat model --seed 5", &"say it again.\n".repeat(3));
    let talk = error(&output);
    assert!(code(&output) == 0 && talk.contains("old turns are forgotten: they and an answer exceed 128 positions"), "{talk}");
    assert!(!talk.contains("was made for"), "{talk}");
}
