//! `attendant generate`

use crate::arguments::{CacheType, Generate};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::output::{print, say};
use crate::progress::stop_flag;
use attendant_lab::{checkpoint, vocabulary::Vocabulary};
use attendant_model::{Sampler, Session, checkpoint as model_checkpoint, exchange};
use attendant_state::{Dtype, Storage};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(crate) fn run(options: &Generate) -> Done {
    let folder = checkpoint_of(&options.model)?;
    let decoder = model_checkpoint::load(&folder)?;
    if let (Some(ids), Some(out)) = (&options.ids, &options.out) {
        let tokens = exchange::read(ids)?;
        let rows = exchange::continued(&decoder, &processor(options.threads)?, &tokens, options.max_new)?;
        return Ok(exchange::write_ids(out, &rows)?);
    }
    let tokenizer = folder.join("tokenizer.json");
    if !tokenizer.exists() {
        return Err(Failure::Refused(format!("{}: got no such file, wanted a model of text", tokenizer.display())));
    }
    let vocabulary = Vocabulary::from_file(&tokenizer)?;
    let sampler = Sampler { temperature: options.temperature, top_k: options.top_k, top_p: options.top_p, seed: options.seed };
    sampler.check()?;
    let processor = processor(options.threads)?;
    let stop = stop_flag();
    let mut session = Session::new(&decoder, processor, Storage::paged(256).dtype(options.cache.into()));
    session.prompt(&vocabulary.encode(options.prompt.as_deref().unwrap_or_default())?)?;
    let (mut ids, mut shown) = (Vec::new(), String::new());
    let start = Instant::now();
    while ids.len() < options.max_new && !stop.load(Ordering::Relaxed) {
        ids.push(session.next(&sampler)?);
        let text = vocabulary.decode(&ids)?;
        // A character may need several tokens; until it is whole it decodes to a replacement character.
        if let Some(new) = text.strip_prefix(&shown)
            && !new.ends_with('\u{fffd}')
        {
            print(new)?;
            shown = text;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    print("\n")?;
    let state = session.state();
    say(format!(
        "{} tokens, {:.0} tokens/s; cache: {} bytes for {} tokens",
        ids.len(),
        ids.len() as f64 / seconds,
        state.allocated_bytes(),
        state.position()
    ));
    if stop.load(Ordering::Relaxed) { Err(Failure::Interrupted("interrupted".into())) } else { Ok(()) }
}

/// The folder itself if it is a checkpoint, or the latest intact checkpoint of a run.
fn checkpoint_of(folder: &Path) -> Result<PathBuf, Failure> {
    if folder.join("config.json").exists() {
        checkpoint::verify(folder)?;
        return Ok(folder.into());
    }
    let missing = || Failure::Refused(format!("{}: got no checkpoint there, wanted a run or a checkpoint", folder.display()));
    Ok(checkpoint::latest(folder)?.ok_or_else(missing)?.1)
}

impl From<CacheType> for Dtype {
    fn from(cache: CacheType) -> Dtype {
        match cache {
            CacheType::F32 => Dtype::F32,
            CacheType::Bf16 => Dtype::Bf16,
            CacheType::F16 => Dtype::F16,
            CacheType::Int8 => Dtype::Int8,
        }
    }
}
