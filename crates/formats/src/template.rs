//! Chat templates: how a conversation becomes the text that a model was trained to answer.
//!
//! A template is a program in a file from anywhere. It runs without loops that do not end, without more than a stated amount of memory
//! and output, and sees nothing but the conversation. Otherwise it finds what transformers would give it: the same white space
//! rules, the methods of Python's texts and dictionaries that published templates use, `raise_exception`, `tojson` as Python
//! writes it.

mod date;
mod expression;
mod filter;
mod fuel;
mod json;
mod method;
mod namespace;
mod pieces;
mod question;
mod rewrite;
mod sequence;

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
pub const LONGEST: usize = 64 << 10;
/// What a template may do: an instruction, or 64 bytes made or looked at, cost one.
const FUEL: u64 = 200_000;
/// What it may do beyond that for each byte of the conversation: long ones take longer.
const FUEL_FOR_A_BYTE: u64 = 4;
/// The longest text that a template may give beyond the conversation, and the most that a value may be written out to, in bytes.
const LONGEST_OUTPUT: usize = 4 << 20;
/// How deep values, macros and loops may nest.
const DEPTH: usize = 100;
/// The stack to run on: the engine reads what nests in a template, and calls macros, by recursion.
const STACK: usize = 16 << 20;

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
        let source = rewrite::rewritten(source).map_err(|fault| refusal(format_args!("line {}: {}", fault.line, fault.why)))?;
        let template = ChatTemplate { source };
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
            let given = size(chat);
            environment.set_fuel(Some(FUEL + FUEL_FOR_A_BYTE * given as u64));
            let mut output = Bounded { text: Vec::new(), most: LONGEST_OUTPUT + 2 * given };
            let template = environment.template_from_str(source).map_err(|why| refused(&why))?;
            template.render_captured_to(context(chat), &mut output).map(drop).map_err(|why| refused(&why))?;
            String::from_utf8(output.text).map_err(refusal)
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

/// What a template finds: Python's methods, and the filters, tests and functions that are registered here. What is not has not been
/// looked at for what it may cost, and does not exist.
fn environment<'s>() -> Environment<'s> {
    let mut environment = Environment::empty();
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters are valid"));
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    environment.set_unknown_method_callback(method::call);
    environment.add_function(
        "raise_exception",
        |state: &State<'_, '_>, why: &Templated| -> Result<Templated, minijinja::Error> {
            let why = fuel::text(state, why)?;
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{}", quoted(&why))))
        },
    );
    environment.set_formatter(filter::write);
    fuel::register(&mut environment);
    filter::register(&mut environment);
    sequence::register(&mut environment);
    question::register(&mut environment);
    namespace::register(&mut environment);
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

/// How long a conversation is, as JSON.
fn size(chat: &Chat) -> usize {
    let length = |value: &Value| value.to_string().len();
    chat.messages.iter().chain(&chat.tools).map(length).sum()
}

fn refusal(why: impl std::fmt::Display) -> Refusal {
    Refusal::new("chat_template", why)
}

/// An error of the template engine, with the line of the template where it happened.
fn refused(why: &minijinja::Error) -> Refusal {
    let line = why.line().map_or(String::new(), |line| format!("line {line}: "));
    match why.kind() {
        ErrorKind::OutOfFuel => return refusal(format_args!("{line}the template does more than it may")),
        ErrorKind::WriteFailure => return refusal(format_args!("{line}the template writes more than it may")),
        _ => {}
    }
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
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
