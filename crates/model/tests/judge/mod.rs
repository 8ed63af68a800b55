//! Checkpoints of published families with random weights, and what transformers computes with them in float64: what comes out here
//! is compared case by case.

use attendant_core::{Processor, Tape};
use attendant_mech::Batch;
use attendant_model::{Decoder, Inputs, Session, checkpoint, exchange};
use attendant_state::Storage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The folder has no such case.
    Absent,
    /// As close as 32 bits can be.
    Pass,
    /// Off by more, up to 2 percent of the logits' deviation: a wrong detail.
    Near(f64),
    /// Off by more than that, or another token.
    Fail(f64),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Absent => f.write_str("-"),
            Verdict::Pass => f.write_str("pass"),
            Verdict::Near(_) => f.write_str("near"),
            Verdict::Fail(_) => f.write_str("fail"),
        }
    }
}

/// What is compared.
pub(crate) const CASES: [&str; 5] = ["plain", "left", "right", "greedy", "older keys"];

/// A folder with a checkpoint and what it must give.
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: String,
    /// What its meta.json says.
    pub(crate) meta: Value,
    folder: PathBuf,
    expected: Vec<u8>,
}

/// All folders of published models that there are, by name.
pub(crate) fn families() -> Vec<Family> {
    under("tests/data")
}

/// The same of files in GGUF.
pub(crate) fn converted() -> Vec<Family> {
    under("tests/gguf")
}

fn under(folder: &str) -> Vec<Family> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders: Vec<PathBuf> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders.into_iter().map(Family::open).collect()
}

impl Family {
    fn open(folder: PathBuf) -> Family {
        let meta = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
        let expected = fs::read(folder.join("expected.safetensors")).unwrap();
        Family { name: folder.file_name().unwrap().to_string_lossy().into_owned(), meta, folder, expected }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.expected).unwrap()
    }

    fn values(&self, name: &str) -> Option<Vec<f64>> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).ok()?;
        let (four, _) = view.data().as_chunks::<4>();
        let (eight, _) = view.data().as_chunks::<8>();
        Some(match view.dtype() {
            Dtype::F32 => four.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
            Dtype::I64 => eight.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
            other => panic!("{name} is {other:?}"),
        })
    }

    /// Whether its file in GGUF gives the logits, or of an encoder, whose head these files lack, the rows.
    pub(crate) fn judge_file(&self) -> Verdict {
        let decoder = checkpoint::load(&self.folder.join("model.gguf")).unwrap_or_else(|why| panic!("{why}"));
        match self.logits(&decoder, "plain") {
            Verdict::Absent => self.rows(&decoder),
            verdict => verdict,
        }
    }

    fn rows(&self, decoder: &Decoder) -> Verdict {
        let ids = |name: &str| self.values(&format!("plain.{name}")).unwrap_or_default().iter().map(|id| *id as u32).collect();
        let (ids, types): (Vec<u32>, Vec<u32>) = (ids("input_ids"), ids("token_type_ids"));
        let mut tape = Tape::inference(Processor::new(2));
        let bound = decoder.bind(&mut tape);
        let inputs = Inputs { ids: &ids, types: &types, ..Inputs::default() };
        let rows = decoder.rows(&mut tape, &bound, &Batch::even(2, ids.len() / 2), inputs).unwrap();
        self.verdict(apart(tape.value(rows), &self.values("plain.rows").unwrap(), 0.0))
    }

    /// The verdict of every one of [`CASES`].
    pub(crate) fn judge(&self) -> [Verdict; 5] {
        let decoder = checkpoint::load(&self.folder).unwrap_or_else(|why| panic!("{why}"));
        let older = match self.older() {
            Some(decoder) => self.logits(&decoder, "plain"),
            None => Verdict::Absent,
        };
        let case = |name| self.logits(&decoder, name);
        [case("plain"), case("left"), case("right"), self.greedy(&decoder), older]
    }

    /// The same weights with a configuration in the keys of most published files.
    fn older(&self) -> Option<Decoder> {
        let config = fs::read(self.folder.join("config.hub.json")).ok()?;
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_owned();
            if name.to_string_lossy().starts_with("model") {
                fs::copy(&path, copy.path().join(name)).unwrap();
            }
        }
        fs::write(copy.path().join("config.json"), config).unwrap();
        Some(checkpoint::load(copy.path()).unwrap_or_else(|why| panic!("{}: older keys: {why}", self.name)))
    }

    /// The tokens of a case, written and read as a file.
    fn tokens(&self, case: &str) -> exchange::Tokens {
        let tensors = self.tensors();
        let tensor = |name: &str, case: &str| Some((name.to_string(), tensors.tensor(&format!("{case}.{name}")).ok()?));
        let own = ["input_ids", "attention_mask"].into_iter().filter_map(|name| tensor(name, case));
        let common = ["token_type_ids", "decoder_input_ids"].into_iter().filter_map(|name| tensor(name, "plain"));
        let views: Vec<(String, TensorView<'_>)> = own.chain(common).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), safetensors::serialize(views, None).unwrap()).unwrap();
        exchange::read(file.path()).unwrap_or_else(|why| panic!("{why}"))
    }

    fn logits(&self, decoder: &Decoder, case: &str) -> Verdict {
        let Some(want) = self.values(&format!("{case}.logits")) else { return Verdict::Absent };
        let tokens = self.tokens(case);
        let outputs = exchange::logits(decoder, Tape::inference(Processor::new(2)), &tokens)
            .unwrap_or_else(|why| panic!("{}: {why}", self.name));
        let all = &outputs[0];
        // Where there is padding, only the padded row stands in the file.
        let row = all.values.len() / tokens.rows.len();
        let first = if want.len() == row { 1 } else { 0 };
        let vocab = all.shape[2];
        let mut worst: f64 = 0.0;
        for (i, tokens) in tokens.rows.iter().enumerate().skip(first) {
            let places: Vec<usize> = if tokens.target.is_empty() { tokens.places.clone() } else { (0..all.shape[1]).collect() };
            for place in places {
                let at = i * row + place * vocab;
                let (got, want) = (&all.values[at..at + vocab], &want[at - first * row..]);
                worst = apart(got, want, worst);
            }
        }
        self.verdict(worst)
    }

    /// What the largest difference means.
    fn verdict(&self, worst: f64) -> Verdict {
        let deviation = self.meta["logits_std"].as_f64().unwrap().max(0.1);
        let own = self.meta["float32_vs_float64"].as_f64().unwrap();
        let bound = (1e-4 * deviation).max((30.0 * own).min(3e-3 * deviation));
        match worst {
            worst if worst <= bound => Verdict::Pass,
            worst if worst <= 0.02 * deviation => Verdict::Near(worst),
            worst => Verdict::Fail(worst),
        }
    }

    fn greedy(&self, decoder: &Decoder) -> Verdict {
        let Some(want) = self.values("greedy.ids") else { return Verdict::Absent };
        let tokens = self.tokens("plain");
        let count = want.len() / tokens.rows.len();
        let new = || Session::new(decoder, Processor::new(1), Storage::paged(64));
        let got = exchange::continued(&tokens, count, new).unwrap_or_else(|why| panic!("{why}"));
        let same = got.iter().flatten().zip(&want).filter(|(got, want)| f64::from(**got) == **want).count();
        if same == want.len() { Verdict::Pass } else { Verdict::Fail((want.len() - same) as f64) }
    }
}

/// The largest difference, or the largest so far.
fn apart(got: &[f32], want: &[f64], worst: f64) -> f64 {
    let apart = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs());
    apart.fold(worst, |worst, apart| if apart <= worst { worst } else { apart })
}
