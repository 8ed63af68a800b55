//! What can be asked.

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
    /// Continue a text with a model that was trained here or published
    Generate(Generate),
    /// Say what a model keeps and reads, from its headers: layers, cache bytes, alternatives, what other engines take
    Inspect(Inspect),
    /// Talk with a model in the terminal
    Chat(Chat),
    /// How well a model foretells a text: loss and perplexity, with their interval
    Eval(Eval),
    /// Make vectors of texts with an encoder of sentences, and say how alike they are
    Embed(Embed),
    /// Write what a model makes of given tokens to a file, to compare engines
    Logits(Logits),
    /// List every mechanism: what it keeps, what that costs, who published it
    Mechanisms(Mechanisms),
    /// Measure speed on this machine
    Bench(Bench),
    /// Find the learning rate of mechanisms by short runs
    Sweep(Sweep),
    /// Print shell completions, the manual page or the reference
    Docs(Docs),
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Held {
    /// Adjust feed-forward widths until all models have as many parameters as the first
    Params,
    /// Adjust heads and head widths until all cache as many bytes as the first
    State,
    /// Same widths for all
    None,
}

/// A count, refused with what would do.
fn at_least_one<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    text.parse().ok().filter(|count| *count >= N::from(1)).ok_or_else(|| "wanted a whole number, 1 or more".into())
}

/// A number of threads, refused with what would do.
fn threads(text: &str) -> Result<usize, String> {
    let fits = 1..=Processor::MOST_THREADS;
    let wanted = || format!("wanted a whole number, {} to {}", fits.start(), fits.end());
    text.parse().ok().filter(|count| fits.contains(count)).ok_or_else(wanted)
}

#[derive(Args)]
pub(crate) struct Compare {
    /// One minute instead of six: fewer tokens, two seeds, contexts to 4k
    #[arg(long)]
    pub(crate) quick: bool,
    /// Mechanisms to compare, the first being the reference
    #[arg(long, value_delimiter = ',', value_name = "NAME,...", default_value = "mha,mqa,gqa,mla")]
    pub(crate) mechanisms: Vec<String>,
    /// Seeds to train each with
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>, allow_negative_numbers = true)]
    pub(crate) seeds: Option<u64>,
    /// Tokens of text to train each model on; those of recall follow in proportion
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>, allow_negative_numbers = true)]
    pub(crate) tokens: Option<u64>,
    /// What is held equal between the models
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) hold: Held,
    /// What products with weights and those of attention multiply in training
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
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Train {
    /// Configuration of the run (see `attendant docs config`)
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) config: Option<PathBuf>,
    /// Train this published model further instead of a new one: its folder or GGUF file, its name on the hub (owner/name), a run, or a checkpoint
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub(crate) from: Option<PathBuf>,
    /// Train on this UTF-8 file; its last tenth validates
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) text: Option<PathBuf>,
    /// Change one value of the configuration
    #[arg(long, value_name = "KEY.PATH=VALUE", conflicts_with = "resume")]
    pub(crate) set: Vec<String>,
    /// What products with weights and those of attention multiply, whatever the configuration says
    #[arg(long, value_enum, value_name = "TYPE", conflicts_with = "resume")]
    pub(crate) precision: Option<PrecisionType>,
    /// Folder of the new run
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder, with the bits it would have had
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    pub(crate) resume: Option<PathBuf>,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Logits {
    /// Folder of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Tokens: safetensors with input_ids of two axes, and attention_mask, token_type_ids and decoder_input_ids where needed
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: PathBuf,
    /// File for logits and, of the first row, hidden states, attention maps and the cache
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How rows meet weights of few bits
    #[arg(long, value_enum, default_value_t = ActivationType::F32, value_name = "TYPE")]
    pub(crate) activations: ActivationType,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Generate {
    /// Folder of a run, of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Text to continue; - reads it from the standard input
    #[arg(short, long, value_name = "TEXT", required_unless_present_any = ["ids", "prompt_file"])]
    pub(crate) prompt: Option<String>,
    /// File with the text to continue
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "ids"])]
    pub(crate) prompt_file: Option<PathBuf>,
    /// Tokens to continue instead, by the likeliest: safetensors with input_ids of two axes
    #[arg(long, value_name = "FILE", conflicts_with = "prompt", requires = "out")]
    pub(crate) ids: Option<PathBuf>,
    /// File for the tokens that follow those of --ids
    #[arg(long, value_name = "FILE", requires = "ids")]
    pub(crate) out: Option<PathBuf>,
    /// Tokens to generate, at most
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub(crate) max_new: usize,
    /// Positions to keep, at most, those of the prompt among them: a longer prompt is refused, and generation ends there
    #[arg(long, value_name = "N", conflicts_with = "ids", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) context: Option<usize>,
    /// Print more at the end: time to load and to read, rates, the cache, the most memory taken
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
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Tokens of an answer, at most
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub(crate) max_new: usize,
    /// Positions to keep, at most; the oldest turns are forgotten to leave an answer a quarter of them [default: what the model was made for]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) context: Option<usize>,
    /// Print speed and cache after every answer
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
    /// The text
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Tokens of a window; none is told what went before its window
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub(crate) window: usize,
    /// Windows to read, at most
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) windows: Option<usize>,
    /// As JSON, with every window
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Args)]
pub(crate) struct Embed {
    /// Folder of a published model, with modules.json if its rows are not averaged
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// The texts
    #[arg(value_name = "TEXT", required_unless_present_any = ["file", "stdin"], conflicts_with_all = ["file", "stdin"])]
    pub(crate) texts: Vec<String>,
    /// File with a text in each line; empty ones are passed over
    #[arg(long, value_name = "FILE", conflicts_with = "stdin")]
    pub(crate) file: Option<PathBuf>,
    /// A text in each line of the standard input
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Instead of vectors, the cosine between every two of them
    #[arg(long)]
    pub(crate) similarity: bool,
    /// Tokens of a text to read, at most, those around it included [default: what the model's files say]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) max_length: Option<usize>,
    /// File for the vectors, as safetensors: embeddings F32 [texts, width], and similarity F32 [texts, texts] if asked for
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) out: Option<PathBuf>,
    /// As JSON, with the texts
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

/// How tokens are chosen.
#[derive(Args)]
pub(crate) struct Sampling {
    /// 0 takes the likeliest token; above 1 flattens the choice
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Choose among the K likeliest tokens
    #[arg(long, value_name = "K", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,
    /// Choose among tokens that have at least this share of the likeliest one's probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f64>,
    /// Makes tokens less likely that were read or chosen before; 1 leaves them alone
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: f64,
    /// Seed of the choices
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
}

/// How a model is run.
#[derive(Args)]
pub(crate) struct Running {
    /// Type in which the cache keeps keys and values
    #[arg(long, value_enum, default_value_t = CacheType::F32, value_name = "TYPE")]
    pub(crate) cache: CacheType,
    /// How rows meet weights of few bits [default: int8; with --ids, as for logits, f32]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) activations: Option<ActivationType>,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ActivationType {
    /// As they are: exact, and a token takes up to twice as long
    F32,
    /// Rounded to bytes, 32 with one scale
    Int8,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum PrecisionType {
    /// Rows and weights as they are
    F32,
    /// Both rounded to bf16; sums and the weights that are kept stay f32
    Bf16,
    /// bf16 where the processor has instructions for it, else f32
    Auto,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CacheType {
    /// 4 bytes a value
    F32,
    /// 2 bytes, relative error up to 2^-8
    Bf16,
    /// 2 bytes, relative error up to 2^-11, values up to 65,504
    F16,
    /// 1 byte, and a scale for each head of each token
    Int8,
    /// 4 bits a value, and 2 bytes for each 32 of a head
    #[value(alias = "q4")]
    Int4,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// A folder, a .gguf, a .safetensors, a config.json, or a name on the hub (owner/name)
    #[arg(value_name = "MODEL", required_unless_present = "known", conflicts_with = "known")]
    pub(crate) model: Option<PathBuf>,
    /// Instead, the table of published models: which attention they use and what it keeps
    #[arg(long)]
    pub(crate) known: bool,
    /// As JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// The table as that of the documentation
    #[arg(long, requires = "known")]
    pub(crate) markdown: bool,
    /// Gigabytes a second that memory gives: states how many tokens a second that allows
    #[arg(long, value_name = "GB/S", conflicts_with = "known", allow_negative_numbers = true)]
    pub(crate) bandwidth: Option<f64>,
    /// Gigabytes that weights and cache may take together: states the longest context
    #[arg(long, value_name = "GB", conflicts_with = "known", allow_negative_numbers = true)]
    pub(crate) memory: Option<f64>,
    /// Allocate the cache as well, and compare its bytes with those declared
    #[arg(long, conflicts_with = "known")]
    pub(crate) measure: bool,
    /// Tokens that --measure allocates the cache for
    #[arg(
        long,
        requires = "measure",
        default_value_t = 4096,
        value_name = "N",
        value_parser = at_least_one::<usize>,
        allow_negative_numbers = true
    )]
    pub(crate) context: usize,
    /// Type of the cache that --measure allocates
    #[arg(long, requires = "measure", value_enum, default_value_t = CacheType::F32, value_name = "TYPE")]
    pub(crate) cache: CacheType,
}

#[derive(Args)]
pub(crate) struct Mechanisms {
    /// As JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// As the table of the documentation
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Args)]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) what: Benched,
    /// As JSON, one line a figure
    #[arg(long)]
    pub(crate) json: bool,
    /// For `model`: folder of a checkpoint or of a published model, a GGUF file, or a name on the hub (owner/name)
    #[arg(long, value_name = "MODEL", required_if_eq("what", "model"))]
    pub(crate) model: Option<PathBuf>,
    /// How rows meet weights of few bits, in `model` and `quant`
    #[arg(long, value_enum, default_value_t = ActivationType::Int8, value_name = "TYPE")]
    pub(crate) activations: ActivationType,
    /// Measured steps of `train`, and measurements of `model`
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) steps: usize,
    /// What products multiply, those with weights and those of attention, in `train` and `attention`
    #[arg(long, value_enum, default_value = "f32", value_name = "TYPE")]
    pub(crate) precision: PrecisionType,
    /// Key heads under 32 query heads, of `attention` and `decode`
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "32,8,1")]
    pub(crate) kv: Vec<usize>,
    /// Widths of a head, of `attention` and `decode` [default: 64,128, or 128]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub(crate) widths: Vec<usize>,
    /// Lengths: of the sequence, or of the cache [default: 512,2048, or 8192]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub(crate) lengths: Vec<usize>,
    /// Sequences that decode at once
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "1")]
    pub(crate) batches: Vec<usize>,
    /// Types of the cache
    #[arg(long, value_delimiter = ',', value_name = "TYPE,...", default_value = "f32,bf16,f16,int8,int4")]
    pub(crate) dtypes: Vec<String>,
    /// Seconds of measuring for each figure
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub(crate) budget: f64,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Benched {
    /// One training step of a GPT with 10.7 million parameters on 4,096 tokens
    Train,
    /// What the machine reaches when it does nothing else: multiply-adds, and reading
    Limits,
    /// Causal attention, forward and with its backward
    Attention,
    /// One token over a long cache, in every type that a cache is kept in
    Decode,
    /// The same with one latent row for all heads (absorbed MLA)
    Mla,
    /// Matrix products
    Gemm,
    /// Reading a prompt and generating with the model that --model names, after --lengths tokens
    Model,
    /// Recurrent scans, forward and with their backward, beside plain loops
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
    /// Threads to use instead of all
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
