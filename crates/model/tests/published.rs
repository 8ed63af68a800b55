//! Checkpoints of others: what transformers computes with them in float64 is what comes out here.

use attendant_core::{Processor, Tape};
use attendant_mech::Batch;
use attendant_model::inspect::{Question, Subject};
use attendant_model::{Decoder, LogitRows, Sampler, Session, checkpoint, exchange};
use attendant_state::Storage;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Rows and tokens of `plain.input_ids`.
const SEQUENCES: usize = 2;
const TOKENS: usize = 24;

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(model)
}

/// One tensor of a file as f64, exact for the ids too.
fn tensor(model: &str, file: &str, name: &str) -> Vec<f64> {
    let bytes = fs::read(folder(model).join(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
        Dtype::I64 => view.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

fn ids(model: &str, name: &str) -> Vec<u32> {
    tensor(model, "expected.safetensors", name).into_iter().map(|id| id as u32).collect()
}

/// RMS of the difference over RMS of what is wanted.
fn difference(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |sum: f64, x: f64| sum + x * x;
    let apart = got.iter().zip(want).map(|(&got, want)| f64::from(got) - want).fold(0.0, square);
    (apart / want.iter().copied().fold(0.0, square)).sqrt()
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn check(model: &str) {
    let decoder = checkpoint::load_widened(&folder(model)).unwrap();
    let prompt = ids(model, "plain.input_ids");
    let want = tensor(model, "expected.safetensors", "plain.logits");
    logits_agree(&decoder, &prompt, &want);
    greedy_agrees(&decoder, &prompt, &ids(model, "greedy.ids"));
}

/// Whole, recording as in training, and in chunks through states.
fn logits_agree(decoder: &Decoder, prompt: &[u32], want: &[f64]) {
    let bound = 1e-4 * deviation(want);
    let near = |form: &str, got: &[f32], want: &[f64]| {
        assert_eq!(got.len(), want.len());
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(got) - want).abs() < bound, "{form}, logit {i}: got {got}, wanted {want} within {bound:.1e}");
        }
    };
    for tape in [Tape::inference(Processor::new(2)), Tape::new(Processor::new(1))] {
        let mut tape = tape.poisoned();
        let bound = decoder.bind(&mut tape);
        let batch = Batch::even(SEQUENCES, TOKENS);
        let logits = decoder.forward(&mut tape, &bound, &batch, prompt, &mut [], LogitRows::All).unwrap();
        near(if tape.recording() { "recording" } else { "whole" }, tape.value(logits), want);
    }
    let vocab = decoder.plan().vocab_size;
    for (prompt, want) in prompt.chunks_exact(TOKENS).zip(want.chunks_exact(TOKENS * vocab)) {
        let mut tape = Tape::inference(Processor::new(1)).poisoned();
        let mut state = decoder.new_state(Storage::paged(3));
        let mut first = 0;
        // The chunk of 17 rows expands the latents of a past that chunks of few rows absorbed.
        for rows in [1, 3, 17, 1, 2] {
            tape.clear();
            let bound = decoder.bind(&mut tape);
            let batch = Batch::new([(rows, first)]);
            let chunk = &prompt[first..first + rows];
            let logits = decoder.forward(&mut tape, &bound, &batch, chunk, &mut [&mut state], LogitRows::All).unwrap();
            near("chunks", tape.value(logits), &want[first * vocab..(first + rows) * vocab]);
            first += rows;
        }
        assert_eq!(state.position(), TOKENS);
    }
}

fn greedy_agrees(decoder: &Decoder, prompt: &[u32], want: &[u32]) {
    let greedy = Sampler::default();
    let count = want.len() / SEQUENCES;
    for (prompt, want) in prompt.chunks_exact(TOKENS).zip(want.chunks_exact(count)) {
        let mut session = Session::new(decoder, Processor::new(1), Storage::contiguous(1));
        session.read(prompt).unwrap();
        let got: Vec<u32> = want.iter().map(|_| session.next(&greedy).unwrap()).collect();
        assert_eq!(got, want);
    }
}

#[test]
fn recording_and_in_chunks() {
    for model in
        ["llama_gqa", "llama_mha", "deepseek_v3_noq", "deepseek_v3", "gemma2", "gpt_oss", "llama4", "longcat_flash", "mpt"]
    {
        check(model);
    }
}

#[test]
fn older_keys_describe_the_same_model() {
    for model in ["llama_mha", "deepseek_v3_noq"] {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(folder(model).join("config.hub.json"), copy.path().join("config.json")).unwrap();
        fs::copy(folder(model).join("model.safetensors"), copy.path().join("model.safetensors")).unwrap();
        let (older, newer) = (checkpoint::load(copy.path()).unwrap(), checkpoint::load(&folder(model)).unwrap());
        assert_eq!(older.plan(), newer.plan());
    }
}

/// What goes between the layers, what attends to what, and what is kept: of the first row.
#[test]
fn inside() {
    for (model, most_missing) in [("gemma2", 0), ("deepseek_v3", 3), ("t5", 0)] {
        let decoder = checkpoint::load(&folder(model)).unwrap();
        let bytes = fs::read(folder(model).join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let rows = |name: &str| {
            let ids = if expected.tensor(name).is_ok() { ids(model, name) } else { Vec::new() };
            ids.chunks(ids.len().max(SEQUENCES) / SEQUENCES).map(<[u32]>::to_vec).collect::<Vec<_>>()
        };
        let (source, target) = (rows("plain.input_ids"), rows("plain.decoder_input_ids"));
        let row = exchange::Row {
            places: (0..TOKENS).collect(),
            ids: source[0].clone(),
            types: Vec::new(),
            target: target.first().cloned().unwrap_or_default(),
        };
        let tokens = exchange::Tokens { rows: vec![row], length: TOKENS };
        let outputs = exchange::logits(&decoder, Tape::inference(Processor::new(2)), &tokens).unwrap();
        // The rotated part of a latent's row is kept in another order there.
        let mut missing = Vec::new();
        for name in expected.names() {
            let own = name.strip_prefix("plain.").unwrap_or(name);
            if !["hidden.", "attn.", "cache.", "mla.", "encoder_", "cross_"].iter().any(|start| own.starts_with(start)) {
                continue;
            }
            let Some(output) = outputs.iter().find(|output| output.name == own) else {
                missing.push(name);
                continue;
            };
            assert_eq!(output.shape, expected.tensor(name).unwrap().shape(), "{model}, {name}");
            let apart = difference(&output.values, &tensor(model, "expected.safetensors", name));
            assert!(apart < 1e-5, "{model}, {name}: off by {apart:.1e}");
        }
        assert_eq!(missing.len(), most_missing, "{model}: {missing:?}");
    }
}

/// The name that a family has for a parameter.
fn published(model: &str, name: &str) -> String {
    if model != "opt" {
        return name.into();
    }
    let ours = ["model.norm", "model.", "input_layernorm", "post_attention_layernorm", "o_proj", "mlp.up_proj", "mlp.down_proj"];
    let theirs =
        ["model.final_layer_norm", "model.decoder.", "self_attn_layer_norm", "final_layer_norm", "out_proj", "fc1", "fc2"];
    ours.iter().zip(theirs).fold(name.to_owned(), |name, (ours, theirs)| name.replacen(ours, theirs, 1))
}

#[test]
fn loss_and_every_gradient() {
    for model in ["llama_gqa", "mistral_swa", "minicpm3", "opt", "diffllama"] {
        let decoder = checkpoint::load_widened(&folder(model)).unwrap();
        let expected = |name: &str| tensor(model, "grads.safetensors", name);
        let tokens = ids(model, "plain.input_ids");
        let pick = |range: std::ops::Range<usize>| -> Vec<u32> {
            tokens.chunks_exact(TOKENS).flat_map(|row| row[range.clone()].iter().copied()).collect()
        };
        let mut tape = Tape::new(Processor::new(2)).poisoned();
        let bound = decoder.bind(&mut tape);
        let batch = Batch::even(SEQUENCES, TOKENS - 1);
        let logits = decoder.forward(&mut tape, &bound, &batch, &pick(0..TOKENS - 1), &mut [], LogitRows::All).unwrap();
        let loss = tape.cross_entropy(logits, &pick(1..TOKENS));
        assert!(difference(tape.value(loss), &expected("loss")) < 1e-6, "{model}");
        tape.backward(loss);
        for (parameter, &var) in decoder.parameters().iter().zip(bound.vars()) {
            let want = expected(&format!("grad.{}", published(model, &parameter.name)));
            // OPT's table of positions has two rows before the first that is read.
            let got = tape.gradient(var).unwrap();
            let apart = difference(got, &want[want.len() - got.len()..]);
            if (model, parameter.name.ends_with("k_proj.bias")) == ("opt", true) {
                // Without rotation it adds the same to all scores of a query: what is left of its gradient is rounding.
                let largest = got.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                assert!(largest < 1e-6, "{model}, {}: got {largest:.1e}, wanted 0", parameter.name);
                continue;
            }
            assert!(apart < 1e-5, "{model}, {}: off by {apart:.1e}", parameter.name);
        }
    }
}

/// The tensors of a language model lie under one of these names where another part reads images: older and newer files, and Qwen's.
#[test]
fn a_language_model_within_a_larger_one_is_the_same() {
    let alone = checkpoint::load_widened(&folder("llama_gqa")).unwrap();
    let bytes = fs::read(folder("llama_gqa").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let inner: Value = serde_json::from_slice(&fs::read(folder("llama_gqa").join("config.json")).unwrap()).unwrap();
    // The other part's configuration may disagree about the head, which the files settle.
    let config = json!({"model_type": "seeing", "text_config": inner, "vision_config": {}, "tie_word_embeddings": true});
    let names: [fn(&str) -> String; 3] = [
        |name| format!("language_model.{name}"),
        |name| name.strip_prefix("model.").map_or(name.into(), |rest| format!("model.language_model.{rest}")),
        |name| name.into(),
    ];
    for (there, seeing) in
        names.into_iter().zip(["vision_tower.patch.weight", "model.visual.patch.weight", "visual.patch.weight"])
    {
        let larger = tempfile::tempdir().unwrap();
        fs::write(larger.path().join("config.json"), config.to_string()).unwrap();
        let another = tensors.tensor("model.norm.weight").unwrap();
        let own = tensors.iter().map(|(name, view)| (there(name), view)).chain([(seeing.to_owned(), another)]);
        fs::write(larger.path().join("model.safetensors"), safetensors::serialize(own, None).unwrap()).unwrap();
        let within = checkpoint::load_widened(larger.path()).unwrap_or_else(|why| panic!("{seeing}: {why}"));
        for (one, other) in alone.parameters().iter().zip(within.parameters()) {
            assert_eq!((&one.name, one.tensor.data()), (&other.name, other.tensor.data()), "{seeing}");
        }
        let report = Subject::open(larger.path()).unwrap().report(Question::default()).unwrap();
        let said = report.warnings.iter().any(|warning| warning.contains("(tensors left out: 1)"));
        assert!(said, "{seeing}: {:?}", report.warnings);
    }
}
