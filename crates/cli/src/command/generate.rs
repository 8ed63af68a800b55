//! `attendant generate`

use crate::arguments::{ActivationType, CacheType, Generate, Running, Sampling};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Needs, load, local};
use crate::output::{print, say};
use crate::progress::stop_flag;
use attendant_core::{Activations, Processor};
use attendant_lab::checkpoint;
use attendant_model::{Decoder, Language, Sampler, Session, exchange};
use attendant_state::{Dtype, Storage};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(crate) fn run(options: &Generate) -> Done {
    let path = checkpoint_of(&options.model)?;
    let processor = processor(options.running.threads)?;
    let start = Instant::now();
    let decoder = load(&path, &processor)?;
    let loaded = start.elapsed().as_secs_f64();
    if let (Some(ids), Some(out)) = (&options.ids, &options.out) {
        let tokens = exchange::read(ids)?;
        let (storage, activations) = (options.running.storage(), options.running.activations(ActivationType::F32));
        let new = || Session::new(&decoder, processor.clone(), storage).with_activations(activations);
        let rows = exchange::continued(&tokens, options.max_new, new)?;
        return Ok(exchange::write_ids(out, &rows)?);
    }
    let sampler = options.sampling.sampler()?;
    let language = language(&path)?;
    let most = options.context.map(|most| kept(most, &decoder)).transpose()?;
    let mut session = options.running.session(&decoder, processor, most);
    let stop = stop_flag();
    let start = Instant::now();
    let prompt = language.encode(&prompt(options)?)?;
    session.prompt(&prompt)?;
    let read = start.elapsed().as_secs_f64();
    let answer = answer(&mut session, &language, &sampler, options.max_new, &stop)?;
    print("\n")?;
    let tokens = prompt.len();
    if options.stats {
        let per_token = decoder.cache_bytes_per_token(options.running.cache.into());
        say(format!("loaded in {loaded:.2} s\n{tokens} tokens read in {read:.2} s, {:.0} tokens/s", tokens as f64 / read));
        say(format!("{}, {per_token} a token", answer.stats(&session)));
        if let Some(most) = most_memory() {
            say(format!("memory at most: {:.0} MiB", most as f64 / (1 << 20) as f64));
        }
    } else {
        say(format!("{tokens} tokens read in {read:.2} s, {}", answer.stats(&session)));
    }
    if stop.load(Ordering::Relaxed) { Err(Failure::Interrupted("interrupted".into())) } else { Ok(()) }
}

/// The most bytes of memory that this program has had, where the system tells.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

fn prompt(options: &Generate) -> Result<String, Failure> {
    let refused = |name: String, why: std::io::Error| Failure::Refused(format!("{name}: {why}"));
    match (&options.prompt_file, options.prompt.as_deref()) {
        (Some(path), _) => std::fs::read_to_string(path).map_err(|why| refused(path.display().to_string(), why)),
        (None, Some("-")) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|why| refused("standard input".into(), why))?;
            Ok(text)
        }
        (None, text) => Ok(text.unwrap_or_default().into()),
    }
}

/// What a model says about text, or that it says nothing.
pub(crate) fn language(path: &Path) -> Result<Language, Failure> {
    let tokenizer = path.join("tokenizer.json");
    if path.is_dir() && !tokenizer.exists() {
        return Err(Failure::Refused(format!("{}: got no such file, wanted a model of text", tokenizer.display())));
    }
    Ok(Language::open(path)?)
}

/// What was generated.
pub(crate) struct Answer {
    pub(crate) text: String,
    tokens: usize,
    seconds: f64,
}

impl Answer {
    pub(crate) fn stats(&self, session: &Session<'_>) -> String {
        let (state, rate) = (session.state(), self.tokens as f64 / self.seconds);
        let (bytes, position) = (state.allocated_bytes(), state.position());
        format!("{} tokens, {rate:.0} tokens/s; cache: {bytes} bytes for {position} tokens", self.tokens)
    }
}

/// The positions to keep, which may be more than the model was made for, but not more than it has.
pub(crate) fn kept(most: usize, decoder: &Decoder) -> Result<usize, Failure> {
    let plan = decoder.plan();
    match plan.embedding.positions.learned() {
        Some(learned) if most > learned => {
            Err(Failure::Refused(format!("--context: got {most}, wanted at most the {learned} positions that were learned")))
        }
        _ => {
            if most > plan.context {
                say(format!("--context: got {most}, and the model was made for {}", plan.context));
            }
            Ok(most)
        }
    }
}

/// Prints what follows, token by token, up to one that ends it, or `most`, or until `stop`.
pub(crate) fn answer(
    session: &mut Session<'_>,
    language: &Language,
    sampler: &Sampler,
    most: usize,
    stop: &AtomicBool,
) -> Result<Answer, Failure> {
    let mut stream = language.tokenizer.stream(true);
    let (mut answer, start) = (Answer { text: String::new(), tokens: 0, seconds: 0.0 }, Instant::now());
    let refused = |why: attendant_formats::Refusal| Failure::Refused(why.to_string());
    let show = |answer: &mut Answer, piece: String| -> Done {
        print(&piece)?;
        answer.text += &piece;
        Ok(())
    };
    let mut ended = false;
    while !ended && answer.tokens < most && !session.is_full() && !stop.load(Ordering::Relaxed) {
        let id = session.next(sampler)?;
        answer.tokens += 1;
        ended = language.ends.contains(&id);
        if !ended {
            show(&mut answer, stream.push(id).map_err(refused)?)?;
        }
    }
    show(&mut answer, stream.finish().map_err(refused)?)?;
    answer.seconds = start.elapsed().as_secs_f64();
    let (position, context) = (session.state().position(), session.context());
    if session.is_full() && !ended && answer.tokens < most {
        say(format!("\nit ends here: all {position} positions of --context are full"));
    } else if position > context {
        // Not refused: mechanisms that forget, and rotations that are stretched, are asked for more on purpose.
        say(format!("\nthe text has {position} tokens by now, and the model was made for {context}"));
    }
    Ok(answer)
}

impl Sampling {
    pub(crate) fn sampler(&self) -> Result<Sampler, Failure> {
        let &Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed } = self;
        let sampler = Sampler { temperature, top_k, top_p, min_p, repetition_penalty, seed };
        sampler.check()?;
        Ok(sampler)
    }
}

impl Running {
    pub(crate) fn storage(&self) -> Storage {
        Storage::paged(Storage::PAGE).dtype(self.cache.into())
    }

    /// How rows meet weights of few bits, where `usual` is what was not said otherwise.
    pub(crate) fn activations(&self, usual: ActivationType) -> Activations {
        self.activations.unwrap_or(usual).into()
    }

    /// A session that keeps `most` positions at most, in pages of equal size which these fill.
    pub(crate) fn session<'a>(&self, decoder: &'a Decoder, processor: Processor, most: Option<usize>) -> Session<'a> {
        let most = most.unwrap_or(usize::MAX);
        let page = most.div_ceil(most.div_ceil(Storage::PAGE));
        let storage = Storage::paged(page).dtype(self.cache.into());
        let activations = self.activations(ActivationType::Int8);
        Session::new(decoder, processor, storage).with_activations(activations).keeping(most)
    }
}

/// The path itself if it is a file or a checkpoint, or the latest intact checkpoint of a run; of a name, where its model is.
pub(crate) fn checkpoint_of(model: &Path) -> Result<PathBuf, Failure> {
    let folder = &*local(model, Needs::Everything)?;
    if folder.is_file() {
        return Ok(folder.into());
    }
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
            CacheType::Int4 => Dtype::Int4,
        }
    }
}

impl From<ActivationType> for Activations {
    fn from(activations: ActivationType) -> Activations {
        match activations {
            ActivationType::F32 => Activations::F32,
            ActivationType::Int8 => Activations::Int8,
        }
    }
}
