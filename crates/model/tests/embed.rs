//! Rows of encoders and the vectors made of them.

use attendant_core::{Processor, Tape};
use attendant_mech::Batch;
use attendant_model::decoder::Inputs;
use attendant_model::embed::{Embedder, Pooling};
use attendant_model::{Decoder, LogitRows, checkpoint};
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const TOKENS: usize = 24;

fn bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert")
}

/// The same encoder as it is published without its head: another class, no name of the whole model before the tensors.
fn headless(folder: &Path) {
    let mut config: Value = serde_json::from_slice(&fs::read(bert().join("config.json")).unwrap()).unwrap();
    config["architectures"] = json!(["BertModel"]);
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let bytes = fs::read(bert().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let own = tensors.iter().filter_map(|(name, view)| Some((name.strip_prefix("bert.")?, view)));
    fs::write(folder.join("model.safetensors"), serialize(own, None).unwrap()).unwrap();
    let characters = "abcdefghijklmnopqrstuvwxyz .?".chars().map(String::from);
    let vocabulary: serde_json::Map<_, _> =
        ["[PAD]", "[CLS]", "[SEP]"].map(String::from).into_iter().chain(characters).zip((0..).map(Value::from)).collect();
    let mark = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let special = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let tokenizer = json!({
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [mark("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, mark("[SEP]")],
            "pair": [mark("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": special("[CLS]", 1), "[SEP]": special("[SEP]", 2)},
        },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// What modules.json and the configuration of its pooling say.
fn after(folder: &Path, modules: &[(&str, &str)], pooling: &str) {
    let module = |&(class, path): &(&str, &str)| json!({"type": format!("sentence_transformers.models.{class}"), "path": path});
    fs::write(folder.join("modules.json"), json!(modules.iter().map(module).collect::<Vec<_>>()).to_string()).unwrap();
    fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    fs::write(folder.join("1_Pooling/config.json"), json!({ pooling: true }).to_string()).unwrap();
}

const USUAL: [(&str, &str); 3] = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")];

fn rows(decoder: &Decoder, ids: &[u32], types: &[u32]) -> Vec<f32> {
    let mut tape = Tape::inference(Processor::new(2)).poisoned();
    let bound = decoder.bind(&mut tape);
    let inputs = Inputs { ids, types, ..Inputs::default() };
    let rows = decoder.rows(&mut tape, &bound, &Batch::even(1, ids.len()), inputs).unwrap();
    tape.value(rows).to_vec()
}

#[test]
fn rows_of_an_encoder_with_and_without_its_head_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    headless(folder.path());
    let bytes = fs::read(bert().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let whole = |name: &str| -> Vec<u32> {
        let data = expected.tensor(name).unwrap();
        data.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as u32).collect()
    };
    let hidden = expected.tensor("plain.hidden.2").unwrap();
    let want: Vec<f32> = hidden.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    for decoder in [checkpoint::load(&bert()).unwrap(), checkpoint::load(folder.path()).unwrap()] {
        let got = rows(&decoder, &whole("plain.input_ids")[..TOKENS], &whole("plain.token_type_ids")[..TOKENS]);
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-4, "got {got}, wanted {want}");
        }
    }
}

#[test]
fn a_model_without_a_head_gives_no_logits() {
    let folder = tempfile::tempdir().unwrap();
    headless(folder.path());
    let decoder = checkpoint::load(folder.path()).unwrap();
    let mut tape = Tape::inference(Processor::new(1));
    let bound = decoder.bind(&mut tape);
    let why = decoder.forward(&mut tape, &bound, &Batch::even(1, 2), &[1, 2], &mut [], LogitRows::All).unwrap_err().to_string();
    assert_eq!(why, "head: got none, wanted a model that gives logits: this one gives rows");
}

#[test]
fn a_vector_does_not_depend_on_what_is_beside_its_text() {
    let folder = tempfile::tempdir().unwrap();
    headless(folder.path());
    after(folder.path(), &USUAL, "pooling_mode_mean_tokens");
    let embedder = Embedder::open(folder.path(), None).unwrap();
    let text = |i: usize| "a longer text than most. is it?".chars().cycle().skip(i).take(1 + i * 7 % 30).collect::<String>();
    let texts: Vec<String> = (0..150).map(text).collect();
    let together = embedder.embed(&Processor::new(2), &texts).unwrap();
    for (text, want) in texts.iter().zip(&together) {
        assert_eq!(&embedder.embed(&Processor::new(1), &[text]).unwrap()[0], want, "{text}");
        assert_eq!(want.tokens, text.len() + 2);
        let length: f32 = want.values.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn texts_are_cut_off_within_the_tokens_around_them() {
    let folder = tempfile::tempdir().unwrap();
    headless(folder.path());
    fs::write(folder.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 12, "do_lower_case": true}"#).unwrap();
    let of = |most: Option<usize>, text: &str| {
        Embedder::open(folder.path(), most).unwrap().embed(&Processor::new(1), &[text]).unwrap().remove(0)
    };
    let (long, short) = (of(None, "A TEXT OF TOO MANY TOKENS"), of(None, "a text of "));
    assert_eq!((long.tokens, long.cut, short.cut), (12, true, false));
    assert_eq!(long.values, short.values);
    assert_eq!(of(Some(6), "a text").values, of(None, "a te").values);
    let refused = |most| Embedder::open(folder.path(), Some(most)).unwrap_err().to_string();
    assert!(refused(2).ends_with("length: got 2, wanted more than the 2 tokens around a text"), "{}", refused(2));
    assert!(refused(4096).contains("length: got 4096, wanted at most the model's "), "{}", refused(4096));
}

#[test]
fn what_follows_the_layers_is_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    headless(folder.path());
    let open = || Embedder::open(folder.path(), None).map(|embedder| embedder.after().clone());
    let plain = open().unwrap();
    assert_eq!((plain.poolings, plain.normalised), (vec![Pooling::Mean], false));
    after(folder.path(), &USUAL, "pooling_mode_cls_token");
    let read = open().unwrap();
    assert_eq!((read.poolings, read.normalised), (vec![Pooling::First], true));
    for (modules, want) in [
        (&[("Transformer", ""), ("Dense", "2_Dense")][..], "type: wanted Transformer, Pooling or Normalize, got \"sentence"),
        (&[("Transformer", "0_Transformer")], "path: wanted the folder itself, got \"0_Transformer\""),
        (&[("Pooling", "../1_Pooling")], "path: wanted a folder in that of modules.json, got \"../1_Pooling\""),
        (&[("Transformer", "")], "got no Pooling, wanted one"),
    ] {
        after(folder.path(), modules, "pooling_mode_cls_token");
        let why = open().unwrap_err().to_string();
        assert!(why.contains(&format!("modules.json: {want}")), "{why}");
    }
    fs::write(folder.path().join("modules.json"), "{}").unwrap();
    let why = open().unwrap_err().to_string();
    assert!(why.ends_with("JSON: wanted a list of at most 16 objects, got an object of 0"), "{why}");
}
