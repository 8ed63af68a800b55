//! Plans as published configurations, and back.
//!
//! A family knows one `model_type`: which plan a configuration of it describes, and under which names its checkpoints have the
//! parameters. What is written here goes out as `model_type` "llama", "deepseek_v3" where it is one, else "attendant"; the plan
//! itself goes along under the key `attendant`, so that what was written is read back exactly.

mod bart;
mod bert;
mod bloom;
mod cohere;
mod deepseek;
mod diffllama;
mod exaone;
mod falcon;
mod gemma;
mod glm4;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod keys;
mod llama;
mod llama4;
mod longcat;
mod minicpm3;
mod minimax_m2;
mod mistral;
mod modernbert;
mod mpt;
mod nanochat;
mod olmo;
mod opt;
mod phi;
mod qwen2;
mod rotation;
mod sizes;
mod smollm3;
mod stablelm;
mod starcoder2;
mod t5;

use crate::plan::{Dense, Embedding, FeedForward, Head, Layer, Norm, Part, Plan};
use crate::source::{Names, rows};
use attendant_core::{Error, Result};
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::mechanisms::swa::Swa;
use keys::Keys;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What a published configuration describes.
pub(crate) struct Published {
    pub(crate) plan: Plan,
    /// Where the parameters come from.
    pub(crate) names: Names,
}

impl Published {
    /// A plan whose parameters have the names that they have here.
    fn plain(plan: Plan) -> Published {
        Published { plan, names: Names::default() }
    }
}

type Read = fn(&Keys<'_>) -> Result<Published>;

/// Families by `model_type`.
const FAMILIES: &[(&str, Read)] = &[
    ("bart", bart::read),
    ("bert", bert::read),
    ("bloom", bloom::read),
    ("cohere", cohere::read),
    ("cohere2", cohere::read_cohere2),
    ("deepseek_v2", deepseek::read_v2),
    ("deepseek_v3", deepseek::read_v3),
    ("deepseek_v32", deepseek::read_v32),
    ("diffllama", diffllama::read),
    ("exaone", exaone::read),
    ("exaone4", exaone::read_exaone4),
    ("falcon", falcon::read),
    ("gemma", gemma::read),
    ("gemma2", gemma::read_gemma2),
    ("gemma3_text", gemma::read_gemma3),
    ("glm4", glm4::read),
    ("glm4_moe_lite", deepseek::read_v3),
    ("gpt2", gpt2::read),
    ("gpt_bigcode", gpt2::read_bigcode),
    ("gpt_neo", gpt_neo::read),
    ("gpt_neox", gpt_neox::read),
    ("gpt_oss", gpt_oss::read),
    ("gptj", gptj::read),
    ("granite", granite::read),
    ("granitemoe", granite::read_moe),
    ("kimi_k2", deepseek::read_v3),
    ("llama", llama::read),
    ("llama4_text", llama4::read),
    ("longcat_flash", longcat::read),
    ("minicpm3", minicpm3::read),
    ("minimax_m2", minimax_m2::read),
    ("marian", bart::read_marian),
    ("mistral", mistral::read),
    ("mistral4", deepseek::read_mistral4),
    ("mixtral", mistral::read_mixtral),
    ("modernbert", modernbert::read),
    ("mpt", mpt::read),
    ("nanochat", nanochat::read),
    ("olmo", olmo::read),
    ("olmo2", olmo::read_olmo2),
    ("olmo3", olmo::read_olmo3),
    ("opt", opt::read),
    ("phi", phi::read),
    ("phi3", phi::read_phi3),
    ("qwen2", qwen2::read),
    ("qwen2_5_vl_text", qwen2::read),
    ("qwen2_moe", qwen2::read_moe),
    ("qwen2_vl_text", qwen2::read),
    ("qwen3", qwen2::read_qwen3),
    ("qwen3_moe", qwen2::read_qwen3),
    ("qwen3_vl_text", qwen2::read_qwen3),
    ("roberta", bert::read_roberta),
    ("smollm3", smollm3::read),
    ("stablelm", stablelm::read),
    ("starcoder2", starcoder2::read),
    ("t5", t5::read),
];

/// Classes of encoders that are published without the head that predicts masked tokens.
const HEADLESS: &[&str] = &["BertModel", "ModernBertModel", "RobertaModel"];

/// Families that are known and not read, and why.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("bamba", "its layers of Mamba-2 are recurrent"),
    ("deepseek_v4", "its cache of compressed blocks and its hyper-connections are not there"),
    ("falcon_h1", "its layers of Mamba-2 are recurrent"),
    ("falcon_mamba", "it is recurrent"),
    ("hrm_text", "it runs its layers in cycles"),
    ("jamba", "its layers of Mamba are recurrent"),
    ("kimi_linear", "its layers of the delta rule are recurrent"),
    ("led", "its encoder has global tokens"),
    ("lfm2", "its short convolutions are not there"),
    ("longformer", "it has global tokens"),
    ("mamba", "it is recurrent"),
    ("mamba2", "it is recurrent"),
    ("minimax", "its layers of linear attention are recurrent"),
    ("olmo_hybrid", "its layers of the delta rule are recurrent"),
    ("qwen3_next", "its layers of the delta rule are recurrent"),
    ("recurrent_gemma", "it is recurrent"),
    ("rwkv", "it is recurrent"),
];

/// What a configuration describes.
///
/// # Errors
/// If the model type is not known or not supported, a key is missing, or it asks for something that is not there.
pub(crate) fn read(config: &Value) -> Result<Published> {
    if let Some(plan) = config.get("attendant") {
        let plan = serde_json::from_value(plan.clone()).map_err(|why| Error::config("attendant", why.to_string()))?;
        return Ok(Published::plain(plan));
    }
    let keys = Keys::new(config);
    let name = keys.text("model_type", "")?;
    if let Some((_, why)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name) {
        return Err(Error::config("model_type", format!("{name} is unsupported: {why}")));
    }
    match FAMILIES.iter().find(|(known, _)| *known == name) {
        // Early files carry the frequencies of the rotation, which follow from the configuration, and a table that is tied to another.
        Some((_, read)) => {
            let published = read(&keys)?.ignoring_what_follows();
            let classes = keys.list("architectures", "names of classes", Value::as_str)?.unwrap_or_default();
            Ok(if classes.iter().any(|class| HEADLESS.contains(class)) { published.headless() } else { published })
        }
        None => {
            let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
            let wanted = format!("wanted the key attendant with a plan, or one of {}", known.join(", "));
            Err(Error::config("model_type", format!("got {name:?}, {wanted}")))
        }
    }
}

/// Whether a configuration is of a family that is known, supported or not.
pub(crate) fn known(config: &Value) -> bool {
    let name = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let supported = FAMILIES.iter().any(|(known, _)| *known == name);
    config.get("attendant").is_some() || supported || UNSUPPORTED.iter().any(|(known, _)| *known == name)
}

impl Published {
    fn ignoring_what_follows(self) -> Published {
        let names = self.names.ignore("rotary_emb.inv_freq");
        let names = if self.plan.head.tied { names.repeat("lm_head.weight") } else { names };
        Published { names, ..self }
    }

    /// The same without what makes logits of rows.
    fn headless(mut self) -> Published {
        self.plan.head = Head { absent: true, tied: true, transform: None, bias: false, ..self.plan.head };
        Published { names: self.names.ignore("cls").ignore("lm_head"), ..self }
    }
}

/// config.json of a plan.
pub(crate) fn configuration(plan: &Plan) -> serde_json::Result<Value> {
    let described = llama::describe(plan).or_else(|| deepseek::describe(plan));
    let mut config = described.unwrap_or_else(|| json!({"model_type": "attendant"}));
    // Through text, in which f32 has its own shortest form: 1e-5 and not 9.999999747378752e-6.
    config["attendant"] = serde_json::from_str(&serde_json::to_string(plan)?)?;
    Ok(config)
}

/// What a configuration is to say, beside the sizes of its plan.
struct Described {
    family: &'static str,
    class: &'static str,
    heads: usize,
    d_ff: usize,
    base: f64,
}

/// The keys that Llama and DeepSeek have in common, if a plan is nothing that these keys do not say.
fn standard(plan: &Plan, described: &Described) -> Option<Value> {
    let Norm::Rms { eps, weight: true } = plan.norm else { return None };
    let tied = plan.head.tied;
    let bare = plan.embedding == Embedding::default() && plan.head == (Head { tied, ..Head::default() });
    (bare && plan.encoder.is_none()).then(|| {
        json!({
            "architectures": [described.class],
            "model_type": described.family,
            "vocab_size": plan.vocab_size,
            "hidden_size": plan.d_model,
            "intermediate_size": described.d_ff,
            "num_hidden_layers": plan.layers.len(),
            "num_attention_heads": described.heads,
            "max_position_embeddings": plan.context,
            "rms_norm_eps": shortest(eps),
            "tie_word_embeddings": tied,
            "attention_bias": false,
            "hidden_act": "silu",
            "rope_parameters": {"rope_theta": described.base, "rope_type": "default"},
            "rope_theta": described.base,
            "dtype": "float32",
            // A plan names no tokens; without these keys transformers would take 1 and 2 for begin and end.
            "bos_token_id": null,
            "eos_token_id": null,
        })
    })
}

/// The f64 that is written like this f32.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| x.into())
}

/// The mechanism and the feed-forward width of all layers, if they are alike: a mechanism of this kind, then SwiGLU.
fn every_layer<M: DeserializeOwned>(plan: &Plan, kind: &str) -> Option<(M, usize)> {
    let first = plan.layers.first()?;
    let (mixer, Part::FeedForward(FeedForward::Dense(dense))) = (first.mixers().next()?, &first.steps.last()?.part) else {
        return None;
    };
    let usual = Layer::pre(mixer.clone(), Dense::swiglu(dense.d_ff).into());
    let alike = plan.layers.iter().all(|layer| *layer == usual);
    let mut fields = mixer.as_object()?.clone();
    let named = fields.remove("kind")? == kind;
    let mechanism = serde_json::from_value(Value::Object(fields)).ok()?;
    (alike && named).then_some((mechanism, dense.d_ff))
}

/// The tagged value of a mechanism.
fn tagged(kind: &str, mechanism: &impl Serialize) -> Result<Value> {
    let mut layer = json!({"kind": kind});
    let fields = serde_json::to_value(mechanism).map_err(|why| Error::config(kind, why.to_string()))?;
    if let (Value::Object(layer), Value::Object(fields)) = (&mut layer, fields) {
        layer.extend(fields);
    }
    Ok(layer)
}

/// Attention over everything before, or over a window of it.
fn mixer(gqa: &Gqa, window: Option<usize>) -> Result<Value> {
    match window {
        Some(window) => tagged("swa", &Swa { window, keep: 0, heads: gqa.clone() }),
        None => tagged("gqa", gqa),
    }
}

/// Gates and ups in one matrix, gates first.
fn fused_gate(names: Names, d_ff: usize) -> Names {
    names.take("mlp.gate_proj", "mlp.gate_up_proj", [rows(0, d_ff)]).take("mlp.up_proj", "mlp.gate_up_proj", [rows(d_ff, d_ff)])
}
