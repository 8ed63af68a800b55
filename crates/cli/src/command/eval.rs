//! `attendant eval`

use crate::arguments::{ActivationType, Eval};
use crate::command::generate::language;
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Needs, load, resolve};
use crate::output::print;
use crate::progress::{Bar, stop_flag};
use attendant_lab::interval::Interval;
use attendant_model::evaluate;

pub(crate) fn run(options: &Eval) -> Done {
    let path = resolve(&options.model, Needs::Everything)?;
    let text =
        std::fs::read_to_string(&options.text).map_err(|why| Failure::Refused(format!("{}: {why}", options.text.display())))?;
    if options.window < 2 {
        return Err(Failure::Refused(format!("--window: got {}, wanted at least 2 tokens", options.window)));
    }
    let ids = language(&path)?.tokenizer.encode(&text, false).map_err(|why| Failure::Refused(why.to_string()))?;
    // What is left over is no window of its own, unless there is no other.
    let size = options.window.min(ids.len());
    if size < 2 {
        return Err(Failure::Refused(format!("{}: got {size} tokens, wanted at least 2", options.text.display())));
    }
    let count = (ids.len() / size).min(options.windows.unwrap_or(usize::MAX));
    let processor = processor(options.running.threads)?;
    let decoder = load(&path, &processor)?;
    let (stop, mut bar, mut losses) = (stop_flag(), Bar::new(), Vec::new());
    let activations = options.running.activations(ActivationType::Int8);
    let storage = options.running.storage();
    let windows = ids.chunks_exact(size).take(count);
    evaluate::windows(&decoder, &processor, activations, storage, windows, &stop, |window| {
        losses.push(window.loss);
        bar.show(losses.len() as f64 / count as f64, format!("window {} of {count}", losses.len()));
    })?;
    bar.finish();
    if losses.len() < count {
        return Err(Failure::Interrupted(format!("interrupted after {} of {count} windows", losses.len())));
    }
    let loss = Interval::of(&losses);
    let perplexity = Interval { mean: loss.mean.exp(), low: loss.low.map(f64::exp), high: loss.high.map(f64::exp) };
    if options.json {
        let interval = |of: Interval| serde_json::json!({ "mean": of.mean, "low": of.low, "high": of.high });
        let report = serde_json::json!({
            "model": path, "text": options.text, "tokens": count * size, "window": size, "windows": losses,
            "loss": interval(loss), "perplexity": interval(perplexity),
        });
        return print(format!("{report:#}\n"));
    }
    let ends = |of: &Interval| of.ends().map_or(String::new(), |(low, high)| format!(" ({low:.4} to {high:.4})"));
    print(format!(
        "{count} windows of {size} tokens\nloss       {:.4}{} nats a token\nperplexity {:.4}{}\n",
        loss.mean,
        ends(&loss),
        perplexity.mean,
        ends(&perplexity)
    ))
}
