//! `attendant eval`

use crate::arguments::{ActivationType, Eval};
use crate::command::generate::language;
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Loading, Needs, resolve};
use crate::output::{print, say};
use crate::progress::{Bar, stop_flag};
use attendant_formats::{Refusal, Tokenizer, quoted};
use attendant_lab::LabError;
use attendant_lab::interval::Interval;
use attendant_model::evaluate;

pub(crate) fn run(options: &Eval) -> Done {
    let path = resolve(&options.model, Needs::Everything)?;
    let text = std::fs::read_to_string(&options.text).map_err(|why| LabError::io(&options.text, why))?;
    if options.window < 2 {
        return Err(Failure::Refused(format!("--window: got {}, wanted at least 2 tokens", options.window)));
    }
    let processor = processor(options.running.threads)?;
    let loading = Loading::start(&path, &processor);
    let tokenizer = language(&path)?.tokenizer;
    let refused = |why: Refusal| Failure::Refused(why.to_string());
    let ids = tokenizer.encode(&text, false).map_err(refused)?;
    // What is left over is no window of its own, unless there is no other.
    let size = options.window.min(ids.len());
    if size < 2 {
        return Err(Failure::Refused(format!("{}: got {size} tokens, wanted at least 2", options.text.display())));
    }
    let count = (ids.len() / size).min(options.windows.unwrap_or(usize::MAX));
    let decoder = loading.finish()?;
    if let Some(first) = begins(&tokenizer).map_err(refused)? {
        say(format!("windows begin without {}, which the tokenizer puts before a text", quoted(&first)));
    }
    let made_for = decoder.plan().context;
    // The last token of a window is not read, only predicted.
    if size - 1 > made_for {
        say(format!("--window: got {size}, and the model was made for {made_for}"));
    }
    let unread = ids.len() - count * size;
    if unread > 0 && count == ids.len() / size {
        say(format!("the last {unread} of {} tokens are not read: they fill no window", ids.len()));
    }
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
            "model": path, "text": options.text, "tokens": count * size, "judged": count * (size - 1), "unread": unread,
            "window": size, "unit": "nats a token", "windows": losses, "loss": interval(loss), "perplexity": interval(perplexity),
        });
        return print(format!("{report:#}\n"));
    }
    let ends = |of: &Interval| of.ends().map_or(String::new(), |(low, high)| format!(" ({low:.4} to {high:.4})"));
    let windows = if count == 1 { "window" } else { "windows" };
    print(format!(
        "{count} {windows} of {size} tokens\nloss       {:.4}{} nats a token\nperplexity {:.4}{}\n",
        loss.mean,
        ends(&loss),
        perplexity.mean,
        ends(&perplexity)
    ))
}

/// The token that the tokenizer puts before a text, if it does.
fn begins(tokenizer: &Tokenizer) -> Result<Option<String>, Refusal> {
    let first = |special: bool| tokenizer.encode("a", special).map(|ids| ids.first().copied());
    let (with, without) = (first(true)?, first(false)?);
    Ok(with.filter(|_| with != without).and_then(|id| tokenizer.token(id)))
}
