//! What the files of a model describe: a plan, and where its parameters come from.
//!
//! A model that reads images or sound as well keeps the configuration of its language model under `text_config`, and its tensors under a
//! name of their own. The language model alone is read.

use crate::checkpoint::{CheckpointError, content};
use crate::family::{self, Published};
use crate::gguf;
use crate::source::Place;
use attendant_formats::{Config, Metadata, Weights};
use serde_json::{Value, json};
use std::path::Path;

/// A model as its files describe it.
pub(crate) struct Description {
    /// As it is published, whole.
    pub(crate) config: Value,
    /// The family of the language model.
    pub(crate) family: String,
    pub(crate) published: Published,
    /// What the files do not say and was taken as usual.
    pub(crate) assumed: Vec<String>,
    /// What of the model is not read.
    pub(crate) left_out: Option<String>,
}

/// Where the tensors of a language model stand in a larger one.
const PLACES: [Place; 3] = [
    ("", "language_model.", &["language_model."]),
    ("model.", "model.language_model.", &["model.language_model.", "lm_head."]),
    ("", "", &["model.", "lm_head."]),
];

impl Description {
    /// That of the model at `path`, from its config.json, or else from the metadata of its GGUF file.
    ///
    /// # Errors
    /// If there is neither, or it is damaged, or describes what is not there.
    pub(crate) fn read(path: &Path, config: Option<&Path>, weights: Option<&Weights>) -> Result<Description, CheckpointError> {
        match (config, weights.map(|weights| (weights, weights.metadata()))) {
            (Some(config), _) => Description::of_config(config, weights),
            (None, Some((weights, Metadata::Gguf(metadata)))) => {
                let mapped = gguf::configuration(metadata, weights).map_err(|why| content(path, why))?;
                let published = mapped.published().map_err(|why| content(path, why))?;
                let (family, config, assumed) = (family_of(&mapped.config), mapped.config, mapped.assumed);
                Ok(Description { config, family, published, assumed, left_out: None })
            }
            _ => Err(content(path, "wanted a config.json beside the weights, got none")),
        }
    }

    fn of_config(path: &Path, weights: Option<&Weights>) -> Result<Description, CheckpointError> {
        let config = Config::open(path)?.into_value();
        let mut inner = language(&config);
        if let (Some(inner), Some(weights)) = (&mut inner, weights) {
            // The two configurations may differ in this; the files do not lie.
            inner["tie_word_embeddings"] = (!weights.iter().any(|tensor| tensor.name.ends_with("lm_head.weight"))).into();
        }
        let mut published = family::read(inner.as_ref().unwrap_or(&config)).map_err(|why| content(path, why))?;
        let mut left_out = None;
        if inner.is_some() {
            let begins = |start: &str| weights.is_some_and(|weights| weights.iter().any(|tensor| tensor.name.starts_with(start)));
            let place = PLACES.iter().find(|(_, there, _)| begins(there)).unwrap_or(&PLACES[0]);
            published.names = published.names.within(*place);
            let left = weights.into_iter().flat_map(Weights::iter).filter(|tensor| published.names.outside(tensor.name)).count();
            let tensors = if left > 0 { format!(" (tensors left out: {left})") } else { String::new() };
            left_out = Some(format!("only the language model is read, and not what reads images or sound{tensors}"));
        }
        let family = family_of(inner.as_ref().unwrap_or(&config));
        Ok(Description { config, family, published, assumed: Vec::new(), left_out })
    }
}

fn family_of(config: &Value) -> String {
    config.get("model_type").and_then(Value::as_str).unwrap_or("attendant").to_owned()
}

/// The part of a configuration that describes the language model, if it is not the whole.
fn language(config: &Value) -> Option<Value> {
    let text = config.get("text_config").filter(|_| !family::known(config))?.as_object()?;
    let usual = if text.get("model_type")? == "gemma3_text" { usual_gemma3() } else { Value::Null };
    let tied = config.get("tie_word_embeddings").map(|tied| ("tie_word_embeddings".to_owned(), tied.clone()));
    let mut inner = usual.as_object().cloned().unwrap_or_default();
    inner.extend(tied);
    inner.extend(text.clone());
    Some(Value::Object(inner))
}

/// Numbers that the nested configuration of a Gemma 3 leaves out, because transformers has them in its code.
fn usual_gemma3() -> Value {
    json!({
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "query_pre_attn_scalar": 256,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    })
}
