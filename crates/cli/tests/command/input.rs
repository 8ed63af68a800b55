//! Wrong input: one line that names the field, what it holds and what would do.

use crate::{Place, newest};
use std::fs;

#[test]
fn a_configuration_that_cannot_be_used_is_refused_by_field() {
    let place = Place::new();
    for (change, want) in [
        ("mechanism=foo", "mechanism: got \"foo\", wanted one of gqa, mha"),
        ("mechanism=cross", "mechanism: got \"cross\""),
        ("model.layers=0", "model.layers: got 0, wanted at least 1"),
        ("model.headz=3", "model.headz: no such field"),
        ("training.tokens=-5", "training.tokens: got -5, wanted a whole number"),
        ("training.learning_rate=nan", "training.learning_rate: got NaN, wanted a number above 0"),
        ("data.text=nowhere.txt", "data.text: got nowhere.txt: no such file"),
        ("data.text=.", "data.text: got .: a folder, wanted a UTF-8 text"),
        ("data.text=", "data.text: got nothing, wanted austen or the path of a UTF-8 file"),
        ("data.vocabulary=bpe --set data.vocabulary_size=99999999999", "data.vocabulary_size: got 99999999999, wanted at most"),
        ("data.context=100000", "data.context: got 100000, wanted less than"),
        ("data.batch=99999999999999", "data.batch: got 99999999999999 sequences"),
        ("seed", "--set: got \"seed\", wanted key.path=value"),
    ] {
        let line = place.bad(&format!("train --config run.toml --out run --set {change}"), 2);
        assert!(line.starts_with(&format!("attendant: {want}")), "{change}: {line}");
        assert!(!place.path("run").exists(), "{change} left a folder");
    }
    fs::write(place.path("bad.toml"), "seed = 1\n[model\n").unwrap();
    let line = place.bad("train --config bad.toml --out run", 2);
    assert!(line.contains("bad.toml: line 2: "), "{line}");
    fs::write(place.path("bad.toml"), "[model]\nlayers = 0\n").unwrap();
    let line = place.bad("train --config bad.toml --out run", 2);
    assert_eq!(line, "attendant: bad.toml: model.layers: got 0, wanted at least 1\n");
    assert!(place.bad("train --config none.toml --out run", 2).contains("none.toml"));
}

#[test]
fn counts_that_cannot_be_are_refused_with_what_would_do() {
    let place = Place::new();
    for words in ["compare --seeds 0", "compare --tokens -3", "generate x -p y --top-k 0"] {
        let output = place.run(words);
        let text = crate::error(&output);
        assert_eq!(crate::code(&output), 2, "{words}");
        assert!(text.contains("wanted a whole number, 1 or more"), "{words}: {text}");
    }
    for words in ["generate x -p y --seed -1", "chat x --max-new -1", "eval x --text y --window -1", "bench gemm --kv -1"] {
        let output = place.run(words);
        let text = crate::error(&output);
        assert_eq!(crate::code(&output), 2, "{words}");
        assert!(text.contains("wanted a whole number, 0 or more"), "{words}: {text}");
    }
    for words in ["train --threads 0 --out run", "bench --threads 20000"] {
        let output = place.run(words);
        let text = crate::error(&output);
        assert_eq!(crate::code(&output), 2, "{words}");
        assert!(text.contains("wanted a whole number, 1 to 1024"), "{words}: {text}");
    }
    for (words, want) in [
        ("generate x -p y --temperature -1", "--temperature: got -1, wanted a finite number, 0 or more"),
        ("generate x -p y --temperature inf", "--temperature: got inf, wanted a finite number, 0 or more"),
        ("chat x --top-p 2", "--top-p: got 2, wanted above 0 and up to 1"),
        ("generate x -p -5 --top-p 2", "--top-p: got 2, wanted above 0 and up to 1"),
        ("chat x --system -brief- --top-p 2", "--top-p: got 2, wanted above 0 and up to 1"),
    ] {
        assert_eq!(place.bad(words, 2), format!("attendant: {want}\n"));
    }
}

#[test]
fn a_name_that_would_leave_the_line_or_steer_the_terminal_is_escaped() {
    let place = Place::new();
    let line = place.bad("inspect a\nb\u{1b}[2J.gguf", 2);
    assert!(line.starts_with("attendant: a\\nb\\u{1b}[2J.gguf: No such file"), "{line}");
}

#[test]
fn options_that_leave_no_room_for_each_other_are_refused_together() {
    let place = Place::new();
    for (words, one, other) in [
        ("generate x -p y --out z", "--out", "--prompt"),
        ("generate x --prompt-file y --out z", "--out", "--prompt-file"),
        ("generate x --ids y --out z --temperature 0.5", "--ids", "--temperature"),
        ("generate x --ids y --out z --seed 3", "--ids", "--seed"),
        ("inspect --markdown x", "--markdown", "[MODEL]"),
        ("inspect --known --context 300", "--context", "--known"),
        ("inspect --known --cache int8", "--cache", "--known"),
    ] {
        let output = place.run(words);
        let text = crate::error(&output);
        assert_eq!(crate::code(&output), 2, "{words}");
        assert!(text.contains("cannot be used with") && text.contains(one) && text.contains(other), "{words}: {text}");
    }
    for (words, field, option) in [
        ("--text a --set data.text=b", "data.text", "--text"),
        ("--precision f32 --set training.precision=bf16", "training.precision", "--precision"),
        ("--from a --set from=b", "from", "--from"),
    ] {
        let line = place.bad(&format!("train --out run {words}"), 2);
        assert_eq!(line, format!("attendant: --set {field}: got a value beside {option}, wanted one of the two\n"));
    }
}

#[test]
fn options_that_a_measurement_does_not_read_are_refused() {
    let place = Place::new();
    for (words, want) in [
        ("limits --kv 3", "--kv: got a value, which `limits` does not read, wanted some of --json, --threads"),
        ("gemm --model nope", "--model: got a value, which `gemm` does not read, wanted some of --budget, --json, --threads"),
        ("scan --precision f32", "--precision: got a value, which `scan` does not read"),
        ("attention --kv 3", "--kv: got 3, wanted a divisor of the 32 query heads"),
    ] {
        let line = place.bad(&format!("bench {words}"), 2);
        assert!(line.starts_with(&format!("attendant: {want}")), "{words}: {line}");
    }
}

#[test]
fn a_comparison_is_refused_before_anything_is_trained() {
    let place = Place::new();
    for (words, want) in [
        ("compare --mechanisms mha,foo --out c", "mechanism: got \"foo\""),
        ("compare --mechanisms mha,mha --out c", "--mechanisms: got one twice"),
        ("compare --text none.txt --out c", "data.text: got none.txt: no such file"),
    ] {
        let line = place.bad(words, 2);
        assert!(line.contains(want) && !place.path("c").exists(), "{words}: {line}");
    }
    fs::create_dir(place.path("c")).unwrap();
    fs::write(place.path("c/letter.txt"), "dear").unwrap();
    let line = place.bad("compare --text text.txt --out c", 2);
    assert!(line.contains("c: holds something else"), "{line}");
    assert_eq!(fs::read_dir(place.path("c")).unwrap().count(), 1);
}

#[test]
fn a_folder_that_holds_something_is_not_trained_into() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    let before = crate::files(&place.path("run"));
    assert!(place.bad("train --config run.toml --out run", 2).contains("run: the folder holds something"));
    assert!(place.bad("train --config run.toml --out text.txt", 2).contains("text.txt: got a file, wanted a folder"));
    assert!(place.bad("train --resume none", 2).contains("none: got no run.json"));
    assert_eq!(crate::files(&place.path("run")), before);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_continues() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    let (whole, latest) = (crate::files(&place.path("run/checkpoints")), newest(&place.path("run")));
    let damage = |folder: &std::path::Path| {
        let weights = folder.join("model.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(weights, bytes).unwrap();
    };
    damage(&latest);
    let words = format!("generate {} -p 1", latest.display());
    assert!(place.bad(&words, 2).contains("model.safetensors: is damaged"));
    place.good("generate run -p 1 --max-new 2");
    let output = place.run("train --resume run");
    assert_eq!(crate::code(&output), 0);
    assert!(crate::error(&output).contains("step-00000020: is damaged; continuing from step 16"), "{}", crate::error(&output));
    assert!(crate::files(&place.path("run/checkpoints")) == whole);
    fs::read_dir(place.path("run/checkpoints")).unwrap().for_each(|entry| damage(&entry.unwrap().path()));
    for words in ["train --resume run", "generate run -p 1"] {
        assert!(place.bad(words, 2).contains("got 2 checkpoints, all damaged"), "{words}");
    }
}

#[test]
fn a_damaged_description_is_named() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    let text = fs::read_to_string(place.path("run/run.json")).unwrap();
    for (damaged, want) in [
        (text.replace("\"seed\": 1", "\"seed\": \"x\""), "run.json: seed: got \"x\", wanted a whole number"),
        (text.replace("\"seed\": 1", "\"seed\": 2"), "progress.json: differs from the configuration in run.json"),
        (text[..text.len() / 2].to_owned(), "run.json: EOF"),
    ] {
        fs::write(place.path("run/run.json"), damaged).unwrap();
        let line = place.bad("train --resume run", 2);
        assert!(line.contains(want), "{line}");
    }
}

#[test]
fn a_run_does_not_continue_on_another_text() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    let text = fs::read_to_string(place.path("text.txt")).unwrap();
    fs::write(place.path("text.txt"), text.replace("silence", "a noise")).unwrap();
    let line = place.bad("train --resume run", 2);
    assert!(line.contains("run.json: the text of data.text is not the one that the run began with"), "{line}");
    fs::write(place.path("text.txt"), text).unwrap();
    place.good("train --resume run");
}

#[test]
fn a_record_that_is_gone_is_said() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    let output = place.run("train --resume run");
    assert_eq!(crate::code(&output), 0);
    assert_eq!(crate::error(&output), "attendant: run/metrics.jsonl: is missing; what it had up to step 20 is lost\n");
}

#[test]
fn what_is_no_text_is_bad_input_wherever_it_is_read() {
    let place = Place::new();
    fs::write(place.path("bytes"), [0xff, 0xfe]).unwrap();
    place.good("train --config run.toml --out run");
    for words in ["train --config bytes --out other", "eval run --text bytes", "embed run --file bytes"] {
        assert!(place.bad(words, 2).starts_with("attendant: bytes: "), "{words}");
    }
}

#[test]
fn a_model_of_recall_is_not_asked_for_text() {
    let place = Place::new();
    place.good("train --config run.toml --out run --set data.task=recall --set data.pairs=2");
    assert!(place.bad("generate run -p 1", 2).contains("wanted a model of text"));
}
