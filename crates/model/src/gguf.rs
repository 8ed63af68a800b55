//! What the metadata of a GGUF file says, in the keys of a published configuration, and the names that its tensors have.
//!
//! GGUF has names of its own for what config.json says. They are put back into those words, so that a family is read by one piece of
//! code whatever file it came in. What the writer of the file left out, because the engine it was written for has it in its code, is
//! filled in here and said.

use crate::family::{self, Published};
use crate::plan::{Part, Plan};
use crate::source::{Names, Step};
use attendant_formats::gguf::{Array, Value as Stored};
use attendant_formats::{Refusal, quoted};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The metadata of a file.
pub type Metadata = BTreeMap<String, Stored>;

type Result<T> = std::result::Result<T, Refusal>;

/// A file's model.
pub(crate) struct Mapped {
    /// The configuration that its metadata amounts to.
    pub(crate) config: Value,
    /// What the metadata does not say and was taken as usual.
    pub(crate) assumed: Vec<String>,
    pairs: Pairs,
}

/// How the rows of queries and keys lie in a file.
#[derive(Clone, Copy, PartialEq)]
enum Pairs {
    /// As published.
    Published,
    /// Moved, so that values that are rotated together are neighbours.
    Neighbours,
}

/// Adds keys to a configuration, and sentences about what was taken as usual.
type More = fn(&Keys<'_>, &mut Map<String, Value>, &mut Vec<String>) -> Result<()>;

/// An architecture of the format.
struct Architecture {
    name: &'static str,
    /// The family that it is.
    family: &'static str,
    pairs: Pairs,
    /// What it has beside the keys of all.
    more: More,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "gemma", family: "gemma", pairs: Pairs::Published, more: nothing },
    Architecture { name: "gemma2", family: "gemma2", pairs: Pairs::Published, more: gemma2 },
    Architecture { name: "gemma3", family: "gemma3_text", pairs: Pairs::Published, more: gemma3 },
    Architecture { name: "llama", family: "llama", pairs: Pairs::Neighbours, more: llama },
    Architecture { name: "qwen2", family: "qwen2", pairs: Pairs::Published, more: nothing },
    Architecture { name: "qwen3", family: "qwen3", pairs: Pairs::Published, more: nothing },
    Architecture { name: "qwen3moe", family: "qwen3_moe", pairs: Pairs::Published, more: qwen3moe },
];

/// The published configuration that metadata amounts to; `has` tells whether the file has a tensor.
///
/// # Errors
/// If the architecture is not known, or a key is missing or of another type.
pub(crate) fn configuration(metadata: &Metadata, has: impl Fn(&str) -> bool) -> Result<Mapped> {
    let name = match metadata.get("general.architecture") {
        Some(Stored::String(name)) => name.as_str(),
        _ => return Err(Refusal::new("general.architecture", "wanted a name, got none")),
    };
    let known = || ARCHITECTURES.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
    let refuse = || Refusal::new("general.architecture", format_args!("wanted one of {}, got {}", known(), quoted(name)));
    let architecture = ARCHITECTURES.iter().find(|known| known.name == name).ok_or_else(refuse)?;
    let keys = Keys { metadata, architecture: name };
    let (mut config, mut assumed) = (Map::new(), Vec::new());
    config.insert("model_type".into(), architecture.family.into());
    common(&keys, &mut config)?;
    config.insert("tie_word_embeddings".into(), (!has("output.weight")).into());
    if has("rope_freqs.weight") {
        assumed.push("rope_freqs.weight stretches the rotation; its factors are not in the metadata".into());
    }
    (architecture.more)(&keys, &mut config, &mut assumed)?;
    Ok(Mapped { config: Value::Object(config), assumed, pairs: architecture.pairs })
}

impl Mapped {
    /// Its plan, and the names of the file's tensors.
    ///
    /// # Errors
    /// As [`family::read`].
    pub(crate) fn published(&self) -> attendant_core::Result<Published> {
        let mut plan = family::read(&self.config)?.plan;
        if self.pairs == Pairs::Neighbours {
            rotate_neighbours(&mut plan);
        }
        Ok(Published { plan, names: names() })
    }

    /// Its plan as published, with the file's queries and keys moved back to where they are there.
    ///
    /// # Errors
    /// As [`family::read`].
    pub(crate) fn unpaired(&self) -> attendant_core::Result<Published> {
        let plan = family::read(&self.config)?.plan;
        let mut names = names();
        let d_head = plan.layers.first().and_then(|layer| layer.mixers().next()?["d_head"].as_u64());
        if let (Pairs::Neighbours, Some(d_head)) = (self.pairs, d_head) {
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

/// The names of a file's tensors. Norms are stored as they are used, with the one that Gemma's weights lack.
fn names() -> Names {
    Names::default()
        .rename("model.embed_tokens", "token_embd")
        .rename("model.norm", "output_norm")
        .rename("lm_head", "output")
        .rename("model.layers", "blk")
        .rename("post_self_attn_layernorm", "post_attention_norm")
        .rename("post_mlp_layernorm", "post_ffw_norm")
        .rename("input_layernorm", "attn_norm")
        .rename("post_attention_layernorm", "ffn_norm")
        .rename("self_attn.q_proj", "attn_q")
        .rename("self_attn.k_proj", "attn_k")
        .rename("self_attn.v_proj", "attn_v")
        .rename("self_attn.o_proj", "attn_output")
        .rename("self_attn.q_norm", "attn_q_norm")
        .rename("self_attn.k_norm", "attn_k_norm")
        .take("mlp.experts.#.gate_proj", "ffn_gate_exps", [Step::Expert])
        .take("mlp.experts.#.up_proj", "ffn_up_exps", [Step::Expert])
        .take("mlp.experts.#.down_proj", "ffn_down_exps", [Step::Expert])
        .rename("mlp.gate", "ffn_gate_inp")
        .rename("mlp.gate_proj", "ffn_gate")
        .rename("mlp.up_proj", "ffn_up")
        .rename("mlp.down_proj", "ffn_down")
        .ignore("rope_freqs")
}

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn get(&self, name: &str) -> (String, Option<&Stored>) {
        let key = format!("{}.{name}", self.architecture);
        let value = self.metadata.get(&key);
        (key, value)
    }

    fn size_if(&self, name: &str) -> Result<Option<u64>> {
        match self.get(name) {
            (_, None) => Ok(None),
            (_, Some(Stored::Unsigned(size))) => Ok(Some(*size)),
            (_, Some(Stored::Signed(size))) if *size >= 0 => Ok(Some(size.unsigned_abs())),
            // Some writers list a number for every layer; where all are equal it is one number.
            (key, Some(Stored::Array(Array::Unsigned(sizes)))) => one(&key, sizes),
            (key, Some(Stored::Array(Array::Signed(sizes)))) => {
                one(&key, sizes).map(|size| size.and_then(|size| size.try_into().ok()))
            }
            (key, Some(other)) => Err(Refusal::new(key, format_args!("wanted a whole number, got {}", other.summary()))),
        }
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.size_if(name)?.ok_or_else(|| Refusal::new(self.get(name).0, "wanted a whole number, got none"))
    }

    fn number_if(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            (_, None) => Ok(None),
            (_, Some(Stored::Float(number))) => Ok(Some(shortest(*number))),
            (key, Some(other)) => Err(Refusal::new(key, format_args!("wanted a number, got {}", other.summary()))),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.get(name).1 {
            Some(Stored::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// The number that all layers share.
fn one<N: Copy + PartialEq>(key: &str, sizes: &[N]) -> Result<Option<N>> {
    let first = sizes.first().copied();
    let equal = sizes.iter().all(|size| Some(*size) == first);
    if equal { Ok(first) } else { Err(Refusal::new(key, "wanted the same number for every layer, got several")) }
}

/// The number that was meant by one that went through f32: 1e-6 and not 9.999999974752427e-7.
fn shortest(number: f64) -> f64 {
    let narrow = number as f32;
    if f64::from(narrow) == number { narrow.to_string().parse().unwrap_or(number) } else { number }
}

fn common(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<()> {
    for (published, stored) in [
        ("hidden_size", "embedding_length"),
        ("num_hidden_layers", "block_count"),
        ("num_attention_heads", "attention.head_count"),
        ("intermediate_size", "feed_forward_length"),
        ("max_position_embeddings", "context_length"),
    ] {
        config.insert(published.into(), keys.size(stored)?.into());
    }
    config.insert("vocab_size".into(), vocabulary(keys)?.into());
    for (published, stored) in [("num_key_value_heads", "attention.head_count_kv"), ("head_dim", "attention.key_length")] {
        config.extend(keys.size_if(stored)?.map(|size| (published.to_owned(), size.into())));
    }
    let eps = keys.number_if("attention.layer_norm_rms_epsilon")?;
    config.extend(eps.map(|eps| ("rms_norm_eps".to_owned(), eps.into())));
    let base = keys.number_if("rope.freq_base")?;
    config.extend(base.map(|base| ("rope_theta".to_owned(), base.into())));
    config.extend(scaling(keys)?.map(|scaling| ("rope_scaling".to_owned(), scaling)));
    config.extend(share(keys, config)?.map(|share| ("partial_rotary_factor".to_owned(), share.into())));
    Ok(())
}

fn vocabulary(keys: &Keys<'_>) -> Result<u64> {
    if let Some(Stored::Array(Array::Strings(tokens))) = keys.metadata.get("tokenizer.ggml.tokens") {
        return Ok(tokens.len() as u64);
    }
    keys.size("vocab_size")
}

/// The share of a head that is rotated, where it is not all.
fn share(keys: &Keys<'_>, config: &Map<String, Value>) -> Result<Option<f64>> {
    let size = |name: &str| config.get(name).and_then(Value::as_u64);
    let even = size("hidden_size").zip(size("num_attention_heads")).and_then(|(width, heads)| width.checked_div(heads));
    let (rotated, head) = (keys.size_if("rope.dimension_count")?, size("head_dim").or(even));
    Ok(rotated.zip(head).filter(|(rotated, head)| rotated != head).map(|(rotated, head)| rotated as f64 / head as f64))
}

fn scaling(keys: &Keys<'_>) -> Result<Option<Value>> {
    let Some(kind) = keys.text("rope.scaling.type").filter(|kind| *kind != "none") else { return Ok(None) };
    let mut scaling = Map::from_iter([("rope_type".to_owned(), Value::from(kind))]);
    scaling.extend(keys.number_if("rope.scaling.factor")?.map(|factor| ("factor".to_owned(), factor.into())));
    let original = keys.size_if("rope.scaling.original_context_length")?;
    scaling.extend(original.map(|original| ("original_max_position_embeddings".to_owned(), original.into())));
    Ok(Some(Value::Object(scaling)))
}

fn nothing(_: &Keys<'_>, _: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    Ok(())
}

/// Mixtral has Llama's name here.
fn llama(keys: &Keys<'_>, config: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<()> {
    if let Some(count) = keys.size_if("expert_count")?.filter(|count| *count > 0) {
        config.insert("model_type".into(), "mixtral".into());
        config.insert("num_local_experts".into(), count.into());
        config.insert("num_experts_per_tok".into(), keys.size("expert_used_count")?.into());
    }
    Ok(())
}

fn qwen3moe(keys: &Keys<'_>, config: &mut Map<String, Value>, assumed: &mut Vec<String>) -> Result<()> {
    config.insert("num_experts".into(), keys.size("expert_count")?.into());
    config.insert("num_experts_per_tok".into(), keys.size("expert_used_count")?.into());
    config.insert("moe_intermediate_size".into(), keys.size("expert_feed_forward_length")?.into());
    config.insert("norm_topk_prob".into(), true.into());
    assumed.push("weights of chosen experts are divided by their sum, which the file does not say".into());
    Ok(())
}

fn gemma2(keys: &Keys<'_>, config: &mut Map<String, Value>, assumed: &mut Vec<String>) -> Result<()> {
    config.insert("sliding_window".into(), keys.size_if("attention.sliding_window")?.unwrap_or(4096).into());
    for (published, stored) in
        [("attn_logit_softcapping", "attn_logit_softcapping"), ("final_logit_softcapping", "final_logit_softcapping")]
    {
        config.extend(keys.number_if(stored)?.map(|cap| (published.to_owned(), cap.into())));
    }
    scale(config);
    assumed.push("every other layer has a window, which the file does not say".into());
    Ok(())
}

/// Layers of the published model with 27 billion parameters, whose queries are scaled by another width than a head's.
const LARGEST_GEMMA3: u64 = 62;

fn gemma3(keys: &Keys<'_>, config: &mut Map<String, Value>, assumed: &mut Vec<String>) -> Result<()> {
    config.insert("sliding_window".into(), keys.size("attention.sliding_window")?.into());
    config.insert("sliding_window_pattern".into(), json!(6));
    config.insert("rope_local_base_freq".into(), json!(10_000.0));
    scale(config);
    assumed.push("five of six layers have a window and rotate with base 10,000, which the file does not say".into());
    Ok(())
}

/// What queries are divided by the root of: a head's width, but for the largest model.
fn scale(config: &mut Map<String, Value>) {
    let size = |name: &str| config.get(name).and_then(Value::as_u64).unwrap_or(1).max(1);
    let scalar = match size("num_hidden_layers") {
        LARGEST_GEMMA3 => size("hidden_size") / size("num_attention_heads"),
        _ => size("head_dim"),
    };
    config.insert("query_pre_attn_scalar".into(), scalar.into());
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn why(metadata: &Metadata) -> String {
        configuration(metadata, |_| false).err().expect("it is refused").to_string()
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
        let mapped = configuration(&metadata("gemma3", &more), |_| false).unwrap();
        let want = json!({"model_type": "gemma3_text", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256, "head_dim": 256,
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
        let mapped = configuration(&metadata("llama", &[]), |name| name == "output.weight").unwrap();
        assert_eq!(mapped.config["tie_word_embeddings"], json!(false));
        let plan = mapped.published().unwrap().plan;
        let rotary = plan.layers[0].mixers().next().unwrap()["rotary"].clone();
        assert_eq!(rotary["pairs"], "adjacent");
        let experts = [("expert_count", Stored::Unsigned(8)), ("expert_used_count", Stored::Unsigned(2))];
        let mapped = configuration(&metadata("llama", &experts), |_| false).unwrap();
        assert_eq!(mapped.config["model_type"], "mixtral");
        let source = mapped.published().unwrap().names;
        assert_eq!(source.source("model.layers.2.mlp.experts.5.up_proj.weight").tensor, "blk.2.ffn_up_exps.weight");
        assert_eq!(source.source("model.layers.2.mlp.gate.weight").tensor, "blk.2.ffn_gate_inp.weight");
    }

    #[test]
    fn numbers_of_layers_are_one_number_or_refused() {
        let heads =
            |sizes: &[u64]| metadata("qwen3", &[("attention.head_count_kv", Stored::Array(Array::Unsigned(sizes.into())))]);
        let mapped = configuration(&heads(&[2; 18]), |_| false).unwrap();
        assert_eq!(mapped.config["num_key_value_heads"], json!(2));
        assert_eq!(why(&heads(&[2, 1])), "qwen3.attention.head_count_kv: wanted the same number for every layer, got several");
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused_by_its_key() {
        assert!(why(&metadata("mamba", &[])).starts_with("general.architecture: wanted one of gemma, "));
        let mut short = metadata("llama", &[]);
        short.remove("llama.block_count");
        assert_eq!(why(&short), "llama.block_count: wanted a whole number, got none");
        let text = metadata("llama", &[("rope.freq_base", Stored::String("x".into()))]);
        assert_eq!(why(&text), "llama.rope.freq_base: wanted a number, got \"x\"");
    }
}
