//! Published models that are trained further.

use crate::interruption::{Started, metrics, until};
use crate::published::publish;
use crate::{Place, code, error, files, newest};
use attendant_formats::{Access, Weights};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const SHORT: &str = "--set training.tokens=640 --set data.context=16 --set data.batch=2 --set training.validate_every=5 \
                     --set training.validation_tokens=64 --set training.checkpoint_every=8 --set training.learning_rate=0.01";

/// Names and shapes of the tensors of a folder.
fn tensors(folder: &Path) -> Vec<(String, Vec<usize>)> {
    let weights = Weights::open(folder, Access::Mapped).unwrap();
    weights.iter().map(|tensor| (tensor.name.to_owned(), tensor.shape.to_vec())).collect()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_few_steps_lower_the_loss_and_the_files_stay_those_of_the_family() {
    // Fused and transposed matrices, positions that nobody reads, norms that lack a one.
    for family in ["llama_gqa", "gpt2", "opt", "gemma2"] {
        let place = Place::new();
        publish(&place, family);
        let output = place.run(&format!("train --from model --text text.txt --out run {SHORT}"));
        assert_eq!(code(&output), 0, "{family}: {}", error(&output));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        let before = metrics(&place.path("run"))[0].clone();
        let said = format!("validation loss {:.4} before the first step\n", before["validation_loss"].as_f64().unwrap());
        assert_eq!((&before["step"], error(&output)), (&json!(0), said), "{family}");
        let [before, after] = [&before, &result].map(|record| record["validation_loss"].as_f64().unwrap());
        assert!(after < before - 0.1, "{family}: from {before} to {after}");
        let checkpoint = newest(&place.path("run"));
        assert_eq!(tensors(&checkpoint), tensors(&place.path("model")), "{family}");
        let (mut config, written) = (json_of(&place.path("model/config.json")), json_of(&checkpoint.join("config.json")));
        config["dtype"] = json!("float32");
        assert_eq!(written, config, "{family}");
        assert_eq!(fs::read(checkpoint.join("tokenizer.json")).unwrap(), fs::read(place.path("model/tokenizer.json")).unwrap());
        place.good("generate run -p it.was --max-new 3");
        place.good("train --from run --text text.txt --out again --set training.tokens=64 --set data.context=16");
    }
}

#[test]
fn the_loss_before_the_first_step_is_that_of_eval() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    // One window of 64 tokens and the one after them, at the start of the last tenth.
    let text = fs::read_to_string(place.path("text.txt")).unwrap();
    let tenth = text[..text.len() * 9 / 10].len() + text[text.len() * 9 / 10..].find('\n').unwrap() + 1;
    fs::write(place.path("tenth.txt"), &text[tenth..]).unwrap();
    place.good("train --from model --text text.txt --out run --set training.tokens=64 --set data.context=64 --set training.validation_tokens=64");
    let before = metrics(&place.path("run"))[0]["validation_loss"].as_f64().unwrap();
    let report = place.good("eval model --text tenth.txt --window 65 --windows 1 --json");
    let loss = serde_json::from_str::<Value>(&report).unwrap()["loss"]["mean"].as_f64().unwrap();
    assert!((before - loss).abs() < 1e-5, "got {before}, and eval {loss}");
}

#[cfg(unix)]
#[test]
fn a_run_that_was_killed_ends_in_the_bytes_of_one_that_was_not() {
    let place = Place::new();
    publish(&place, "gemma2");
    let words = |out: &str| {
        let long = SHORT.replace("tokens=640 ", "tokens=4800 ").replace("every=8", "every=50");
        format!("train --from model --text text.txt --out {out} {long}")
    };
    place.good(&words("whole"));
    let started = Started::new(&place, &words("run"), "run");
    until("a checkpoint was saved", || place.path("run/checkpoints/step-00000050").exists());
    drop(started);
    // The checkpoint is a model by itself.
    fs::rename(place.path("model"), place.path("elsewhere")).unwrap();
    place.good("train --resume run");
    assert!(files(&newest(&place.path("run"))) == files(&newest(&place.path("whole"))));
    assert_eq!(metrics(&place.path("run")), metrics(&place.path("whole")));
}

#[test]
fn a_run_without_a_checkpoint_starts_over_with_the_same_model_alone() {
    let place = Place::new();
    publish(&place, "llama_gqa");
    place.good(&format!("train --from model --text text.txt --out whole {SHORT}"));
    place.good(&format!("train --from model --text text.txt --out run {SHORT}"));
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    place.good("train --resume run");
    assert!(files(&newest(&place.path("run"))) == files(&newest(&place.path("whole"))));
    assert_eq!(metrics(&place.path("run")), metrics(&place.path("whole")));
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    fs::remove_dir_all(place.path("model")).unwrap();
    publish(&place, "llama_mha");
    let line = place.bad("train --resume run", 2);
    assert!(line.contains("run.json: the model of from is not the one that the run began with"), "{line}");
}

#[test]
fn what_cannot_be_trained_further_is_refused_with_the_reason() {
    let place = Place::new();
    publish(&place, "bert");
    let refused = |words: &str| place.bad(&format!("train --text text.txt --out run {words}"), 2);
    let line = refused("--from model");
    assert!(line.contains("model: cannot be trained to foretell a text: its rows see later ones"), "{line}");
    let line = refused("--from model --set mechanism=mla");
    assert_eq!(line, "attendant: mechanism: got a value beside from, wanted none: the model has its own\n");
    assert!(refused("--from nowhere").contains("nowhere: got no checkpoint there"));
    let place = Place::new();
    publish(&place, "llama_gqa");
    let line = place.bad("train --from model --text text.txt --out run --set data.context=4096", 2);
    assert_eq!(line, "attendant: data.context: got 4096, wanted at most the 128 of the model\n");
    assert!(!place.path("run").exists());
}
