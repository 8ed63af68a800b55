//! `inspect`: as prose within 80 columns, as JSON, and what it refuses.

use crate::{Place, code, error};
use serde_json::Value;
use std::fs;

const CONFIG: &str = "{\"model_type\": \"llama\", \"vocab_size\": 100, \"hidden_size\": 64, \"intermediate_size\": 96, \
    \"num_hidden_layers\": 3, \"num_attention_heads\": 8, \"num_key_value_heads\": 2, \"max_position_embeddings\": 512}";

#[test]
fn a_configuration_alone_is_enough_and_measuring_agrees() {
    let place = Place::new();
    fs::write(place.path("config.json"), CONFIG).unwrap();
    let text = place.good("inspect config.json --measure --context 300 --bandwidth 50 --memory 2");
    for wanted in
        ["gqa: 8 heads on 2 key heads of 8", "k 2 x 8 + v 2 x 8 = 32 values a token", "tokens/s at 50 GB/s", "fits in 2 GB"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let text = place.good("inspect config.json --bandwidth 0.4 --memory 16.5");
    for wanted in ["tokens/s at 0.4 GB/s", "fits in 16.5 GB", "one key and one value"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "colour where nobody looks");
    let json: Value = serde_json::from_str(&place.good("inspect config.json --json --measure --cache int8")).unwrap();
    assert_eq!(json["cache"]["values_per_token"], 96.0);
    assert_eq!(json["measured"]["declared"], json["measured"]["allocated"]);
    assert_eq!(json["layers"][0]["mixers"][0]["planes"][0]["growth"], "per token");
}

#[test]
fn the_table_of_published_models_is_complete_in_every_form() {
    let place = Place::new();
    let json: Value = serde_json::from_str(&place.good("inspect --known --json")).unwrap();
    let models = json["models"].as_array().unwrap();
    assert!(models.len() >= 60);
    let (text, table) = (place.good("inspect --known"), place.good("inspect --known --markdown"));
    for model in models {
        let name = model["name"].as_str().unwrap();
        assert!(text.contains(name) && table.contains(name), "{name}");
    }
}

#[test]
fn what_cannot_be_inspected_is_refused_in_one_line() {
    let place = Place::new();
    assert!(place.bad("inspect nowhere.gguf", 2).contains("nowhere.gguf"));
    fs::write(place.path("config.json"), "{\"model_type\": \"mamba\"}").unwrap();
    assert!(place.bad("inspect config.json", 2).contains("mamba is unsupported"));
    fs::write(place.path("config.json"), CONFIG).unwrap();
    assert!(place.bad("inspect config.json --memory -1", 2).contains("--memory: got -1, wanted a number above 0"));
    fs::write(place.path("cut.gguf"), "GGUF").unwrap();
    assert!(place.bad("inspect cut.gguf", 2).contains("cut.gguf"));
}

#[test]
fn a_cache_that_no_memory_holds_is_not_allocated() {
    let place = Place::new();
    fs::write(place.path("config.json"), CONFIG).unwrap();
    // 384 bytes a token.
    let line = place.bad("inspect config.json --measure --context 100000000000", 2);
    let want = "attendant: --context: got 100000000000, whose cache takes 34.9 TiB, wanted at most ";
    assert!(line.starts_with(want), "{line}");
    let line = place.bad("inspect config.json --measure --context 18446744073709551615", 2);
    assert!(line.contains("--context: got 18446744073709551615, wanted at most 137438953472 tokens"), "{line}");
}

#[test]
fn what_only_measuring_reads_is_refused_without_it() {
    let place = Place::new();
    fs::write(place.path("config.json"), CONFIG).unwrap();
    for words in ["inspect config.json --context 300", "inspect config.json --cache int8"] {
        let output = place.run(words);
        assert_eq!(code(&output), 2, "{words}");
        assert!(error(&output).contains("--measure"), "{words}: {}", error(&output));
    }
}
