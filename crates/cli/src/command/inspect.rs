//! `attendant inspect`

mod known;
mod prose;
mod table;

use crate::arguments::Inspect;
use crate::failure::{Done, Failure};
use crate::model::{Needs, resolve};
use crate::output::print;
use attendant_lab::LabError;
use attendant_lab::environment::available_memory;
use attendant_lab::table::Terminal;
use attendant_model::inspect::cache::MOST_TOKENS;
use attendant_model::inspect::{Measured, Question, Subject};
use attendant_state::Dtype;
use serde_json::{Value, json};
use std::path::Path;

/// Bytes of a gigabyte, as sellers of memory count them.
const GIGA: f64 = 1e9;
/// Columns beyond which prose is hard to read.
const WIDEST: usize = 100;
/// Bytes of the largest cache that is measured where the system does not tell how much memory there is: 16 GiB.
const MOST_BYTES: u64 = 1 << 34;

pub(crate) fn run(options: &Inspect) -> Done {
    match &options.model {
        Some(model) => one(options, model),
        None => known::run(options, width()),
    }
}

fn width() -> usize {
    Terminal::stdout().width.clamp(40, WIDEST)
}

fn one(options: &Inspect, model: &Path) -> Done {
    let question =
        Question { bandwidth: positive("--bandwidth", options.bandwidth)?, memory: positive("--memory", options.memory)? };
    let subject = Subject::open(&resolve(model, Needs::Description)?).map_err(LabError::from)?;
    let report = subject.report(question)?;
    let measured = options.measure.then(|| measure(&subject, options.context, options.cache.into())).transpose()?;
    let text = if options.json {
        let mut value = serde_json::to_value(&report).map_err(|why| Failure::Failed(why.to_string()))?;
        if let Some(measured) = measured {
            value["measured"] = json!(measured);
        }
        pretty(&value)
    } else {
        let mut text = prose::report(&report, question, width());
        if let Some(measured) = measured {
            text += &prose::measured(&measured, options.cache.into());
        }
        text
    };
    print(text)?;
    agreed(measured)
}

/// Allocates the cache, if there is the memory for it.
fn measure(subject: &Subject, tokens: usize, dtype: Dtype) -> Result<Measured, Failure> {
    if tokens > MOST_TOKENS {
        return Err(Failure::Refused(format!("--context: got {tokens}, wanted at most {MOST_TOKENS} tokens")));
    }
    let (bytes, most) = (subject.declared(tokens, dtype)? as f64, available_memory().unwrap_or(MOST_BYTES) as f64);
    if bytes > most {
        let (bytes, most) = (table::memory(bytes), table::memory(most));
        let why = format!("got {tokens}, whose cache takes {bytes}, wanted at most {most} of memory");
        return Err(Failure::Refused(format!("--context: {why}")));
    }
    Ok(subject.measure(tokens, dtype)?)
}

/// A store that holds other bytes than its planes declare is a fault of this program.
fn agreed(measured: Option<Measured>) -> Done {
    match measured {
        Some(Measured { declared, allocated, .. }) if declared != allocated => {
            Err(Failure::Failed(format!("declared {declared} bytes, allocated {allocated}")))
        }
        _ => Ok(()),
    }
}

/// Gigabytes as bytes.
fn positive(option: &str, gigabytes: Option<f64>) -> Result<Option<f64>, Failure> {
    match gigabytes {
        Some(number) if !(number > 0.0 && number.is_finite()) => {
            Err(Failure::Refused(format!("{option}: got {number}, wanted a number above 0")))
        }
        number => Ok(number.map(|number| number * GIGA)),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
