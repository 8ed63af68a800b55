//! `attendant bench`

use crate::arguments::{Bench, Benched};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Needs, load, resolve};
use crate::output::print;
use attendant_core::Processor;
use attendant_lab::bench::attention::{self, Shapes};
use attendant_lab::bench::train::{TrainingRate, training_step};
use attendant_lab::bench::{Figure, decode, limits, model, product, quant, scan};
use attendant_lab::config::PrecisionKind;
use attendant_state::{Dtype, Storage};
use clap::parser::ValueSource;
use clap::{ArgMatches, ValueEnum};
use std::time::Duration;

/// `matches`: which of the options were given, and are no defaults.
pub(crate) fn run(options: &Bench, matches: Option<&ArgMatches>) -> Done {
    matches.map_or(Ok(()), |matches| all_read(options.what, matches))?;
    check(options)?;
    let processor = processor(options.threads)?;
    let budget = Duration::from_secs_f64(options.budget);
    // Once nobody reads any more, nothing is printed.
    let mut done = Ok(());
    let mut each = |figure: Figure| {
        if done.is_ok() {
            done = print(line(&figure, options.json));
        }
    };
    match options.what {
        Benched::Train => return train(&processor, options),
        Benched::Model => run_model(&processor, options, &mut each)?,
        Benched::Limits => limits::figures(&processor, &mut each),
        Benched::Attention => {
            let precision = PrecisionKind::from(options.precision).of_tape(processor.isa());
            attention::figures(&processor, &shapes(options, &[64, 128], &[512, 2048]), precision, budget, &mut each);
        }
        Benched::Decode => {
            let shapes = shapes(options, &[128], &[8192]);
            decode::figures(&processor, &shapes, &dtypes(options), &options.batches, budget, &mut each);
        }
        Benched::Mla => {
            let lengths = shapes(options, &[], &[8192]).lengths;
            decode::latent_figures(&processor, &lengths, &dtypes(options), &options.batches, budget, &mut each);
        }
        Benched::Gemm => product::figures(&processor, budget, &mut each),
        Benched::Scan => {
            let Shapes { widths, lengths, .. } = shapes(options, &[64], &[2048]);
            scan::figures(&processor, &widths, &lengths, budget, &mut each);
        }
        Benched::Quant => quant::figures(&processor, options.activations.into(), budget, &mut each),
    }
    done
}

/// A model at work, over a cache of each type.
fn run_model(processor: &Processor, options: &Bench, each: &mut impl FnMut(Figure)) -> Done {
    let path = resolve(options.model.as_deref().expect("clap wants it with `model`"), Needs::Everything)?;
    let decoder = load(&path, processor)?;
    let depths = if options.lengths.is_empty() { vec![0, 4096] } else { options.lengths.clone() };
    for dtype in Dtype::ALL.iter().filter(|dtype| options.dtypes.iter().any(|name| name == dtype.name())) {
        let setting = model::Setting {
            storage: Storage::paged(Storage::PAGE).dtype(*dtype),
            activations: options.activations.into(),
            repeats: options.steps,
        };
        model::figures(&decoder, processor, setting, &depths, &mut *each)?;
    }
    Ok(())
}

impl Benched {
    /// The options that it reads, beside --json and --threads.
    fn reads(self) -> &'static [&'static str] {
        match self {
            Benched::Train => &["steps", "precision"],
            Benched::Limits => &[],
            Benched::Attention => &["precision", "kv", "widths", "lengths", "budget"],
            Benched::Decode => &["kv", "widths", "lengths", "batches", "dtypes", "budget"],
            Benched::Mla => &["lengths", "batches", "dtypes", "budget"],
            Benched::Gemm => &["budget"],
            Benched::Model => &["model", "activations", "steps", "lengths", "dtypes"],
            Benched::Scan => &["widths", "lengths", "budget"],
            Benched::Quant => &["activations", "budget"],
        }
    }
}

/// Refuses an option that would change nothing.
fn all_read(what: Benched, matches: &ArgMatches) -> Done {
    let all = Benched::value_variants().iter().flat_map(|what| what.reads());
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    match all.copied().find(|name| given(name) && !what.reads().contains(name)) {
        Some(unread) => {
            let wanted: String = what.reads().iter().map(|name| format!("--{name}, ")).collect();
            let what = what.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
            let why = format!("got a value, which `{what}` does not read, wanted some of {wanted}--json, --threads");
            Err(Failure::Refused(format!("--{unread}: {why}")))
        }
        None => Ok(()),
    }
}

fn check(options: &Bench) -> Done {
    let refuse = |why: String| Err(Failure::Refused(why));
    let sizes =
        [("--kv", &options.kv), ("--widths", &options.widths), ("--lengths", &options.lengths), ("--batches", &options.batches)];
    for (name, values) in sizes {
        let least = usize::from(!(name == "--lengths" && matches!(options.what, Benched::Model)));
        if let Some(value) = values.iter().find(|&&value| value < least || value > 1 << 20) {
            return refuse(format!("{name}: got {value}, wanted {least} to {}", 1 << 20));
        }
    }
    if let Some(kv) = options.kv.iter().find(|&&kv| !attention::HEADS.is_multiple_of(kv)) {
        return refuse(format!("--kv: got {kv}, wanted a divisor of the {} query heads", attention::HEADS));
    }
    if let Some(name) = options.dtypes.iter().find(|name| !decode::DTYPES.contains(&name.as_str())) {
        return refuse(format!("--dtypes: got {name:?}, wanted some of {}", decode::DTYPES.join(", ")));
    }
    if !(0.0..=3600.0).contains(&options.budget) {
        return refuse(format!("--budget: got {}, wanted 0 to 3600 seconds", options.budget));
    }
    Ok(())
}

/// What is asked for, and the usual widths and lengths where nothing is.
fn shapes(options: &Bench, widths: &[usize], lengths: &[usize]) -> Shapes {
    let or = |given: &[usize], usual: &[usize]| if given.is_empty() { usual.to_vec() } else { given.to_vec() };
    Shapes { kv_heads: options.kv.clone(), widths: or(&options.widths, widths), lengths: or(&options.lengths, lengths) }
}

fn dtypes(options: &Bench) -> Vec<&'static str> {
    decode::DTYPES.into_iter().filter(|name| options.dtypes.iter().any(|wanted| wanted == name)).collect()
}

fn line(figure: &Figure, json: bool) -> String {
    if json {
        return serde_json::to_string(figure).expect("a figure is plain numbers and names") + "\n";
    }
    let field = |name: &str, value: Option<usize>| value.map(|value| format!(" {name} {value}"));
    let shape: String = [
        figure.shape.as_ref().map(|shape| format!(" {shape}")),
        field("kv", figure.kv),
        field("D", figure.d),
        field("L", figure.length),
        field("B", figure.batch),
        figure.variant.map(|variant| format!(" {variant}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let rate = match (figure.gbs, figure.gflops) {
        _ if figure.tokens_per_second.is_some() => format!("{:7.1} tokens/s", figure.tokens_per_second.unwrap_or_default()),
        (Some(gbs), _) => format!("{gbs:7.1} GB/s"),
        (None, Some(gflops)) => format!("{gflops:7.1} GFLOP/s"),
        (None, None) => String::new(),
    };
    let share = figure.share.map_or(String::new(), |share| format!(" {:3.0}%", share * 100.0));
    let note = if figure.disturbed { "  disturbed" } else { "" };
    let work = format!("{:<7} {:<4}{shape}", figure.what, figure.dtype);
    format!("{work:<44} {:9.3} ms {rate}{share}{note}\n", figure.ms)
}

fn train(processor: &Processor, options: &Bench) -> Done {
    let mode = PrecisionKind::from(options.precision).on(processor.isa());
    let TrainingRate { params, tokens, step, tok_s, gflops } =
        training_step(processor, mode.of_tape(processor.isa()), options.steps)?;
    let mode = mode.name();
    let (median, minimum, disturbed) = (step.median * 1e3, step.minimum * 1e3, step.disturbed());
    let (threads, isa) = (processor.threads(), processor.isa().name());
    if options.json {
        let line = serde_json::json!({
            "bench": "train", "mode": mode, "params": params, "threads": threads, "isa": isa,
            "step_ms": (median * 10.0).round() / 10.0, "min_step_ms": (minimum * 10.0).round() / 10.0,
            "tok_s": tok_s.round(), "gflops": (gflops * 10.0).round() / 10.0, "disturbed": disturbed,
        });
        return print(format!("{line}\n"));
    }
    let note = if disturbed { " (disturbed: median and minimum differ by more than 15%)" } else { "" };
    print(format!(
        "one step of {params} parameters on {tokens} tokens, {mode}, {threads} threads, {isa}\n\
         {median:.0} ms (minimum {minimum:.0}){note}, {tok_s:.0} tokens/s, {gflops:.0} GFLOP/s\n"
    ))
}
