//! `attendant generate`

use crate::arguments::Generate;
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::progress::stop_flag;
use attendant_lab::{checkpoint, vocabulary::Vocabulary};
use attendant_model::{Sampler, Session, checkpoint as model_checkpoint};
use attendant_state::Storage;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(crate) fn run(options: &Generate) -> Done {
    let folder = if options.model.join("config.json").exists() {
        options.model.clone()
    } else {
        let latest = checkpoint::latest(&options.model)?;
        let missing =
            || Failure::Refused(format!("{}: no checkpoint there, wanted a run or a checkpoint", options.model.display()));
        latest.ok_or_else(missing)?.1
    };
    let decoder = model_checkpoint::load(&folder).map_err(attendant_lab::LabError::from)?;
    let vocabulary = Vocabulary::from_file(&folder.join("tokenizer.json"))?;
    let sampler = Sampler { temperature: options.temperature, top_k: options.top_k, top_p: options.top_p, seed: options.seed };
    sampler.check()?;
    let processor = processor(options.threads)?;
    let stop = stop_flag();
    let mut session = Session::new(&decoder, processor, Storage::paged(256));
    session.read(&vocabulary.encode(&options.prompt)?)?;
    let mut out = io::stdout().lock();
    let (mut ids, mut shown) = (Vec::new(), String::new());
    let start = Instant::now();
    while ids.len() < options.max_new && !stop.load(Ordering::Relaxed) {
        ids.push(session.next(&sampler)?);
        let text = vocabulary.decode(&ids)?;
        // A character may need several tokens; until it is whole it decodes to a replacement character.
        if let Some(new) = text.strip_prefix(&shown)
            && !new.ends_with('\u{fffd}')
        {
            write!(out, "{new}").and_then(|()| out.flush()).map_err(|why| Failure::Failed(format!("stdout: {why}")))?;
            shown = text;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out).map_err(|why| Failure::Failed(format!("stdout: {why}")))?;
    let state = session.state();
    anstream::eprintln!(
        "{} tokens, {:.0} tokens/s; cache: {} bytes for {} tokens",
        ids.len(),
        ids.len() as f64 / seconds,
        state.allocated_bytes(),
        state.position()
    );
    if stop.load(Ordering::Relaxed) { Err(Failure::Interrupted("interrupted".into())) } else { Ok(()) }
}
