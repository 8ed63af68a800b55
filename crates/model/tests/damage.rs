//! Folders that cannot be read: one line that names the file and the fault, and never a panic.

use attendant_model::{Decoder, Dense, Embedding, Head, Layer, Norm, Plan, checkpoint};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A Llama with one layer, without the plan in its configuration.
fn llama() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rotary = json!({"width": 4, "base": 10000.0});
    let layer = json!({"kind": "gqa", "d_model": 8, "heads": 2, "kv_heads": 1, "d_head": 4, "rotary": rotary});
    let plan = Plan {
        vocab_size: 5,
        d_model: 8,
        context: 16,
        norm: Norm::rms(1e-5),
        embedding: Embedding::default(),
        layers: vec![Layer::pre(layer, Dense::swiglu(3).into())],
        head: Head { tied: true, ..Head::default() },
        encoder: None,
    };
    checkpoint::save(&Decoder::new(plan, 1).unwrap(), folder.path()).unwrap();
    change(folder.path(), |config| drop(config.as_object_mut().unwrap().remove("attendant")));
    folder
}

fn change(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

fn refused(folder: &Path, file: &str, want: &str) {
    let why = checkpoint::load(folder).expect_err(want).to_string();
    let start = format!("{}: ", folder.join(file).display());
    assert!(why.starts_with(&start) && why.contains(want) && !why.contains('\n'), "got {why:?}, wanted {want:?}");
}

#[test]
fn configurations() {
    let cases = [
        ("model_type", json!("eliza"), "model_type: got \"eliza\""),
        ("model_type", json!("mamba"), "model_type: mamba is unsupported"),
        ("vocab_size", json!("five"), "vocab_size: got \"five\", wanted a whole number"),
        ("vocab_size", json!(-1), "vocab_size: got -1, wanted a whole number"),
        ("vocab_size", json!(1u64 << 62), "vocab_size: got 4611686018427387904"),
        ("num_hidden_layers", json!(1u64 << 62), "num_hidden_layers: got 4611686018427387904"),
        ("num_hidden_layers", json!(0), "layers: got 0"),
        ("num_attention_heads", json!(0), "num_attention_heads: got 0"),
        ("num_key_value_heads", json!(0), "kv_heads: got 0"),
        ("head_dim", json!(3), "rotary.width: got 3"),
        ("rope_scaling", json!({"type": "linear", "factor": 0.0}), "scaling.factor: got 0"),
        ("rope_scaling", json!({"type": "linear"}), "factor: got none, wanted a number"),
        ("rope_scaling", json!(3), "rope_scaling: got 3, wanted an object"),
        ("rope_parameters", json!({"rope_type": "cubist", "rope_theta": 9.0}), "rope_type: got \"cubist\""),
        ("rope_parameters", json!({"rope_theta": "NaN"}), "rope_theta: got \"NaN\", wanted a number"),
        ("rope_parameters", json!({"rope_theta": -1.0}), "base: got -1"),
        ("rope_parameters", json!({"partial_rotary_factor": 2.0}), "partial_rotary_factor: got 2.0"),
        ("rms_norm_eps", json!(-1.0), "eps: got -1"),
        ("hidden_act", json!("sine"), "hidden_act: got \"sine\""),
        ("attention_bias", json!("yes"), "attention_bias: got \"yes\", wanted true or false"),
        ("attendant", json!({"vocab_size": 3}), "attendant: "),
    ];
    for (key, value, want) in cases {
        let folder = llama();
        change(folder.path(), |config| config[key] = value);
        refused(folder.path(), "config.json", want);
    }
    let folder = llama();
    change(folder.path(), |config| drop(config.as_object_mut().unwrap().remove("hidden_size")));
    refused(folder.path(), "config.json", "hidden_size, n_embd, n_embed, d_model: got none");
    fs::write(folder.path().join("config.json"), "{\"a\": \n").unwrap();
    refused(folder.path(), "config.json", "EOF");
    fs::remove_file(folder.path().join("config.json")).unwrap();
    refused(folder.path(), "config.json", "No such file");
}

#[test]
fn weights_that_do_not_fit_the_configuration() {
    let cases = [
        ("tie_word_embeddings", json!(false), "tensor lm_head.weight: missing"),
        ("intermediate_size", json!(2_000_000_000), "gate_proj.weight: wanted shape [2000000000, 8], got [3, 8]"),
        ("num_attention_heads", json!(i32::MAX), "q_proj.weight: wanted shape"),
        ("attention_bias", json!(true), "self_attn.q_proj.bias: missing"),
        ("mlp_bias", json!(true), "mlp.gate_proj.bias: missing"),
        ("num_hidden_layers", json!(2), "tensor model.layers.1.input_layernorm.weight: missing"),
    ];
    for (key, value, want) in cases {
        let folder = llama();
        change(folder.path(), |config| config[key] = value);
        refused(folder.path(), "model.safetensors", want);
    }
}

#[test]
fn weights_that_the_configuration_does_not_know() {
    let folder = llama();
    let file = folder.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let with = |name: &str, dtype, values: &[u8]| {
        let extra = TensorView::new(dtype, vec![2], values).unwrap();
        let all = tensors.tensors().into_iter().filter(|(known, _)| known != name);
        fs::write(&file, safetensors::serialize(all.chain([(name.to_string(), extra)]), None).unwrap()).unwrap();
    };
    with("model.extra", Dtype::F32, &[0; 8]);
    refused(folder.path(), "model.safetensors", "tensor model.extra: not part of the model");
    with("model.norm.weight", Dtype::F32, &[0; 8]);
    refused(folder.path(), "model.safetensors", "tensor model.norm.weight: wanted shape [8], got [2]");
    // Early files carry what follows from the configuration.
    with("model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::F32, &[0; 8]);
    checkpoint::load(folder.path()).unwrap();
    let whole = tensors.tensor("model.norm.weight").unwrap();
    let eight = TensorView::new(Dtype::I32, vec![8], whole.data()).unwrap();
    let all = tensors.tensors().into_iter().filter(|(name, _)| name != "model.norm.weight");
    fs::write(&file, safetensors::serialize(all.chain([("model.norm.weight".into(), eight)]), None).unwrap()).unwrap();
    refused(
        folder.path(),
        "model.safetensors",
        "tensor model.norm.weight: wanted F32, F16, BF16 or one of few bits that is read, got I32",
    );
}

#[test]
fn weights_that_are_damaged() {
    let folder = llama();
    let file = folder.path().join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    for cut in [0, 7, 8, 100, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        refused(folder.path(), "model.safetensors", "");
    }
    let mut endless = whole;
    endless[..8].fill(0xFF);
    fs::write(&file, endless).unwrap();
    refused(folder.path(), "model.safetensors", "");
    fs::remove_file(&file).unwrap();
    refused(folder.path(), "model.safetensors", "No such file");
}
