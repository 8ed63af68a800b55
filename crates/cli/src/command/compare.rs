//! `attendant compare`

use crate::arguments::{Compare, Held};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::output::{print, say};
use crate::progress::{Bar, stop_flag};
use attendant_lab::compare::{Settings, compare};
use attendant_lab::comparison::Hold;
use attendant_lab::table::{Terminal, table};
use attendant_lab::{environment, report};
use std::fs;
use std::path::PathBuf;

pub(crate) fn run(options: &Compare) -> Done {
    let mut settings = Settings::new(options.quick);
    settings.mechanisms.clone_from(&options.mechanisms);
    settings.hold = match options.hold {
        Held::Params => Hold::Params,
        Held::State => Hold::State,
        Held::None => Hold::None,
    };
    settings.set_precision(options.precision.into());
    if let Some(seeds) = options.seeds {
        settings.seeds = seeds;
    }
    if let Some(tokens) = options.tokens {
        settings.set_tokens(tokens);
    }
    if let Some(text) = &options.text {
        settings.text.data.text = text.display().to_string();
    }
    let folder = options.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("compare-{}", environment::stamp())));
    let processor = processor(options.threads)?;
    let (stop, mut bar) = (stop_flag(), Bar::new());
    let result = compare(&settings, &processor, &folder, &stop, &mut |moment| bar.show(moment.done, moment.doing));
    bar.finish();
    let Some(comparison) = result? else {
        let why = format!("interrupted; run again with --out {} to continue", folder.display());
        return Err(Failure::Interrupted(why));
    };
    let unwritable = |why: serde_json::Error| Failure::Failed(format!("comparison: {why}"));
    let json = serde_json::to_string_pretty(&comparison).map_err(unwritable)?;
    let page = report::html(&comparison).map_err(unwritable)?;
    for (name, content) in [("comparison.json", &json), ("report.html", &page)] {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|why| Failure::Failed(format!("{}: {why}", path.display())))?;
    }
    say(format!("report: {}", folder.join("report.html").display()));
    if options.json { print(json + "\n") } else { print(table(&comparison, Terminal::stdout())) }
}
