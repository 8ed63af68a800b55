//! What can be asked.

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
    /// Continue a text with a trained model
    Generate(Generate),
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
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Train {
    /// Configuration of the run (see `attendant docs config`)
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) config: Option<PathBuf>,
    /// Change one value of the configuration
    #[arg(long, value_name = "KEY.PATH=VALUE", conflicts_with = "resume")]
    pub(crate) set: Vec<String>,
    /// Folder of the new run
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder, with the bits it would have had
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    pub(crate) resume: Option<PathBuf>,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Generate {
    /// Folder of a run or of a checkpoint
    #[arg(value_name = "RUN_OR_CHECKPOINT")]
    pub(crate) model: PathBuf,
    /// Text to continue
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Tokens to generate, at most
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub(crate) max_new: usize,
    /// 0 takes the likeliest token; above 1 flattens the choice
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Choose among the K likeliest tokens
    #[arg(long, value_name = "K", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,
    /// Seed of the choices
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Type in which the cache keeps keys and values
    #[arg(long, value_enum, default_value_t = CacheType::F32, value_name = "TYPE")]
    pub(crate) cache: CacheType,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
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
    /// Measured steps of `train`
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    pub(crate) steps: usize,
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
    #[arg(long, value_delimiter = ',', value_name = "TYPE,...", default_value = "f32,bf16,f16,int8")]
    pub(crate) dtypes: Vec<String>,
    /// Seconds of measuring for each figure
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub(crate) budget: f64,
    /// Threads to use instead of all
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
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
    /// Products with quantised weights, of one row and of 512
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
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
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
