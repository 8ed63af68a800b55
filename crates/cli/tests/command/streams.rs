//! stdout is data, stderr is talk, and a reader may leave.

use crate::{Place, code, error};
use attendant_lab::config::Config;
use serde_json::Value;
use std::process::Stdio;

#[test]
fn training_writes_one_line_of_data_and_no_bar_into_a_pipe() {
    let place = Place::new();
    let output = place.run("train --config run.toml --out run");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["steps"], 20);
    assert!(output.stderr.is_empty(), "{}", error(&output));
}

#[test]
fn generation_streams_text_and_says_what_it_cost() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    let run = |seed: u32| place.run(&format!("generate run -p 1 --max-new 40 --seed {seed}"));
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first.stdout, again.stdout);
    assert_ne!(first.stdout, other.stdout);
    let talk = error(&first);
    assert!(talk.contains(" s, 40 tokens, ") && talk.contains(" tokens/s; cache: "), "{talk}");
    // Two layers keep two times one head of four values; a page holds 256 tokens.
    assert!(talk.contains(&format!("cache: {} bytes for 41 tokens", 2 * 2 * 4 * 4 * 256)), "{talk}");
    let talk = error(&place.run("generate run -p 1 --max-new 40 --stats"));
    let told = ["loaded in ", "1 tokens read in ", "40 tokens, ", "bytes for 41 tokens, 64 a token"];
    assert!(told.iter().all(|words| talk.contains(words)) && talk.lines().count() >= 3, "{talk}");
    assert!(!cfg!(target_os = "linux") || talk.contains("\nmemory at most: "), "{talk}");
    let likeliest = |seed: u32| place.good(&format!("generate run -p 1 --max-new 9 --temperature 0 --seed {seed}"));
    assert_eq!(likeliest(1), likeliest(2));
    assert_eq!(place.good("generate run -p 1 --max-new 9 --top-k 1"), likeliest(1));
}

#[test]
fn a_cache_of_fewer_bits_takes_fewer_bytes() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    // Two layers keep two rows of one head of four values, and in int8 a scale for each, and in int4 a group; a page holds 256 tokens.
    for (cache, bytes) in [("f32", 4 * 4), ("bf16", 2 * 4), ("f16", 2 * 4), ("int8", 4 + 4), ("int4", 18), ("q4", 18)] {
        let talk = error(&place.run(&format!("generate run -p 1 --max-new 40 --cache {cache}")));
        assert!(talk.contains(&format!("cache: {} bytes for 41 tokens", 2 * 2 * bytes * 256)), "{cache}: {talk}");
    }
}

#[test]
fn data_has_no_escape_sequences_in_a_pipe() {
    let place = Place::new();
    for words in ["mechanisms", "mechanisms --json", "docs cli", "docs config", "--help", "compare --help"] {
        assert!(!place.good(words).contains('\x1b'), "{words}");
    }
    let rows: Value = serde_json::from_str(&place.good("mechanisms --json")).unwrap();
    assert!(rows.as_array().unwrap().iter().any(|row| row["name"] == "mla" && row["bytes_per_token"].is_number()));
    assert!(place.good("mechanisms").lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_configuration_that_is_printed_is_one_that_can_be_used() {
    let printed = Place::new().good("docs config");
    assert_eq!(Config::parse(&printed, &[]).unwrap(), Config::default());
}

#[test]
fn the_manual_has_every_command_and_its_options() {
    let place = Place::new();
    let manual = place.good("docs man");
    for (command, option) in [("COMPARE", "hold"), ("TRAIN", "resume"), ("GENERATE", "temperature"), ("SWEEP", "rates")] {
        let section = manual.split(&format!(".SH \"ATTENDANT {command}\"")).nth(1).unwrap();
        let section = section.split(".SH").next().unwrap();
        assert!(section.contains(option), "{command}: {section}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let words = place.good(&format!("docs completions --shell {shell}"));
        assert!(["compare", "generate", "temperature"].iter().all(|word| words.contains(word)), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_ends_the_command_in_peace() {
    let place = Place::new();
    place.good("train --config run.toml --out run");
    for words in ["mechanisms", "mechanisms --json", "docs man", "docs completions", "generate run -p 1", "train --resume run"] {
        let mut process = place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        assert_eq!((code(&output), error(&output).as_str()), (0, ""), "{words}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_failure_and_no_panic() {
    let place = Place::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for words in ["mechanisms", "docs man"] {
        let output = place.command(words).stdout(full()).output().unwrap();
        assert_eq!(code(&output), 1, "{words}");
        assert!(error(&output).starts_with("attendant: stdout: No space left"), "{}", error(&output));
    }
    let output = place.command("train --resume none").stderr(full()).output().unwrap();
    assert_eq!(code(&output), 2);
}
