//! What inspect says of published layouts: bytes are those of the tensors that transformers keeps, and those that a store allocates.

use attendant_model::inspect::cache::dtypes;
use attendant_model::inspect::layer::Layers;
use attendant_model::inspect::{Question, Subject};
use attendant_state::Storage;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Of every tiny checkpoint that generates, the shapes of what transformers 5.23 has in its cache after so many tokens, of a source of
/// so many.
const CACHES: &str = include_str!("data/caches.jsonl");

#[derive(Deserialize)]
struct Case {
    model: String,
    tokens: usize,
    source: usize,
    cache: BTreeMap<String, Vec<usize>>,
}

impl Case {
    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(&self.model)
    }

    fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder().join("config.json")).unwrap()).unwrap()
    }

    /// Values in its cache, as this program keeps them.
    fn values(&self) -> usize {
        let values = |shape: &Vec<usize>| shape.iter().product::<usize>();
        let all = self.cache.values().map(values).sum::<usize>();
        match self.model.as_str() {
            // transformers repeats keys and values for every query head before it keeps them.
            "falcon_gqa" => {
                let size = |key: &str| self.config()[key].as_u64().unwrap() as usize;
                all / size("num_attention_heads") * size("num_kv_heads")
            }
            // transformers hides what lies before a window here, and keeps it: every other layer has one.
            "gpt_neo" => {
                let rows = self.config()["window_size"].as_u64().unwrap() as usize - 1;
                let local = |name: &str| name.split('.').next().unwrap().parse::<usize>().unwrap() % 2 == 1;
                let values = |(name, shape): (&String, &Vec<usize>)| {
                    shape.iter().product::<usize>() / shape[2] * if local(name) { rows } else { shape[2] }
                };
                self.cache.iter().map(values).sum()
            }
            _ => all,
        }
    }
}

fn cases() -> impl Iterator<Item = Case> {
    CACHES.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// A configuration as the only file of a folder.
fn opened(config: &Value) -> (TempDir, Subject) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let subject = Subject::open(folder.path()).unwrap();
    (folder, subject)
}

#[test]
fn bytes_are_those_of_the_tensors_that_transformers_keeps() {
    let mut compared = 0;
    for case in cases() {
        let subject = Subject::open(&case.folder()).unwrap();
        let layouts = Layers::of_plan(subject.plan()).unwrap().layouts();
        let bytes: usize = layouts.iter().map(|layout| layout.bytes(case.tokens, case.source, Storage::paged(1))).sum();
        assert_eq!(bytes, 4 * case.values(), "{}", case.model);
        compared += 1;
    }
    assert!(compared >= 50, "{compared}");
}

#[test]
fn declared_is_allocated_for_every_family() {
    for case in cases() {
        let subject = Subject::open(&case.folder()).unwrap();
        for dtype in dtypes() {
            for tokens in [1, 24, 300] {
                let measured = subject.measure(tokens, dtype).unwrap();
                assert_eq!(measured.declared, measured.allocated, "{}, {dtype:?}, {tokens} tokens", case.model);
            }
        }
    }
}

/// Llama 3 8B and 70B: the memory that half a token's weights and a full context take is arithmetic that anyone can redo.
#[test]
fn a_report_states_what_follows_from_the_configuration() {
    let config = json!({"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192});
    let (_folder, subject) = opened(&config);
    let report = subject.report(Question { bandwidth: Some(100e9), memory: Some(24e9) }).unwrap();
    assert_eq!(report.layers.groups.len(), 1);
    let mixer = &report.layers.groups[0].mixers[0];
    assert_eq!((mixer.mechanism.as_str(), mixer.formula().as_str()), ("gqa", "k 8 x 128 + v 8 x 128"));
    assert_eq!(report.cache.contexts, [4096, 8192, 32_768, 131_072]);
    let bf16 = report.cache.dtypes.iter().find(|dtype| dtype.dtype == "bf16").unwrap();
    assert_eq!((bf16.per_token, bf16.at[1]), (131_072.0, 1 << 30));
    assert_eq!(report.weights.parameters, 8_030_261_248);
    // The table of embeddings is read one row at a time; the head, which is not tied, whole.
    assert_eq!(report.weights.active, 8_030_261_248 - 128_255 * 4096);
    assert_eq!(bf16.fits, Some(((24e9 - 2.0 * 8_030_261_248.0) / 131_072.0) as usize));
    let step = &report.decode[1];
    let read = 2.0 * report.weights.active as f64 + (1u64 << 30) as f64;
    assert!((step.tokens_per_second.unwrap() - 100e9 / read).abs() < 1e-9);
    let kept: Vec<usize> = report.alternatives.iter().map(|way| way.values_per_token / 32).collect();
    assert_eq!(kept, [8192, 2048, 256, 576]);
}

#[test]
fn other_engines_pad_and_widen_by_their_rules() {
    let config = json!({"model_type": "gpt_oss", "vocab_size": 201_088, "hidden_size": 2880, "intermediate_size": 2880,
        "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128,
        "num_local_experts": 32, "num_experts_per_tok": 4, "max_position_embeddings": 131_072});
    let (_folder, subject) = opened(&config);
    let report = subject.report(Question::default()).unwrap();
    let rows = |engine: &str| {
        let found = report.engines.iter().find(|allocation| allocation.engine == engine).unwrap();
        // Keys and values of 8 heads of 64 in 12 layers of each kind, two bytes a value.
        found.bytes / (2 * 8 * 64 * 12 * 2)
    };
    assert_eq!(rows("llama.cpp"), 131_072 + 768);
    assert_eq!(rows("llama.cpp --swa-full"), 2 * 131_072);
    assert_eq!(rows("vLLM"), 131_072 + 2176 + 16);
    assert_eq!(rows("transformers"), 131_072 + 127);
    assert!(report.engines.iter().all(|allocation| allocation.engine != "transformers 4"));
}

#[test]
fn latents_are_expanded_by_engines_that_do() {
    let config = cases().find(|case| case.model == "deepseek_v3").unwrap().config();
    let (_folder, subject) = opened(&config);
    let report = subject.report(Question::default()).unwrap();
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let head = size("qk_nope_head_dim") + size("qk_rope_head_dim") + size("v_head_dim");
    let expanded = report.engines.iter().find(|allocation| allocation.engine == "transformers 4").unwrap();
    assert_eq!(expanded.bytes, 2 * size("num_hidden_layers") * size("num_attention_heads") * head * report.context);
}

#[test]
fn the_language_model_of_a_larger_one_is_found() {
    let mut config = cases().find(|case| case.model == "gemma3").unwrap().config();
    config["model_type"] = "gemma3_text".into();
    let (_folder, subject) = opened(&json!({"model_type": "gemma3", "text_config": config, "vision_config": {}}));
    let report = subject.report(Question::default()).unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("only the language model")));
}

/// Headers of real files in the published layouts hold what their configuration says, tensor by tensor.
#[test]
fn the_files_of_every_family_hold_what_is_counted() {
    for case in cases() {
        let report = Subject::open(&case.folder()).unwrap().report(Question::default()).unwrap();
        let notes: Vec<&String> = report.warnings.iter().filter(|note| note.contains("the files")).collect();
        // Files of OPT carry two rows of positions that nobody reads, a large part of so small a model.
        assert!(notes.is_empty() || case.model.starts_with("opt"), "{}: {notes:?}", case.model);
    }
}

#[test]
fn families_that_are_not_supported_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, "{\"model_type\": \"mamba\"}").unwrap();
    let why = Subject::open(&path).unwrap_err().to_string();
    assert!(why.contains("mamba is unsupported: it is recurrent"), "{why}");
    fs::write(&path, "{\"model_type\": 3}").unwrap();
    assert!(Subject::open(&path).unwrap_err().to_string().contains("model_type"));
    assert!(Subject::open(&folder.path().join("nowhere")).is_err());
}
