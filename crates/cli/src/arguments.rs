//! The commands and their options.

use attendant_core::Processor;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

/// Compare, train and run sequence models in which the attention mechanism is a parameter.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage or bad input, 3 training left the finite numbers, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train the same small model with several mechanisms and compare quality, cache bytes and speed
    Compare(Compare),
    /// Train one model, or continue an interrupted run
    Train(Train),
    /// Continue a text with a published model or one that was trained here
    Generate(Generate),
    /// Show what a model keeps and reads, from its headers: layers, cache bytes, alternatives, what other engines allocate
    Inspect(Inspect),
    /// Chat with a model in the terminal
    Chat(Chat),
    /// Measure how well a model predicts a text: loss and perplexity, with their intervals
    Eval(Eval),
    /// Make sentence embeddings with an encoder, and compare them
    Embed(Embed),
    /// Write what a model computes for given tokens to a file, to compare engines
    Logits(Logits),
    /// List every mechanism: what it keeps, what that costs, who published it
    Mechanisms(Mechanisms),
    /// Measure speed on this machine
    Bench(Bench),
    /// Find a learning rate for each mechanism by short runs
    Sweep(Sweep),
    /// Print shell completions, the manual page or the reference
    Docs(Docs),
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Held {
    /// Adjust feed-forward widths until all models have as many parameters as the first
    Params,
    /// Adjust the number and width of heads until all cache as many bytes as the first
    State,
    /// Same widths for all
    None,
}

/// A count, refused with what would do.
fn at_least_one<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    text.parse().ok().filter(|count| *count >= N::from(1)).ok_or_else(|| "wanted a whole number, 1 or more".into())
}

/// A number that may be 0, refused with what would do.
fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "wanted a whole number, 0 or more".into())
}

/// A number of threads, refused with what would do.
fn threads(text: &str) -> Result<usize, String> {
    let fits = 1..=Processor::MOST_THREADS;
    let wanted = || format!("wanted a whole number, {} to {}", fits.start(), fits.end());
    text.parse().ok().filter(|count| fits.contains(count)).ok_or_else(wanted)
}

#[derive(Args)]
pub(crate) struct Compare {
    /// About a minute instead of six: fewer tokens, two seeds, contexts to 4k
    #[arg(long)]
    pub(crate) quick: bool,
    /// Mechanisms to compare; the first is the reference
    #[arg(long, value_delimiter = ',', value_name = "NAME,...", default_value = "mha,mqa,gqa,mla")]
    pub(crate) mechanisms: Vec<String>,
    /// Number of seeds to train each with
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>, allow_negative_numbers = true)]
    pub(crate) seeds: Option<u64>,
    /// Tokens of text to train each model on; the recall task scales in proportion
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>, allow_negative_numbers = true)]
    pub(crate) tokens: Option<u64>,
    /// What is held equal between the models
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) hold: Held,
    /// Precision of products with weights and of attention, in training
    #[arg(long, value_enum, default_value = "auto", value_name = "TYPE")]
    pub(crate) precision: PrecisionType,
    /// Train on this UTF-8 file instead of the built-in novels; its last tenth validates
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Folder for the runs, the table and report.html; an interrupted comparison continues there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print the comparison as JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Train {
    /// Configuration of the run (see `attendant docs config`)
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) config: Option<PathBuf>,
    /// Fine-tune this model instead of training a new one: its folder or GGUF file, its name on the hub (owner/name), a run, or a checkpoint
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub(crate) from: Option<PathBuf>,
    /// Train on this UTF-8 file; its last tenth validates
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) text: Option<PathBuf>,
    /// Set one value of the configuration
    #[arg(long, value_name = "KEY.PATH=VALUE", conflicts_with = "resume")]
    pub(crate) set: Vec<String>,
    /// Precision of products with weights and of attention, whatever the configuration says
    #[arg(long, value_enum, value_name = "TYPE", conflicts_with = "resume")]
    pub(crate) precision: Option<PrecisionType>,
    /// Folder of the new run
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder, bit for bit as if it had not been interrupted
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    pub(crate) resume: Option<PathBuf>,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Logits {
    /// Folder of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Tokens: safetensors with input_ids of two dimensions, and attention_mask, token_type_ids and decoder_input_ids where needed
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: PathBuf,
    /// File for logits and, of the first row, hidden states, attention maps and the cache
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Type of the activations that are multiplied with quantised weights
    #[arg(long, value_enum, default_value_t = ActivationType::F32, value_name = "TYPE")]
    pub(crate) activations: ActivationType,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Generate {
    /// Folder of a run, of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Text to continue; - reads it from the standard input, without the end of its last line
    #[arg(
        short,
        long,
        value_name = "TEXT",
        required_unless_present_any = ["ids", "prompt_file"],
        allow_hyphen_values = true
    )]
    pub(crate) prompt: Option<String>,
    /// File with the text to continue, without the end of its last line; - reads it from the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "ids"])]
    pub(crate) prompt_file: Option<PathBuf>,
    /// Tokens to continue instead, greedily: safetensors with input_ids of two dimensions; --activations is then f32 unless given
    #[arg(
        long,
        value_name = "FILE",
        requires = "out",
        conflicts_with_all = ["prompt", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"]
    )]
    pub(crate) ids: Option<PathBuf>,
    /// File for the tokens that follow those of --ids
    #[arg(long, value_name = "FILE", requires = "ids", conflicts_with_all = ["prompt", "prompt_file"])]
    pub(crate) out: Option<PathBuf>,
    /// Maximum number of tokens to generate
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) max_new: usize,
    /// Maximum number of positions, prompt included: a longer prompt is refused, and generation ends there
    #[arg(long, value_name = "N", conflicts_with = "ids", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) context: Option<usize>,
    /// Print more at the end: time to load and to read the prompt, rates, size of the cache, peak memory
    #[arg(long, conflicts_with = "ids")]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Args)]
pub(crate) struct Chat {
    /// Folder of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// System prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Maximum number of tokens in an answer
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) max_new: usize,
    /// Maximum number of positions; the oldest turns are dropped to leave an answer a quarter of them, or --max-new if that is less [default: the model's context length]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) context: Option<usize>,
    /// Print speed and size of the cache after every answer
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Args)]
pub(crate) struct Eval {
    /// Folder of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// File with the text
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Tokens in a window; each is read without what precedes it
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) window: usize,
    /// Maximum number of windows
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) windows: Option<usize>,
    /// Print JSON, with every window
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Args)]
pub(crate) struct Embed {
    /// Folder of a published encoder; without modules.json, its rows are averaged
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Texts to embed
    #[arg(value_name = "TEXT", required_unless_present_any = ["file", "stdin"], conflicts_with_all = ["file", "stdin"])]
    pub(crate) texts: Vec<String>,
    /// File with one text a line; empty lines are skipped
    #[arg(long, value_name = "FILE", conflicts_with = "stdin")]
    pub(crate) file: Option<PathBuf>,
    /// Read one text a line from standard input
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Print the cosine similarity of every two texts instead of the vectors
    #[arg(long)]
    pub(crate) similarity: bool,
    /// Maximum number of tokens in a text, special tokens included [default: what the model's files say]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) max_length: Option<usize>,
    /// File for the vectors, as safetensors: embeddings F32 [texts, width], and similarity F32 [texts, texts] if asked for
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON, with the texts
    #[arg(long)]
    pub(crate) json: bool,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

/// How tokens are chosen.
#[derive(Args)]
pub(crate) struct Sampling {
    /// 0 takes the likeliest token; above 1 flattens the distribution
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Sample from the K likeliest tokens
    #[arg(long, value_name = "K", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,
    /// Sample from the likeliest tokens whose probabilities add up to P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,
    /// Sample from tokens with at least this share of the likeliest one's probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f64>,
    /// Make tokens less likely that occur in the text so far; 1 changes nothing
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: f64,
    /// Seed of the sampling
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = whole::<u64>, allow_negative_numbers = true)]
    pub(crate) seed: u64,
}

/// How a model is run.
#[derive(Args)]
pub(crate) struct Running {
    /// Type in which the cache stores keys and values
    #[arg(long, value_enum, default_value_t = CacheType::F32, value_name = "TYPE")]
    pub(crate) cache: CacheType,
    /// Type of the activations that are multiplied with quantised weights [default: int8]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) activations: Option<ActivationType>,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ActivationType {
    /// Exact; a token takes up to twice as long
    F32,
    /// Quantised to int8, with one scale for 32 values; those of prompts, their weights and attention rounded to bf16 where that is
    /// faster
    Int8,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum PrecisionType {
    /// Operands in f32
    F32,
    /// Operands rounded to bf16; sums and stored weights stay f32
    Bf16,
    /// bf16 where the processor is faster in it, else f32
    Auto,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CacheType {
    /// 4 bytes a value
    F32,
    /// 2 bytes a value, relative error up to 2^-8
    Bf16,
    /// 2 bytes a value, relative error up to 2^-11, values up to 65,504
    F16,
    /// 1 byte a value, and a scale for each head of each token
    Int8,
    /// 4 bits a value, and a 2-byte scale for every 32 values of a head
    #[value(alias = "q4")]
    Int4,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// A folder, a .gguf, a .safetensors, a config.json, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL", required_unless_present = "known", conflicts_with = "known")]
    pub(crate) model: Option<PathBuf>,
    /// Show the table of published models instead: which attention they use and what it keeps
    #[arg(long)]
    pub(crate) known: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print the table as in the documentation
    #[arg(long, requires = "known", conflicts_with = "model")]
    pub(crate) markdown: bool,
    /// Memory bandwidth, in gigabytes a second: states how many tokens a second it allows
    #[arg(long, value_name = "GB/S", conflicts_with = "known", allow_negative_numbers = true)]
    pub(crate) bandwidth: Option<f64>,
    /// Memory for weights and cache together, in gigabytes: states the longest context
    #[arg(long, value_name = "GB", conflicts_with = "known", allow_negative_numbers = true)]
    pub(crate) memory: Option<f64>,
    /// Allocate the cache as well, and compare its bytes with the declared ones
    #[arg(long, conflicts_with = "known")]
    pub(crate) measure: bool,
    /// Tokens that --measure allocates the cache for
    #[arg(
        long,
        requires = "measure",
        conflicts_with = "known",
        default_value_t = 4096,
        value_name = "N",
        value_parser = at_least_one::<usize>,
        allow_negative_numbers = true
    )]
    pub(crate) context: usize,
    /// Type of the cache that --measure allocates
    #[arg(
        long,
        requires = "measure",
        conflicts_with = "known",
        value_enum,
        default_value_t = CacheType::F32,
        value_name = "TYPE"
    )]
    pub(crate) cache: CacheType,
}

#[derive(Args)]
pub(crate) struct Mechanisms {
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print the table of the documentation
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Args)]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) what: Benched,
    /// Print JSON, one line a figure
    #[arg(long)]
    pub(crate) json: bool,
    /// For `model`: folder of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(long, value_name = "MODEL", required_if_eq("what", "model"))]
    pub(crate) model: Option<PathBuf>,
    /// Type of the activations that are multiplied with quantised weights, in `model` and `quant`
    #[arg(long, value_enum, default_value_t = ActivationType::Int8, value_name = "TYPE")]
    pub(crate) activations: ActivationType,
    /// Steps to measure in `train`, and measurements in `model`
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) steps: usize,
    /// Precision of products with weights and of attention, in `train` and `attention`
    #[arg(long, value_enum, default_value = "f32", value_name = "TYPE")]
    pub(crate) precision: PrecisionType,
    /// Numbers of key heads for 32 query heads, in `attention` and `decode`
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,...",
        default_value = "32,8,1",
        value_parser = whole::<usize>,
        allow_negative_numbers = true
    )]
    pub(crate) kv: Vec<usize>,
    /// Widths of a head, in `attention` and `decode` [default: 64,128, or 128]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,...",
        value_parser = whole::<usize>,
        allow_negative_numbers = true
    )]
    pub(crate) widths: Vec<usize>,
    /// Lengths of the sequence, or of the cache [default: 512,2048, or 8192]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,...",
        value_parser = whole::<usize>,
        allow_negative_numbers = true
    )]
    pub(crate) lengths: Vec<usize>,
    /// Numbers of sequences decoded at once
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,...",
        default_value = "1",
        value_parser = whole::<usize>,
        allow_negative_numbers = true
    )]
    pub(crate) batches: Vec<usize>,
    /// Types of the cache
    #[arg(long, value_delimiter = ',', value_name = "TYPE,...", default_value = "f32,bf16,f16,int8,int4")]
    pub(crate) dtypes: Vec<String>,
    /// Seconds to measure each figure for
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, allow_negative_numbers = true)]
    pub(crate) budget: f64,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Benched {
    /// One training step of a GPT with 10.8 million parameters on 4,096 tokens
    Train,
    /// The limits of the machine: multiply-adds, and reading memory
    Limits,
    /// Causal attention, forward, and with its backward
    Attention,
    /// One token over a long cache, in every type of cache
    Decode,
    /// The same, with one latent row for all heads (absorbed MLA)
    Mla,
    /// Matrix products
    Gemm,
    /// Prefill and generation with the model that --model names, after --lengths tokens
    Model,
    /// Recurrent scans, forward, and with their backward, beside plain loops
    Scan,
    /// Products with packed weights, of one row and of 512
    Quant,
}

#[derive(Args)]
pub(crate) struct Sweep {
    /// Mechanisms to sweep
    #[arg(long, value_delimiter = ',', value_name = "NAME,...", default_value = "mha,mqa,gqa,mla")]
    pub(crate) mechanisms: Vec<String>,
    /// Learning rates to try
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RATE,...",
        default_value = "0.001,0.002,0.004,0.008",
        allow_negative_numbers = true
    )]
    pub(crate) rates: Vec<f64>,
    /// Number of threads [default: all]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Docs {
    /// What to print
    #[arg(value_enum)]
    pub(crate) what: Document,
    /// The shell to complete for
    #[arg(long, value_enum, default_value = "bash")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Document {
    /// Shell completions
    Completions,
    /// The manual page, in roff
    Man,
    /// Every command and option, in Markdown
    Cli,
    /// The configuration of a run with its defaults, in TOML
    Config,
}
