//! Published files, against what transformers computes with them. `cargo x assets` gets them; without them these tests say that they
//! are skipped.

use attendant_core::{Activations, Processor};
use attendant_model::embed::Embedder;
use attendant_model::{Decoder, Language, Sampler, Session, checkpoint, evaluate};
use attendant_state::Storage;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Where a gap between two logits is smaller, another order of summation may choose the other token.
const GAP: f64 = 0.05;

/// The file that `cargo x assets` puts there, and what it must give.
fn asset(name: &str) -> Option<(PathBuf, Value)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(manifest.join("tests/real").join(format!("{name}.json"))).expect("the expected values are there");
    let expected: Value = serde_json::from_slice(&text).expect("they are JSON");
    let path = manifest.join("../../assets").join(expected["file"].as_str().expect("the name of a file or folder"));
    if !path.exists() {
        // Not by println: the harness keeps what a passing test prints to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {} is not there; `cargo x assets {name}` gets it", path.display());
        return None;
    }
    Some((path, expected))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list of tokens").iter().map(|id| id.as_u64().expect("a token") as u32).collect()
}

fn prompts(language: &Language, expected: &Value) {
    for case in expected["greedy"].as_array().expect("cases") {
        let got = match (case["prompt"].as_str(), case["chat"].as_str()) {
            (Some(prompt), _) => language.encode(prompt),
            (None, said) => language.conversation(&[("user".into(), said.expect("a message").into())]),
        };
        assert_eq!(got.expect("a prompt"), ids(&case["ids"]), "{case}");
    }
}

fn continuations(decoder: &Decoder, expected: &Value) {
    for case in expected["greedy"].as_array().expect("cases") {
        let mut session = Session::new(decoder, Processor::all(), Storage::contiguous(128)).with_activations(Activations::F32);
        session.read(&ids(&case["ids"])).expect("a prompt");
        let gaps = case["gap"].as_array().expect("gaps").iter().map(|gap| gap.as_f64().expect("a gap"));
        for (i, (want, gap)) in ids(&case["new"]).into_iter().zip(gaps).enumerate() {
            let got = session.next(&Sampler::default()).expect("a token");
            if got != want {
                assert!(gap < GAP, "token {i} of {}: wanted {want}, got {got}, where the gap is {gap}", case["prompt"]);
                break;
            }
        }
    }
}

fn likelihood(language: &Language, decoder: &Decoder, expected: &Value) {
    let text = include_str!("real/text.txt");
    let tokens = language.tokenizer.encode(text, false).expect("tokens of the text");
    let size = expected["window"].as_u64().expect("a size") as usize;
    let expected = expected["windows"].as_array().expect("windows");
    let windows = tokens.chunks_exact(size).take(expected.len());
    for (window, expected) in windows.clone().zip(expected) {
        assert!(window.starts_with(&ids(&expected["first_ids"])));
    }
    let mut done = 0;
    let (stop, storage) = (AtomicBool::new(false), Storage::contiguous(size));
    evaluate::windows(decoder, &Processor::all(), Activations::F32, storage, windows, &stop, |window| {
        let want = &expected[done];
        let nll = want["nll"].as_f64().expect("a mean");
        assert!((window.loss - nll).abs() < 1e-3, "window {done}: wanted {nll}, got {}", window.loss);
        let first = want["first_logprobs"].as_array().expect("logarithms").iter().map(|x| x.as_f64().expect("a logarithm"));
        for (i, (got, want)) in window.log_probs.iter().zip(first).enumerate() {
            assert!((got - want).abs() < 1e-3, "window {done}, token {i}: wanted {want}, got {got}");
        }
        done += 1;
    })
    .expect("the text is read");
    assert_eq!(done, expected.len());
}

fn judge(name: &str) {
    let Some((path, expected)) = asset(name) else { return };
    let language = Language::open(&path).expect("its tokens");
    prompts(&language, &expected);
    let decoder = checkpoint::load(&path).expect("its weights");
    continuations(&decoder, &expected);
    likelihood(&language, &decoder, &expected);
}

#[test]
fn minilm() {
    let Some((path, expected)) = asset("minilm") else { return };
    let embedder = Embedder::open(&path, None).expect("a model of sentences");
    let language = Language::open(&path).expect("its tokens");
    let cases = expected["texts"].as_array().expect("cases");
    let texts: Vec<&str> = cases.iter().map(|case| case["text"].as_str().expect("a text")).collect();
    let embedded = embedder.embed(&Processor::all(), &texts).expect("vectors");
    for (case, got) in cases.iter().zip(&embedded) {
        let text = case["text"].as_str().expect("a text");
        assert!(language.encode(text).expect("tokens").starts_with(&ids(&case["ids"])[..got.tokens.min(24) - 1]), "{text}");
        assert_eq!((got.tokens as u64, got.cut), (case["tokens"].as_u64().expect("a count"), text.len() > 1000), "{text}");
        let want = case["values"].as_array().expect("values").iter().map(|x| x.as_f64().expect("a number"));
        assert_eq!(got.values.len(), want.len());
        let apart = got.values.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-5, "{text}: off by {apart:.1e}");
    }
}

#[test]
fn smollm2() {
    judge("smollm2");
}

#[test]
fn gemma3() {
    judge("gemma3");
}
