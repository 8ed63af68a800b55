//! `attendant chat`

use crate::arguments::Chat;
use crate::command::generate::{answer, kept, language};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Loading, Needs, resolve};
use crate::output::{ask, print, say};
use crate::progress::{stop_flag, waiting};
use attendant_core::{Error, Result};
use attendant_model::Language;
use std::io::{BufRead, ErrorKind, IsTerminal};
use std::ops::Range;
use std::sync::atomic::Ordering;

pub(crate) fn run(options: &Chat) -> Done {
    let sampler = options.sampling.sampler()?;
    let path = resolve(&options.model, Needs::Everything)?;
    let processor = processor(options.running.threads)?;
    let loading = Loading::start(&path, &processor);
    let language = language(&path)?;
    let mut messages: Vec<Message> = options.system.iter().map(|text| ("system".into(), text.clone())).collect();
    // Before anyone types: a model that has no template is no partner.
    language.conversation(&[("user".into(), "Hello".into())])?;
    let decoder = loading.finish()?;
    let most = options.context.map_or(Ok(decoder.plan().context), |most| kept(most, &decoder))?;
    let (stop, mut read) = (stop_flag(), Vec::new());
    let new = || options.running.session(&decoder, processor.clone(), Some(most), &stop);
    let mut session = new();
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        say("An empty line, Ctrl-D or Ctrl-C ends the conversation; Ctrl-C during an answer, the answer.");
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            ask("> ");
        }
        let line = match waiting(|| lines.next()) {
            None => break,
            Some(Ok(line)) if line.trim().is_empty() => match terminal {
                true => break,
                // A file may have blank lines between those that are something to say.
                false => continue,
            },
            Some(Ok(line)) => line,
            // The line was read; whoever types can say it otherwise.
            Some(Err(why)) if terminal && why.kind() == ErrorKind::InvalidData => {
                say(format!("standard input: {why}"));
                continue;
            }
            Some(Err(why)) => return Err(Failure::Refused(format!("standard input: {why}"))),
        };
        messages.push(("user".into(), line));
        let (forgotten, ids) = match fitted(&language, &messages, most, options.max_new) {
            Ok(fitted) => fitted,
            // Whoever types can say it shorter.
            Err(why) if terminal => {
                say(why.to_string());
                messages.pop();
                continue;
            }
            Err(why) => return Err(why.into()),
        };
        if !forgotten.is_empty() {
            say(format!("{} old turns are forgotten: they and an answer exceed {most} positions", forgotten.len()));
            messages.drain(forgotten);
        }
        // Templates may write what was said otherwise than it was generated; then the conversation is read anew.
        if !ids.starts_with(&read) || read.len() == ids.len() {
            session = new();
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

/// A role and what it said.
type Message = (String, String);

/// The tokens of a conversation that leaves room among `most` positions for an answer, which is as many tokens as one may have, or a
/// quarter of all; and the turns that it leaves out for that, the oldest after what the model was told before.
fn fitted(language: &Language, messages: &[Message], most: usize, answer: usize) -> Result<(Range<usize>, Vec<u32>)> {
    let room = answer.min(most.div_ceil(4));
    let first = messages.iter().take_while(|(role, _)| role == "system").count();
    let mut forgotten = first..first;
    loop {
        let left = [&messages[..first], &messages[forgotten.end..]].concat();
        let ids = language.conversation(&left)?;
        if ids.len() + room <= most {
            return Ok((forgotten, ids));
        }
        // A question and its answer go together: templates want them in turn.
        forgotten.end += 2;
        if forgotten.end >= messages.len() {
            let why = format!("got {} tokens, wanted at most {}, {room} of {most} being an answer's", ids.len(), most - room);
            return Err(Error::config("prompt", why));
        }
    }
}
