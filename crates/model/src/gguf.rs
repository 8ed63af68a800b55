//! What the metadata of a GGUF file says, in the keys of a published configuration, and the names that its tensors have.
//!
//! GGUF has names of its own for what config.json says. They are put back into those words, so that a family is read by one piece of
//! code whatever file it came in. What the writer of the file left out, because the engine it was written for has it in its code, is
//! filled in here and said.

mod architectures;
mod keys;
mod latent;
mod scaling;
mod tensors;

use crate::family::{self, Published};
use crate::plan::{Part, Plan};
use crate::source::Step;
use architectures::{ARCHITECTURES, Architecture, Pairs, Windows};
use attendant_formats::gguf::{Array, Value as Stored};
use attendant_formats::{Refusal, quoted};
use keys::{Keys, Layers};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The metadata of a file.
pub type Metadata = BTreeMap<String, Stored>;

type Result<T> = std::result::Result<T, Refusal>;

/// The tensors of a file, of which some say what its metadata does not.
pub(crate) trait Tensors {
    /// The shape of a tensor, if it is there.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The values of a tensor, if it is there and they are numbers of at most 32 bits.
    fn values(&self, name: &str) -> Option<Vec<f32>>;

    /// Whether a tensor is there.
    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }
}

impl Tensors for attendant_formats::Weights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.get(name)?.shape.to_vec())
    }

    fn values(&self, name: &str) -> Option<Vec<f32>> {
        self.get(name)?.to_f32().ok()
    }
}

/// The names of the architectures that are read.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name)
}

/// A file's model.
pub(crate) struct Mapped<'a> {
    /// The configuration that its metadata amounts to.
    pub(crate) config: Value,
    /// What the metadata does not say and was taken as usual.
    pub(crate) assumed: Vec<String>,
    architecture: &'static Architecture,
    tensors: &'a dyn Tensors,
}

/// The published configuration that metadata amounts to.
///
/// # Errors
/// If the architecture is not known, a key is missing or of another type, or one is there that nothing here stands for.
pub(crate) fn configuration<'a>(metadata: &Metadata, tensors: &'a dyn Tensors) -> Result<Mapped<'a>> {
    let name = match metadata.get("general.architecture") {
        Some(Stored::String(name)) => name.as_str(),
        _ => return Err(Refusal::new("general.architecture", "wanted a name, got none")),
    };
    let known = || architectures().collect::<Vec<_>>().join(", ");
    let refuse = || Refusal::new("general.architecture", format_args!("wanted one of {}, got {}", known(), quoted(name)));
    let architecture = ARCHITECTURES.iter().find(|known| known.name == name).ok_or_else(refuse)?;
    let keys = Keys::new(metadata, tensors, name);
    let mut config = Map::from_iter([("model_type".to_owned(), Value::from(architecture.family))]);
    let mut assumed: Vec<String> = architecture.assumed.iter().map(|&sentence| sentence.to_owned()).collect();
    for (published, usual) in architecture.usual {
        let usual = serde_json::from_str(usual).map_err(|why| keys.refuse(published, why))?;
        config.insert((*published).into(), usual);
    }
    common(&keys, &mut config)?;
    own(architecture, &keys, &mut config)?;
    windows(architecture, &keys, &mut config, &mut assumed)?;
    scaling::read(&keys, &mut config)?;
    (architecture.more)(&keys, &mut config, &mut assumed)?;
    keys.all_read()?;
    Ok(Mapped { config: Value::Object(config), assumed, architecture, tensors })
}

impl Mapped<'_> {
    /// Its plan, and the names of the file's tensors.
    ///
    /// # Errors
    /// As [`family::read`].
    pub(crate) fn published(&self) -> attendant_core::Result<Published> {
        let mut plan = family::read(&self.config)?.plan;
        if self.architecture.pairs == Pairs::Neighbours {
            rotate_neighbours(&mut plan);
        }
        let names = tensors::names(self.architecture, &plan, self.tensors);
        Ok(Published { plan, names })
    }

    /// Its plan as published, with the file's queries and keys moved back to where they are there.
    ///
    /// # Errors
    /// As [`family::read`].
    pub(crate) fn unpaired(&self) -> attendant_core::Result<Published> {
        let plan = family::read(&self.config)?.plan;
        let mut names = tensors::names(self.architecture, &plan, self.tensors);
        let d_head = plan.layers.first().and_then(|layer| layer.mixers().next()?["d_head"].as_u64());
        if let (Pairs::Neighbours, Some(d_head)) = (self.architecture.pairs, d_head) {
            let step = [Step::Unpaired(d_head as usize)];
            names = names.with("attn_q", step).with("attn_k", step);
        }
        Ok(Published { plan, names })
    }
}

/// Lets every rotation turn neighbours.
fn rotate_neighbours(plan: &mut Plan) {
    for step in plan.layers.iter_mut().flat_map(|layer| &mut layer.steps) {
        if let Part::Mixer(mixer) = &mut step.part
            && let Some(rotary) = mixer.get_mut("rotary").filter(|rotary| rotary.is_object())
        {
            rotary["pairs"] = "adjacent".into();
        }
    }
}

/// What every architecture says.
fn common(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<()> {
    for (published, stored) in [
        ("hidden_size", "embedding_length"),
        ("num_attention_heads", "attention.head_count"),
        ("intermediate_size", "feed_forward_length"),
        ("max_position_embeddings", "context_length"),
    ] {
        config.insert(published.into(), keys.size(stored)?.into());
    }
    // Layers that predict further tokens while training follow the others.
    let further = keys.size_if("nextn_predict_layers")?.unwrap_or(0);
    config.insert("num_hidden_layers".into(), keys.size("block_count")?.saturating_sub(further).into());
    config.insert("vocab_size".into(), vocabulary(keys)?.into());
    for (published, stored) in [("num_key_value_heads", "attention.head_count_kv"), ("head_dim", "attention.key_length")] {
        config.extend(keys.size_if(stored)?.map(|size| (published.to_owned(), size.into())));
    }
    if keys.size_if("attention.kv_lora_rank")?.is_none()
        && let Some(width) = keys.size_if("attention.value_length")?
        && let Some(other) = keys.size_if("attention.key_length")?.filter(|key| *key != width)
    {
        return Err(keys.refuse("attention.value_length", format_args!("wanted {other}, as keys have, got {width}")));
    }
    let eps = keys.number_if("attention.layer_norm_rms_epsilon")?;
    config.extend(eps.map(|eps| ("rms_norm_eps".to_owned(), eps.into())));
    if let Some(eps) = keys.number_if("attention.layer_norm_epsilon")? {
        // Families have their own name for it, and read no other's.
        let names = ["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"];
        config.extend(names.map(|name| (name.to_owned(), eps.into())));
    }
    let has = |name: &str| keys.tensors.has(name);
    let bias = has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
    let tied = !has("output.weight");
    for (published, flag) in [("attention_bias", bias), ("mlp_bias", has("blk.0.ffn_down.bias")), ("tie_word_embeddings", tied)] {
        config.insert(published.into(), flag.into());
    }
    Ok(())
}

/// What an architecture's tables say.
fn own(architecture: &Architecture, keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<()> {
    for (published, stored) in architecture.sizes {
        config.extend(keys.size_if(stored)?.map(|size| ((*published).to_owned(), size.into())));
    }
    for (published, stored) in architecture.numbers {
        config.extend(keys.number_if(stored)?.map(|number| ((*published).to_owned(), number.into())));
    }
    config
        .extend(architecture.flags.iter().map(|(published, tensor)| ((*published).to_owned(), keys.tensors.has(tensor).into())));
    Ok(())
}

fn vocabulary(keys: &Keys<'_>) -> Result<u64> {
    if let Some(Stored::Array(Array::Strings(tokens))) = keys.metadata.get("tokenizer.ggml.tokens") {
        return Ok(tokens.len() as u64);
    }
    keys.size("vocab_size")
}

/// The window, and which layers have it.
fn windows(
    architecture: &Architecture,
    keys: &Keys<'_>,
    config: &mut Map<String, Value>,
    assumed: &mut Vec<String>,
) -> Result<()> {
    if architecture.windows == Windows::None {
        return Ok(());
    }
    match keys.size_if("attention.sliding_window")? {
        Some(0) => drop(config.remove("sliding_window")),
        Some(window) => drop(config.insert("sliding_window".into(), window.into())),
        None => (),
    }
    let there = config.contains_key("sliding_window");
    let layers = config.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or(0).min(MOST_LAYERS);
    let said = keys.layers_if("attention.sliding_window_pattern", layers)?;
    let (period, first) = match architecture.windows {
        Windows::None | Windows::All => return Ok(()),
        Windows::Period(period) => (period, false),
        Windows::PeriodAfter(period) => (period, true),
    };
    if there && said.is_none() {
        let one = if first { "first" } else { "last" };
        assumed.push(format!("of {period} layers all but the {one} have a window, which the file does not say"));
    }
    let sliding = match said {
        _ if !there => vec![false; layers as usize],
        Some(Layers::Each(sliding)) => sliding,
        said => {
            let period = if let Some(Layers::Period(period)) = said { period.max(1) } else { period };
            (0..layers).map(|layer| layer % period != if first { 0 } else { period - 1 }).collect()
        }
    };
    let kind = |sliding: bool| Value::from(if sliding { "sliding_attention" } else { "full_attention" });
    config.insert("layer_types".into(), sliding.into_iter().map(kind).collect());
    Ok(())
}

/// A number in a file alone must not exhaust memory.
const MOST_LAYERS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(architecture: &str, more: &[(&str, Stored)]) -> Metadata {
        let mut metadata = Metadata::from([("general.architecture".to_owned(), Stored::String(architecture.into()))]);
        let sizes = [
            ("embedding_length", 640),
            ("block_count", 18),
            ("attention.head_count", 4),
            ("feed_forward_length", 2048),
            ("context_length", 32_768),
            ("vocab_size", 1000),
        ];
        metadata.extend(sizes.map(|(name, size)| (format!("{architecture}.{name}"), Stored::Unsigned(size))));
        metadata.extend(more.iter().map(|(name, value)| (format!("{architecture}.{name}"), value.clone())));
        metadata
    }

    /// Tensors by name, each with its values.
    type Few<'a> = &'a [(&'a str, &'a [f32])];

    impl Tensors for Few<'_> {
        fn shape(&self, name: &str) -> Option<Vec<usize>> {
            Some(vec![self.values(name)?.len()])
        }

        fn values(&self, name: &str) -> Option<Vec<f32>> {
            Some(self.iter().find(|(known, _)| *known == name)?.1.to_vec())
        }
    }

    const NONE: Few<'static> = &[];

    fn why(metadata: &Metadata) -> String {
        configuration(metadata, &NONE).err().expect("it is refused").to_string()
    }

    /// The keys of the published file of Gemma 3 270M, which lacks the pattern of its windows and its second base.
    #[test]
    fn gemma_3_gets_what_its_file_lacks() {
        let eps = f64::from(1e-6_f32);
        let more = [
            ("attention.key_length", Stored::Unsigned(256)),
            ("attention.head_count_kv", Stored::Unsigned(1)),
            ("attention.layer_norm_rms_epsilon", Stored::Float(eps)),
            ("attention.sliding_window", Stored::Unsigned(512)),
            ("rope.freq_base", Stored::Float(1e6)),
        ];
        let mapped = configuration(&metadata("gemma3", &more), &NONE).unwrap();
        let want = json!({"model_type": "gemma3_text", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "sliding_window": 512, "query_pre_attn_scalar": 256, "head_dim": 256,
            "num_key_value_heads": 1, "tie_word_embeddings": true});
        for (key, value) in want.as_object().unwrap() {
            assert_eq!(mapped.config.get(key), Some(value), "{key}");
        }
        let published = mapped.published().unwrap();
        let kinds: Vec<&Value> =
            published.plan.layers.iter().flat_map(|layer| layer.mixers()).map(|mixer| &mixer["kind"]).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "swa").count(), 15);
        let tensor = |name: &str| published.names.source(name).tensor;
        assert_eq!(tensor("model.layers.3.post_attention_layernorm.weight"), "blk.3.ffn_norm.weight");
        assert_eq!(tensor("model.layers.3.post_self_attn_layernorm.weight"), "blk.3.post_attention_norm.weight");
        assert_eq!(tensor("model.layers.3.post_mlp_layernorm.weight"), "blk.3.post_ffw_norm.weight");
        assert_eq!(tensor("model.layers.17.self_attn.q_norm.weight"), "blk.17.attn_q_norm.weight");
    }

    #[test]
    fn llama_rotates_neighbours_and_has_experts_as_mixtral() {
        let head: Few<'_> = &[("output.weight", &[0.0])];
        let mapped = configuration(&metadata("llama", &[]), &head).unwrap();
        assert_eq!(mapped.config["tie_word_embeddings"], json!(false));
        let plan = mapped.published().unwrap().plan;
        let rotary = plan.layers[0].mixers().next().unwrap()["rotary"].clone();
        assert_eq!(rotary["pairs"], "adjacent");
        let experts = [("expert_count", Stored::Unsigned(8)), ("expert_used_count", Stored::Unsigned(2))];
        let mapped = configuration(&metadata("llama", &experts), &NONE).unwrap();
        assert_eq!(mapped.config["model_type"], "mixtral");
        let source = mapped.published().unwrap().names;
        assert_eq!(source.source("model.layers.2.mlp.experts.5.up_proj.weight").tensor, "blk.2.ffn_up_exps.weight");
        assert_eq!(source.source("model.layers.2.mlp.gate.weight").tensor, "blk.2.ffn_gate_inp.weight");
    }

    #[test]
    fn numbers_of_layers_are_one_number_or_refused() {
        let heads =
            |sizes: &[u64]| metadata("qwen3", &[("attention.head_count_kv", Stored::Array(Array::Unsigned(sizes.into())))]);
        let mapped = configuration(&heads(&[2; 18]), &NONE).unwrap();
        assert_eq!(mapped.config["num_key_value_heads"], json!(2));
        assert_eq!(why(&heads(&[2, 1])), "qwen3.attention.head_count_kv: wanted the same number for every layer, got several");
    }

    #[test]
    fn windows_are_as_the_file_says_or_as_usual() {
        let window = ("attention.sliding_window", Stored::Unsigned(512));
        let kinds = |more: &[(&str, Stored)]| {
            let metadata = metadata("cohere2", more);
            let mapped = configuration(&metadata, &NONE).unwrap();
            let kinds = mapped.config["layer_types"].as_array().unwrap().iter().map(|kind| *kind == "sliding_attention");
            (kinds.collect::<Vec<_>>(), mapped.assumed.len())
        };
        let usual: Vec<bool> = (0..18).map(|layer| layer % 4 != 3).collect();
        let halves: Vec<bool> = (0..18).map(|layer| layer < 9).collect();
        assert_eq!(kinds(std::slice::from_ref(&window)), (usual, 1));
        let said = |pattern| ("attention.sliding_window_pattern", pattern);
        assert_eq!(kinds(&[window.clone(), said(Stored::Array(Array::Bool(halves.clone())))]), (halves, 0));
        assert_eq!(kinds(&[window.clone(), said(Stored::Unsigned(2))]), ((0..18).map(|layer| layer % 2 == 0).collect(), 0));
        assert_eq!(kinds(&[]), (vec![false; 18], 0));
        let short = said(Stored::Array(Array::Bool(vec![true; 3])));
        assert_eq!(
            why(&metadata("cohere2", &[window, short])),
            "cohere2.attention.sliding_window_pattern: wanted a number, or true or false for each of 18 layers, got an array of 3"
        );
    }

    #[test]
    fn rotations_are_stretched_by_the_tensors_of_a_file() {
        let few: Few<'_> = &[("rope_freqs.weight", &[1.0, 8.0])];
        let mapped = configuration(&metadata("llama", &[]), &few).unwrap();
        let scaling = &mapped.config["rope_scaling"];
        assert_eq!((&scaling["rope_type"], &scaling["attention_factor"]), (&json!("longrope"), &json!(1.0)));
        assert_eq!((&scaling["short_factor"], &scaling["long_factor"]), (&json!([1.0, 8.0]), &json!([1.0, 8.0])));
    }

    #[test]
    fn what_a_key_asks_for_is_there_or_refused() {
        let clamped = [("attention.clamp_kqv", Stored::Float(8.0))];
        let wanted = "wanted none, which is all that llama can have here, got 8, a float";
        assert_eq!(why(&metadata("llama", &clamped)), format!("llama.attention.clamp_kqv: {wanted}"));
        let nothing = [("attention.clamp_kqv", Stored::Float(0.0)), ("residual_scale", Stored::Float(1.0))];
        assert!(configuration(&metadata("llama", &nothing), &NONE).is_ok());
        let both = [("attention.causal", Stored::Bool(false))];
        assert!(why(&metadata("llama", &both)).starts_with("llama.attention.causal: wanted none"));
        let values = [("attention.key_length", Stored::Unsigned(64)), ("attention.value_length", Stored::Unsigned(32))];
        assert_eq!(why(&metadata("llama", &values)), "llama.attention.value_length: wanted 64, as keys have, got 32");
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused_by_its_key() {
        assert!(why(&metadata("mamba", &[])).starts_with("general.architecture: wanted one of bert, bloom, "));
        let mut short = metadata("llama", &[]);
        short.remove("llama.block_count");
        assert_eq!(why(&short), "llama.block_count: wanted a whole number, got none");
        let text = metadata("llama", &[("rope.freq_base", Stored::String("x".into()))]);
        assert_eq!(why(&text), "llama.rope.freq_base: wanted a number, got \"x\"");
        for key in ["rope.freq_base", "attention.layer_norm_rms_epsilon"] {
            for number in [f64::NAN, f64::INFINITY] {
                let wild = metadata("llama", &[(key, Stored::Float(number))]);
                assert_eq!(why(&wild), format!("llama.{key}: wanted a finite number, got {number}"));
            }
        }
    }
}
