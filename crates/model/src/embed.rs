//! A vector for a text: the rows that a model makes of its tokens, pooled as the model's files say (Reimers & Gurevych 2019,
//! 1908.10084).

mod pooling;

pub use pooling::Pooling;

use crate::checkpoint::{self, CheckpointError, content};
use crate::decoder::Decoder;
use crate::language::Language;
use attendant_core::{Processor, Tape};
use attendant_formats::{Config, Refusal, Tokenizer, quoted};
use attendant_mech::Batch;
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

/// Rows of one call of the model, unless a single text has more.
const ROWS: usize = 1024;
/// The most tokens of a text that a file may name.
const LONGEST: usize = 1 << 24;
/// A vector that is shorter is left as it is rather than divided by its length.
const SHORTEST: f64 = 1e-12;
/// The most modules that a file may name.
const MODULES: usize = 16;

/// A model that makes vectors of texts.
#[derive(Debug)]
pub struct Embedder {
    decoder: Decoder,
    /// Texts into tokens, whole and cut off.
    tokenizers: [Tokenizer; 2],
    most: usize,
    after: After,
    lowercase: bool,
}

/// What follows the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// How rows become one; what several give stands side by side.
    pub poolings: Vec<Pooling>,
    /// Whether vectors get the length 1.
    pub normalised: bool,
}

/// What a text became.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// Tokens that were read, with those around the text.
    pub tokens: usize,
    /// Whether the text had more of them.
    pub cut: bool,
    /// The vector.
    pub values: Vec<f32>,
}

impl Embedder {
    /// Reads a model, and beside it modules.json, which says what follows its layers, the configuration of the pooling that it names,
    /// and sentence_bert_config.json, which says how much of a text is read. Without them rows are averaged. `most` is the most tokens
    /// of a text instead.
    ///
    /// # Errors
    /// If a file cannot be read, something follows the layers that is not there, or `most` is more than the model has positions, or
    /// leaves no token of a text.
    pub fn open(path: &Path, most: Option<usize>) -> Result<Embedder> {
        let after = After::open(path)?;
        let (said, lowercase) = said(&path.join("sentence_bert_config.json"))?;
        let whole = Language::open(path)?.tokenizer;
        let decoder = checkpoint::load(path)?;
        let plan = decoder.plan();
        let there = plan.embedding.positions.learned().unwrap_or(usize::MAX).min(plan.context);
        if let Some(most) = most.filter(|most| *most > there) {
            return Err(content(path, format!("length: got {most}, wanted at most the model's {there} positions")));
        }
        let most = most.or(said).unwrap_or(there).min(there);
        let cut = whole.clone().cut_to(most).map_err(|why| content(path, why))?;
        Ok(Embedder { decoder, tokenizers: [whole, cut], most, after, lowercase })
    }

    /// The most tokens of a text that are read, with those around it.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What follows the layers.
    pub fn after(&self) -> &After {
        &self.after
    }

    /// Values of a vector.
    pub fn width(&self) -> usize {
        self.after.poolings.len() * self.decoder.plan().d_model
    }

    /// A vector for each text, the same whatever texts are beside it: they lie one behind the other, and none is filled up.
    ///
    /// # Errors
    /// If the tokenizer or the model refuses a text.
    pub fn embed(&self, processor: &Processor, texts: &[impl AsRef<str>]) -> attendant_core::Result<Vec<Embedded>> {
        let tokens = texts.iter().map(|text| self.tokens(text.as_ref())).collect::<attendant_core::Result<Vec<_>>>()?;
        let mut tape = Tape::inference(processor.clone());
        let mut embedded = Vec::with_capacity(texts.len());
        while embedded.len() < tokens.len() {
            let left = &tokens[embedded.len()..];
            let ends = left.iter().scan(0, |rows, (ids, _)| {
                *rows += ids.len();
                Some(*rows)
            });
            let batch = &left[..ends.take_while(|end| *end <= ROWS).count().max(1)];
            tape.clear();
            let bound = self.decoder.bind(&mut tape);
            let ids: Vec<u32> = batch.iter().flat_map(|(ids, _)| ids).copied().collect();
            let lengths = Batch::new(batch.iter().map(|(ids, _)| (ids.len(), 0)));
            let rows = self.decoder.rows(&mut tape, &bound, &lengths, &ids)?;
            let (values, width) = (tape.value(rows), tape.width(rows));
            for ((ids, cut), sequence) in batch.iter().zip(lengths.sequences()) {
                let rows = &values[sequence.rows.start * width..sequence.rows.end * width];
                embedded.push(Embedded { tokens: ids.len(), cut: *cut, values: self.after.pooled(rows, width) });
            }
        }
        Ok(embedded)
    }

    /// The tokens of a text, and whether some were cut off.
    fn tokens(&self, text: &str) -> attendant_core::Result<(Vec<u32>, bool)> {
        let refuse = |why: Refusal| attendant_core::Error::config("text", why.to_string());
        let text = if self.lowercase { text.to_lowercase() } else { text.to_owned() };
        let [whole, cut] = &self.tokenizers;
        let ids = whole.encode(&text, true).map_err(refuse)?;
        if ids.is_empty() {
            return Err(attendant_core::Error::config(
                "text",
                format!("got no tokens in {}, wanted at least one", quoted(&text)),
            ));
        }
        match ids.len() <= self.most {
            true => Ok((ids, false)),
            false => Ok((cut.encode(&text, true).map_err(refuse)?, true)),
        }
    }
}

impl After {
    /// What modules.json says, or a mean if there is none.
    fn open(folder: &Path) -> Result<After> {
        let path = folder.join("modules.json");
        let mut after = After { poolings: Vec::new(), normalised: false };
        if !path.exists() {
            return Ok(After { poolings: vec![Pooling::Mean], ..after });
        }
        for module in Config::open_list(&path, MODULES)? {
            let refuse = |why: Refusal| content(&path, why);
            let (class, place) = (module.get("type"), module.get("path"));
            let (name, within) = (class.text().map_err(refuse)?, place.text().map_err(refuse)?);
            match name.rsplit('.').next() {
                Some("Transformer") if within.is_empty() => {}
                Some("Transformer") => return Err(refuse(place.wanted("the folder itself"))),
                Some("Pooling") if within.is_empty() || within.contains(['/', '\\', ':']) || within.starts_with('.') => {
                    return Err(refuse(place.wanted("a folder in that of modules.json")));
                }
                Some("Pooling") => after.poolings = Pooling::read(&folder.join(within).join("config.json"))?,
                Some("Normalize") => after.normalised = true,
                _ => return Err(refuse(class.wanted("Transformer, Pooling or Normalize"))),
            }
        }
        match after.poolings.is_empty() {
            true => Err(content(&path, "got no Pooling, wanted one")),
            false => Ok(after),
        }
    }

    /// The vector of a text's rows `[n, width]`.
    fn pooled(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut values: Vec<f32> = self.poolings.iter().flat_map(|pooling| pooling.of(rows, width)).collect();
        let length = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if self.normalised && length > SHORTEST {
            values.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        values
    }
}

/// How many tokens of a text are read, if the file says it, and whether in small letters.
fn said(path: &Path) -> Result<(Option<usize>, bool)> {
    if !path.exists() {
        return Ok((None, false));
    }
    let config = Config::open(path)?;
    let refuse = |why: Refusal| content(path, why);
    let most = config.get("max_seq_length").given().map(|field| field.size(1..=LONGEST)).transpose().map_err(refuse)?;
    let lowercase = config.get("do_lower_case").given().map(|field| field.flag()).transpose().map_err(refuse)?;
    Ok((most, lowercase.unwrap_or(false)))
}
