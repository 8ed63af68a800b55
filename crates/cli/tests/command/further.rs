//! Published models that are trained further.

use crate::interruption::{Started, metrics, until};
use crate::published::publish;
use crate::{Place, code, error, files, newest};
use attendant_core::Random;
use attendant_formats::gguf::Writer;
use attendant_formats::{Access, Dtype, Weights};
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

/// A Llama of one layer with weights of few bits and a tokenizer in one file, from scratch.
fn few_bits() -> Vec<u8> {
    let characters: Vec<String> = ('!'..='~').chain("\u{120}\u{10a}".chars()).map(String::from).collect();
    let tokens: Vec<&str> = characters.iter().map(String::as_str).chain(["<end>"]).collect();
    let vocabulary = tokens.len();
    let kinds: Vec<i32> = (0..vocabulary).map(|id| if id + 1 == vocabulary { 3 } else { 1 }).collect();
    let mut writer = Writer::new()
        .string("general.architecture", "llama")
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings("tokenizer.ggml.merges", &[])
        .signed("tokenizer.ggml.token_type", &kinds)
        .number("tokenizer.ggml.eos_token_id", vocabulary as u32 - 1)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let sizes = [("embedding_length", 64), ("block_count", 1), ("attention.head_count", 4), ("attention.head_count_kv", 2)];
    for (name, size) in sizes.into_iter().chain([("feed_forward_length", 96), ("context_length", 128)]) {
        writer = writer.number(&format!("llama.{name}"), size);
    }
    let ones = 1.0_f32.to_le_bytes().repeat(64);
    for norm in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
        writer = writer.tensor(&format!("{norm}.weight"), Dtype::F32, &[64], &ones);
    }
    let mut random = Random::new(1, "few bits");
    let matrices = [("token_embd", vocabulary, 64), ("blk.0.attn_q", 64, 64), ("blk.0.attn_k", 32, 64), ("blk.0.attn_v", 32, 64)];
    let others =
        [("blk.0.attn_output", 64, 64), ("blk.0.ffn_gate", 96, 64), ("blk.0.ffn_up", 96, 64), ("blk.0.ffn_down", 64, 96)];
    for (name, rows, width) in matrices.into_iter().chain(others) {
        // A scale of 2^-10 in f16, and 32 bytes.
        let block = |_| [[0, 0x14].to_vec(), (0..32).map(|_| random.below(256) as u8).collect()].concat();
        let bytes: Vec<u8> = (0..rows * width / 32).flat_map(block).collect();
        writer = writer.tensor(&format!("{name}.weight"), Dtype::Q8_0, &[rows, width], &bytes);
    }
    writer.finish()
}

#[test]
fn weights_of_few_bits_become_a_published_folder_in_f32() {
    let place = Place::new();
    fs::write(place.path("model.gguf"), few_bits()).unwrap();
    let output = place.run(&format!("train --from model.gguf --text text.txt --out run {SHORT}"));
    let talk = error(&output);
    assert_eq!(code(&output), 0, "{talk}");
    let said: Vec<&str> = talk.lines().collect();
    assert_eq!(said[0], "weights of Q8_0 become f32, with gradients and moments 0.00 GB");
    assert_eq!(said[1], "checkpoints are folders of the published form, with model.safetensors in f32, and no GGUF files");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [before, after] = [&metrics(&place.path("run"))[0], &result].map(|record| record["validation_loss"].as_f64().unwrap());
    assert!(after < before - 0.1, "from {before} to {after}");
    let checkpoint = newest(&place.path("run"));
    let written = tensors(&checkpoint);
    assert!(written.contains(&("model.layers.0.mlp.down_proj.weight".to_owned(), vec![64, 96])), "{written:?}");
    let weights = Weights::open(&checkpoint, Access::Mapped).unwrap();
    assert!(weights.iter().all(|tensor| tensor.dtype == Dtype::F32));
    assert_eq!(json_of(&checkpoint.join("config.json"))["dtype"], "float32");
    place.good("generate run -p silence --max-new 3");
}

#[test]
fn a_folder_with_one_file_of_a_model_and_a_run_are_models_to_every_command() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("folder/model.gguf"), few_bits()).unwrap();
    place.good("train --config run.toml --out run");
    let header = r#"{"input_ids":{"dtype":"I64","shape":[1,2],"data_offsets":[0,16]}}"#;
    fs::write(place.path("ids"), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 16]].concat()).unwrap();
    for model in ["folder", "run"] {
        place.good(&format!("inspect {model}"));
        place.good(&format!("logits {model} --ids ids --out out"));
        place.good(&format!("generate {model} -p 1 --max-new 2"));
        place.good(&format!("eval {model} --text text.txt --window 16 --windows 1"));
    }
}

/// A step so short that it moves nothing: what is written is what was read.
#[test]
fn a_file_of_few_bits_and_the_folder_made_of_it_predict_alike() {
    let place = Place::new();
    fs::write(place.path("model.gguf"), few_bits()).unwrap();
    place.good("train --from model.gguf --text text.txt --out run --set training.tokens=16 --set data.context=16 --set data.batch=1 --set training.validation_tokens=16 --set training.learning_rate=1e-12");
    let loss = |words: &str| {
        let report = place.good(&format!("eval {words} --text text.txt --window 64 --windows 2 --json"));
        serde_json::from_str::<Value>(&report).unwrap()["loss"]["mean"].as_f64().unwrap()
    };
    let (packed, rounded, written) = (loss("model.gguf --activations f32"), loss("model.gguf"), loss("run"));
    assert!((packed - written).abs() < 1e-5, "{packed} and {written}");
    assert!((rounded - written).abs() > 1e-5, "{rounded} and {written}");
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
    assert!(line.contains("model: cannot be trained to predict a text: its rows see later ones"), "{line}");
    let line = refused("--from model --set mechanism=mla");
    assert_eq!(line, "attendant: mechanism: got a value beside from, wanted none: the model has its own\n");
    assert!(refused("--from nowhere").contains("nowhere: No such file"));
    let place = Place::new();
    publish(&place, "llama_gqa");
    let line = place.bad("train --from model --text text.txt --out run --set data.context=4096", 2);
    assert_eq!(line, "attendant: data.context: got 4096, wanted at most the 128 of the model\n");
    assert!(!place.path("run").exists());
}
