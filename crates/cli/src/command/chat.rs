//! `attendant chat`

use crate::arguments::Chat;
use crate::command::generate::{answer, checkpoint_of, language};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::output::{print, say};
use crate::progress::{stop_flag, waiting};
use attendant_model::checkpoint;
use std::io::{BufRead, IsTerminal};
use std::sync::atomic::Ordering;

pub(crate) fn run(options: &Chat) -> Done {
    let path = checkpoint_of(&options.model)?;
    let language = language(&path)?;
    let sampler = options.sampling.sampler()?;
    let mut messages: Vec<(String, String)> = options.system.iter().map(|text| ("system".into(), text.clone())).collect();
    // Before anyone types: a model that has no template is no partner.
    language.conversation(&[("user".into(), "Hello".into())])?;
    let decoder = checkpoint::load(&path)?;
    let processor = processor(options.running.threads)?;
    let mut session = options.running.session(&decoder, processor.clone());
    let (stop, mut read) = (stop_flag(), Vec::new());
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        say("An empty line, Ctrl-D or Ctrl-C ends the conversation; Ctrl-C during an answer, the answer.");
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            print("> ")?;
        }
        let line = match waiting(|| lines.next()) {
            Some(line) => line.map_err(|why| Failure::Refused(format!("standard input: {why}")))?,
            None => break,
        };
        if line.trim().is_empty() {
            break;
        }
        messages.push(("user".into(), line));
        let ids = language.conversation(&messages)?;
        // Templates may write what was said otherwise than it was generated; then the conversation is read anew.
        if !ids.starts_with(&read) || read.len() == ids.len() {
            session = options.running.session(&decoder, processor.clone());
            read.clear();
        }
        session.read(&ids[read.len()..])?;
        let answer = answer(&mut session, &language, &sampler, options.max_new, &stop)?;
        read = session.ids().to_vec();
        print("\n")?;
        if options.stats {
            say(answer.stats(&session));
        }
        messages.push(("assistant".into(), answer.text));
        if stop.swap(false, Ordering::Relaxed) {
            if !terminal {
                return Err(Failure::Interrupted("interrupted".into()));
            }
            say("The answer was stopped.");
        }
    }
    Ok(())
}
