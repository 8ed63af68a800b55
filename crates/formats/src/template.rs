//! Chat templates: how a conversation becomes the text that a model was trained to answer.
//!
//! A template is a program in a file from anywhere. It runs without loops that do not end, without more than a stated amount of memory
//! and output, and sees nothing but the conversation. Otherwise it finds what transformers would give it: the same white space
//! rules, the methods of Python's texts and dictionaries that published templates use, `raise_exception`, `tojson` as Python
//! writes it.

mod concat;
mod date;
mod filter;
mod json;

pub use date::Date;

use crate::error::{Refusal, Result, quoted};
use crate::guard::guarded;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Templated};
use minijinja::{Environment, ErrorKind, State};
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::thread;

/// The longest template, in bytes; the longest published ones have about 30 thousand.
const LONGEST: usize = 256 << 10;
/// How often a template may say `~`; the engine takes time with the square of how long a chain of them is.
const MOST_JOINS: usize = 2000;
/// What a template may do: an instruction, or 64 bytes made, cost one.
const FUEL: u64 = 400_000;
/// The longest text that a template may give, and the most that a value in it may be written out to, in bytes.
const LONGEST_OUTPUT: usize = 4 << 20;
/// How deep values, macros and loops may nest.
const DEPTH: usize = 100;
/// The stack to run on. With all its fuel a template can put lists into each other about 80 thousand deep, and dropping them takes
/// some hundred bytes of stack for each.
const STACK: usize = 128 << 20;

/// A template, ready to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
}

/// What a template is filled with.
#[derive(Debug, Clone, Default)]
pub struct Chat {
    /// The messages: objects with a `role` and a `content`, and whatever else the template knows of.
    pub messages: Vec<Value>,
    /// The tools that the model may call, as the template wants them.
    pub tools: Option<Value>,
    /// Whether the text ends where the model's answer begins.
    pub add_generation_prompt: bool,
    /// The day, for templates that name it; those of published models name a day of their own where there is none.
    pub today: Option<Date>,
    /// Further variables, and the special tokens that the template names: `bos_token`, `eos_token` and others.
    pub variables: Map<String, Value>,
}

impl Chat {
    /// A conversation of roles and what they said, with the beginning of an answer wanted.
    pub fn of<'a>(messages: impl IntoIterator<Item = (&'a str, &'a str)>) -> Chat {
        let message = |(role, content)| serde_json::json!({ "role": role, "content": content });
        Chat { messages: messages.into_iter().map(message).collect(), add_generation_prompt: true, ..Chat::default() }
    }

    /// With a special token.
    pub fn with(mut self, name: &str, value: &str) -> Chat {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl ChatTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// If it is too long or no template.
    pub fn new(source: &str) -> Result<ChatTemplate> {
        if source.len() > LONGEST {
            return Err(refusal(format_args!("has {} bytes, wanted at most {LONGEST}", source.len())));
        }
        if source.matches('~').count() > MOST_JOINS {
            return Err(refusal(format_args!("joins texts more than {MOST_JOINS} times")));
        }
        let template = ChatTemplate { source: concat::bounded(source) };
        template
            .on_its_stack(|environment, source| environment.template_from_str(source).map(drop).map_err(|why| refused(&why)))?;
        Ok(template)
    }

    /// The template of a tokenizer_config.json, or of a chat_template.json: a text, or a list of named ones of which the
    /// `default` is taken. None if there is none.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if it is of another kind.
    pub fn from_config(config: &Value) -> Result<Option<ChatTemplate>> {
        let named = |list: &[Value]| {
            let default = list.iter().find(|entry| entry["name"] == "default");
            default.and_then(|entry| entry["template"].as_str()).map(str::to_owned)
        };
        let source = match &config["chat_template"] {
            Value::Null => return Ok(None),
            Value::String(source) => Some(source.clone()),
            Value::Array(list) => named(list),
            _ => None,
        };
        let source = source.ok_or_else(|| refusal("wanted a text or a list with a `default`"))?;
        ChatTemplate::new(&source).map(Some)
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// If the template refuses the conversation, or does what no template may.
    pub fn render(&self, chat: &Chat) -> Result<String> {
        self.on_its_stack(|environment, source| {
            if let Some(today) = chat.today {
                environment.add_function("strftime_now", move |format: &str| today.written(format));
            }
            let mut output = Bounded(Vec::new());
            let template = environment.template_from_str(source).map_err(|why| refused(&why))?;
            template.render_captured_to(context(chat), &mut output).map(drop).map_err(|why| refused(&why))?;
            String::from_utf8(output.0).map_err(refusal)
        })
    }

    /// Runs `work` where a template may nest as deep as its fuel lets it.
    fn on_its_stack<T: Send>(&self, work: impl FnOnce(&mut Environment<'_>, &str) -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let run = || guarded("chat_template", || work(&mut environment(), &self.source));
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
            let thread = thread.map_err(|why| refusal(format_args!("no thread to run it on: {why}")))?;
            thread.join().unwrap_or_else(|_| Err(refusal("cannot be used")))
        })
    }
}

/// The special token of a tokenizer_config.json: a text, or an object with its `content`.
pub fn special_token<'a>(config: &'a Value, name: &str) -> Option<&'a str> {
    let token = &config[name];
    token.as_str().or_else(|| token["content"].as_str())
}

/// What a template finds: transformers' rules for white space, Python's methods, filters that stay within bounds.
fn environment<'s>() -> Environment<'s> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters are valid"));
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    environment.set_unknown_method_callback(filter::method);
    environment.add_function("raise_exception", |why: &str| -> Result<Templated, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{}", quoted(why))))
    });
    environment.set_formatter(filter::write);
    filter::register(&mut environment);
    environment
}

/// What precedes the words with which a template refuses a conversation.
const RAISED: &str = "the template refuses the conversation: ";

fn context(chat: &Chat) -> Templated {
    let mut variables = chat.variables.clone();
    variables.insert("messages".into(), Value::Array(chat.messages.clone()));
    variables.insert("tools".into(), chat.tools.clone().unwrap_or_default());
    variables.insert("add_generation_prompt".into(), chat.add_generation_prompt.into());
    variables.entry("documents").or_insert(Value::Null);
    Templated::from(Serde(variables))
}

fn refusal(why: impl std::fmt::Display) -> Refusal {
    Refusal::new("chat_template", why)
}

/// An error of the template engine, with the line of the template where it happened.
fn refused(why: &minijinja::Error) -> Refusal {
    let line = why.line().map_or(String::new(), |line| format!("line {line}: "));
    let what = why.detail().map_or_else(
        || why.kind().to_string(),
        |detail| match detail.strip_prefix(RAISED) {
            Some(_) => detail.to_owned(),
            None => format!("{}: {detail}", why.kind()),
        },
    );
    refusal(format_args!("{line}{what}"))
}

/// Output of bounded length.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_OUTPUT {
            return Err(io::Error::other(format!("wanted a text of at most {LONGEST_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes fuel for bytes that are about to be made.
fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), minijinja::Error> {
    state.consume_fuel(bytes as u64 / 64 + 1)
}
