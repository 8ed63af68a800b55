//! `attendant generate`

use crate::arguments::{ActivationType, CacheType, Generate, Running, Sampling};
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Loading, Needs, load, resolve};
use crate::output::{print, print_generated, say};
use crate::progress::stop_flag;
use attendant_core::{Activations, Error, Processor};
use attendant_lab::environment::peak_memory;
use attendant_model::{Decoder, Language, Sampler, Session, exchange};
use attendant_state::{Dtype, Storage};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(crate) fn run(options: &Generate) -> Done {
    if let (Some(ids), Some(out)) = (&options.ids, &options.out) {
        return continue_tokens(options, ids, out);
    }
    let sampler = options.sampling.sampler()?;
    let path = resolve(&options.model, Needs::Everything)?;
    // Before anything is timed, and before Ctrl-C is heard between two steps of something long only.
    let (name, text) = text(options)?;
    let processor = processor(options.running.threads)?;
    let start = Instant::now();
    let loading = Loading::start(&path, &processor);
    let language = language(&path)?;
    let prompt = prompt(options, &language, &name, &text)?;
    let decoder = loading.finish()?;
    let loaded = start.elapsed().as_secs_f64();
    let most = options.context.map(|most| kept(most, &decoder)).transpose()?;
    let stop = stop_flag();
    let mut session = options.running.session(&decoder, processor, most, &stop);
    let start = Instant::now();
    session.prompt(&prompt)?;
    let read = start.elapsed().as_secs_f64();
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted("interrupted while the prompt was read".into()));
    }
    let answer = answer(&mut session, &language, &sampler, options.max_new, &stop)?;
    print("\n")?;
    let tokens = prompt.len();
    if options.stats {
        let per_token = decoder.cache_bytes_per_token(options.running.cache.into());
        say(format!("loaded in {loaded:.2} s\n{tokens} tokens read in {read:.2} s, {:.0} tokens/s", tokens as f64 / read));
        say(format!("{}, {per_token} a token", answer.stats(&session)));
        if let Some(most) = peak_memory() {
            say(format!("memory at most: {:.0} MiB", most as f64 / (1 << 20) as f64));
        }
    } else {
        say(format!("{tokens} tokens read in {read:.2} s, {}", answer.stats(&session)));
    }
    if stop.load(Ordering::Relaxed) { Err(Failure::Interrupted("interrupted".into())) } else { Ok(()) }
}

/// Continues the rows of a file, and writes the tokens that follow to another.
fn continue_tokens(options: &Generate, ids: &Path, out: &Path) -> Done {
    let path = resolve(&options.model, Needs::Everything)?;
    let tokens = exchange::read(ids)?;
    let processor = processor(options.running.threads)?;
    let decoder = load(&path, &processor)?;
    let (storage, activations) = (options.running.storage(), options.running.activations(ActivationType::F32));
    let new = || Session::new(&decoder, processor.clone(), storage).with_activations(activations);
    let rows = exchange::continued(&tokens, options.max_new, new)?;
    Ok(exchange::write_ids(out, &rows)?)
}

/// The tokens of the text to continue, which is from the place of this name.
fn prompt(options: &Generate, language: &Language, name: &str, text: &str) -> Result<Vec<u32>, Failure> {
    let refused = |why: String| Failure::Refused(format!("{name}: {why}"));
    let ids = language.tokenizer.encode(text, true).map_err(|why| refused(why.to_string()))?;
    if ids.is_empty() {
        return Err(refused("got no tokens, wanted at least one".into()));
    }
    match options.context.filter(|most| ids.len() > *most) {
        Some(most) => Err(refused(format!("got {} tokens, wanted at most the {most} of --context", ids.len()))),
        None => Ok(ids),
    }
}

/// The text to continue, and where it is from.
fn text(options: &Generate) -> Result<(String, String), Failure> {
    let (name, text) = match (&options.prompt_file, options.prompt.as_deref()) {
        (None, Some(text)) if text != "-" => return Ok(("--prompt".into(), text.into())),
        (Some(path), _) if path.as_os_str() != "-" => (path.display().to_string(), std::fs::read_to_string(path)),
        _ => ("standard input".into(), std::io::read_to_string(std::io::stdin())),
    };
    let text = text.map_err(|why| Failure::Refused(format!("{name}: {why}")))?;
    // The end of the last line is the file's, and not the text's.
    let line = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
    Ok((name, line.unwrap_or(&text).to_owned()))
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
        print_generated(&piece)?;
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
    /// The sampler, refused by the option that cannot be used.
    pub(crate) fn sampler(&self) -> Result<Sampler, Failure> {
        let &Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed } = self;
        let sampler = Sampler { temperature, top_k, top_p, min_p, repetition_penalty, seed };
        match sampler.check() {
            Ok(()) => Ok(sampler),
            Err(Error::Config { field, why }) => Err(Failure::Refused(format!("--{}: {why}", field.replace('_', "-")))),
            Err(other) => Err(other.into()),
        }
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

    /// A session that keeps `most` positions at most, in pages of equal size which these fill, and reads until `stop`.
    pub(crate) fn session<'a>(
        &self,
        decoder: &'a Decoder,
        processor: Processor,
        most: Option<usize>,
        stop: &'a AtomicBool,
    ) -> Session<'a> {
        let most = most.unwrap_or(usize::MAX);
        let page = most.div_ceil(most.div_ceil(Storage::PAGE));
        let storage = Storage::paged(page).dtype(self.cache.into());
        let activations = self.activations(ActivationType::Int8);
        Session::new(decoder, processor, storage).with_activations(activations).keeping(most).stopped_by(stop)
    }
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
