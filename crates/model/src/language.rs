//! What a model's files say about text: its tokens, how a conversation is written, and what ends an answer.

use crate::checkpoint::{CheckpointError, content};
use attendant_formats::gguf::{Array, Value as Stored};
use attendant_formats::template::{self, special_token};
use attendant_formats::tokenizer::GgufVocabulary;
use attendant_formats::{Access, Chat, ChatTemplate, Config, GenerationConfig, Metadata, Tokenizer, Weights, mapping};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

/// A file of models that read images as well.
const PROCESSOR_TEMPLATE: &str = "chat_template.json";

/// Spellings of tokens that end a turn, in files that do not say which token does.
const ENDS: [&str; 6] = ["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>", "<|endoftext|>", "</s>"];

/// The tokens, the template and the ends of a model.
#[derive(Debug)]
pub struct Language {
    /// Texts into tokens and back.
    pub tokenizer: Tokenizer,
    /// How a conversation is written; none if the files do not say.
    pub template: Option<ChatTemplate>,
    /// Tokens after which nothing follows.
    pub ends: BTreeSet<u32>,
    /// Special tokens that a template may name: `bos_token`, `eos_token`.
    special: Vec<(&'static str, String)>,
}

impl Language {
    /// Reads tokenizer.json and what stands beside it in a folder or beside weights, or the metadata of a GGUF file.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or says what cannot be done.
    pub fn open(path: &Path) -> Result<Language> {
        if path.is_dir() {
            return Language::of_folder(path);
        }
        let weights = Weights::open(path, Access::Mapped)?;
        match weights.metadata() {
            Metadata::Gguf(metadata) => Language::of_gguf(path, metadata),
            Metadata::SafeTensors(_) if path.with_file_name("tokenizer.json").exists() => {
                Language::of_folder(path.parent().unwrap_or(Path::new("")))
            }
            Metadata::SafeTensors(_) => Err(content(path, "got weights and no tokenizer.json beside them, wanted one")),
        }
    }

    fn of_folder(folder: &Path) -> Result<Language> {
        let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
        let optional = |name: &str| -> Result<Option<Value>> {
            let path = folder.join(name);
            if path.exists() { Ok(Some(Config::open(&path)?.into_value())) } else { Ok(None) }
        };
        let config = optional("tokenizer_config.json")?.unwrap_or_default();
        let separate = folder.join("chat_template.jinja");
        let template = if separate.exists() {
            let text = String::from_utf8(mapping::read(&separate, template::LONGEST)?).map_err(|why| content(&separate, why))?;
            Some(ChatTemplate::new(&text).map_err(|why| content(&separate, why))?)
        } else {
            let of = |config: &Value, name| ChatTemplate::from_config(config).map_err(|why| content(&folder.join(name), why));
            match of(&config, "tokenizer_config.json")? {
                // Of models that read images as well it may stand where their processors look for it.
                None => optional(PROCESSOR_TEMPLATE)?.map_or(Ok(None), |config| of(&config, PROCESSOR_TEMPLATE))?,
                template => template,
            }
        };
        let named = |name: &'static str| special_token(&config, name).map(|token| (name, token.to_owned()));
        let special: Vec<_> = [named("bos_token"), named("eos_token")].into_iter().flatten().collect();
        let generation = folder.join("generation_config.json");
        let mut ends: BTreeSet<u32> = match generation.exists() {
            true => GenerationConfig::open(&generation)?.eos_token_ids.into_iter().collect(),
            false => BTreeSet::new(),
        };
        if ends.is_empty() {
            let config = optional("config.json")?.unwrap_or_default();
            let eos =
                if config["eos_token_id"].is_null() { &config["text_config"]["eos_token_id"] } else { &config["eos_token_id"] };
            let listed = eos.as_array().into_iter().flatten().chain([eos]).filter_map(Value::as_u64);
            ends.extend(listed.filter_map(|id| u32::try_from(id).ok()));
        }
        let spelled = special.iter().filter(|(name, _)| *name == "eos_token").filter_map(|(_, token)| tokenizer.id(token));
        ends.extend(spelled);
        Ok(Language { tokenizer, template, ends, special })
    }

    fn of_gguf(path: &Path, metadata: &BTreeMap<String, Stored>) -> Result<Language> {
        let refuse = |why: &dyn std::fmt::Display| content(path, why);
        let vocabulary = vocabulary(metadata);
        let (bos, eos, eot) = (vocabulary.bos, vocabulary.eos, vocabulary.eot);
        let template = match metadata.get("tokenizer.chat_template") {
            Some(Stored::String(source)) => Some(ChatTemplate::new(source).map_err(|why| refuse(&why))?),
            _ => None,
        };
        let tokenizer = Tokenizer::from_gguf(vocabulary).map_err(|why| refuse(&why))?;
        let mut ends: BTreeSet<u32> = [eos, eot].into_iter().flatten().collect();
        // The writers of older files named one end; what ends a turn is then only known by its spelling.
        ends.extend(ENDS.iter().filter_map(|token| tokenizer.id(token)).filter(|&id| tokenizer.is_special(id)));
        let named = |name, id: Option<u32>| id.and_then(|id| tokenizer.token(id)).map(|token| (name, token));
        let special = [named("bos_token", bos), named("eos_token", eos)].into_iter().flatten().collect();
        Ok(Language { tokenizer, template, ends, special })
    }

    /// The files that say the same beside the weights of a published folder, of one that was read from the metadata of a GGUF file.
    ///
    /// # Errors
    /// If the tokenizer cannot be written.
    pub(crate) fn files(&self, metadata: &BTreeMap<String, Stored>) -> Result<Vec<(String, Vec<u8>)>> {
        let name = "tokenizer.json";
        let tokenizer = self.tokenizer.to_json().map_err(|why| content(Path::new(name), why))?;
        let mut special = Map::from_iter([("tokenizer_class".to_owned(), Value::from("PreTrainedTokenizerFast"))]);
        special.extend(self.special.iter().map(|(name, token)| ((*name).to_owned(), token.clone().into())));
        let generation = json!({ "eos_token_id": self.ends });
        let mut files = vec![
            (name.to_owned(), tokenizer.into_bytes()),
            ("tokenizer_config.json".into(), format!("{:#}", Value::Object(special)).into_bytes()),
            ("generation_config.json".into(), format!("{generation:#}").into_bytes()),
        ];
        if let Some(Stored::String(template)) = metadata.get("tokenizer.chat_template") {
            files.push(("chat_template.jinja".into(), template.clone().into_bytes()));
        }
        Ok(files)
    }

    /// The tokens of a text that is to be continued, with what the model wants before it.
    ///
    /// # Errors
    /// If the text is too long, or the tokenizer refuses it.
    pub fn encode(&self, text: &str) -> attendant_core::Result<Vec<u32>> {
        self.tokenizer.encode(text, true).map_err(|why| attendant_core::Error::config("prompt", why.to_string()))
    }

    /// The tokens of a conversation, up to where the model's answer begins; of roles and what they said.
    ///
    /// # Errors
    /// If there is no template, or it refuses the conversation.
    pub fn conversation(&self, messages: &[(String, String)]) -> attendant_core::Result<Vec<u32>> {
        let refuse = |why: String| attendant_core::Error::config("chat template", why);
        let template =
            self.template.as_ref().ok_or_else(|| refuse("got none, wanted a model that was made for conversations".into()))?;
        let chat = Chat::of(messages.iter().map(|(role, said)| (role.as_str(), said.as_str())));
        let chat = self.special.iter().fold(chat, |chat, (name, token)| chat.with(name, token));
        let text = template.render(&chat).map_err(|why| refuse(why.to_string()))?;
        // The template writes the tokens that stand before a text itself.
        self.tokenizer.encode(&text, false).map_err(|why| refuse(why.to_string()))
    }
}

/// The fields of a vocabulary. One of another type counts as left out: what is needed, the tokenizer asks for.
fn vocabulary(metadata: &BTreeMap<String, Stored>) -> GgufVocabulary {
    let field = |name: &str| metadata.get(&format!("tokenizer.ggml.{name}"));
    let text = |name: &str| match field(name) {
        Some(Stored::String(text)) => Some(text.clone()),
        _ => None,
    };
    let id = |name: &str| match field(name) {
        Some(Stored::Unsigned(id)) => u32::try_from(*id).ok(),
        Some(Stored::Signed(id)) => u32::try_from(*id).ok(),
        _ => None,
    };
    let flag = |name: &str| match field(name) {
        Some(Stored::Bool(flag)) => Some(*flag),
        _ => None,
    };
    let texts = |name: &str| match field(name) {
        Some(Stored::Array(Array::Strings(texts))) => texts.iter().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let numbers = |name: &str| -> Vec<i64> {
        match field(name) {
            Some(Stored::Array(Array::Signed(numbers))) => numbers.clone(),
            Some(Stored::Array(Array::Unsigned(numbers))) => numbers.iter().filter_map(|&n| n.try_into().ok()).collect(),
            _ => Vec::new(),
        }
    };
    let scores = match field("scores") {
        Some(Stored::Array(Array::Float(scores))) => scores.iter().map(|&score| score as f32).collect(),
        _ => Vec::new(),
    };
    GgufVocabulary {
        model: text("model").unwrap_or_default(),
        pre: text("pre"),
        tokens: texts("tokens"),
        scores,
        token_type: numbers("token_type").into_iter().filter_map(|kind| kind.try_into().ok()).collect(),
        merges: texts("merges"),
        precompiled_charsmap: numbers("precompiled_charsmap").into_iter().map(|byte| byte as u8).collect(),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        eot: id("eot_token_id"),
        unknown: id("unknown_token_id"),
        padding: id("padding_token_id"),
        cls: id("cls_token_id"),
        separator: id("seperator_token_id"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
        remove_extra_whitespaces: flag("remove_extra_whitespaces"),
    }
}
