//! Published models that are trained further and written again: the same tensors under the same names, and gradients of every family.

use attendant_core::{Processor, Tape};
use attendant_formats::{Access, Weights};
use attendant_mech::Batch;
use attendant_model::{Decoder, Layout, LogitRows, checkpoint};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Families that do not continue a text.
const REFUSED: [&str; 7] = ["bart", "bert", "marian", "modernbert", "roberta", "t5", "t5_v1_1"];

/// Every folder of a family, but those of [`REFUSED`].
fn folders() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let refused = |folder: &PathBuf| REFUSED.iter().any(|name| folder.ends_with(name));
    entries.filter(|path| path.is_dir() && !refused(path)).collect()
}

/// The tensors of a folder with their values in 32 bits, by name.
fn tensors(folder: &Path) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let weights = Weights::open(folder, Access::Mapped).unwrap();
    let mut tensors: Vec<_> = weights
        .iter()
        .map(|view| {
            let bits = view.to_f32().unwrap().iter().map(|x| x.to_bits()).collect();
            (view.name.to_owned(), view.shape.to_vec(), bits)
        })
        .collect();
    tensors.sort();
    tensors
}

fn bits(decoder: &Decoder) -> Vec<(String, Vec<u32>)> {
    let of = |parameter: &attendant_model::NamedTensor| {
        (parameter.name.clone(), parameter.tensor.data().iter().map(|x| x.to_bits()).collect())
    };
    decoder.parameters().iter().map(of).collect()
}

#[test]
fn what_is_read_is_written_with_the_same_names_shapes_and_bits() {
    for folder in folders() {
        let (decoder, layout) = Layout::open(&folder).unwrap();
        let copy = tempfile::tempdir().unwrap();
        layout.save(&decoder, copy.path()).unwrap();
        assert!(tensors(copy.path()) == tensors(&folder), "{}", folder.display());
        let config = |folder: &Path| -> Value { serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap() };
        let mut want = config(&folder);
        want["dtype"] = "float32".into();
        assert_eq!(config(copy.path()), want, "{}", folder.display());
    }
}

#[test]
fn every_value_that_training_moves_comes_back() {
    for folder in folders() {
        let (mut decoder, layout) = Layout::open(&folder).unwrap();
        for (i, tensor) in decoder.parameters_mut().enumerate() {
            tensor.data_mut().iter_mut().enumerate().for_each(|(j, x)| *x += 1e-3 * ((i + 7 * j) as f32).sin());
        }
        let copy = tempfile::tempdir().unwrap();
        layout.save(&decoder, copy.path()).unwrap();
        let back = checkpoint::load(copy.path()).unwrap();
        let inexact: Vec<&str> = layout.inexact(&decoder).iter().map(|parameter| parameter.name.as_str()).collect();
        for (got, want) in bits(&back).iter().zip(&bits(&decoder)) {
            assert!(got == want || inexact.contains(&want.0.as_str()), "{}: {}", folder.display(), want.0);
        }
        assert!(inexact.iter().all(|name| name.contains("norm")), "{}: {inexact:?}", folder.display());
    }
}

/// Mean loss of predicting some tokens.
fn loss(tape: &mut Tape, decoder: &Decoder) -> (f32, Vec<Option<Vec<f32>>>) {
    let ids: Vec<u32> = (0..13).map(|i| 3 + i * i % 29).collect();
    let bound = decoder.bind(tape);
    let logits = decoder.forward(tape, &bound, &Batch::even(1, 12), &ids[..12], &mut [], LogitRows::All).unwrap();
    let loss = tape.cross_entropy(logits, &ids[1..]);
    let value = tape.value(loss)[0];
    if !tape.recording() {
        return (value, Vec::new());
    }
    tape.backward(loss);
    let gradients = bound.vars().iter().map(|&var| tape.take_gradient(var).map(|gradient| gradient.to_vec())).collect();
    (value, gradients)
}

#[test]
fn weights_of_16_bits_give_the_bits_of_the_same_weights_in_32() {
    let mut some = false;
    for folder in folders() {
        let (wide, packed) = (Layout::open(&folder).unwrap().0, checkpoint::load(&folder).unwrap());
        some |= packed.parameters().iter().any(|parameter| parameter.tensor.packed().is_some());
        let [wide, packed] = [wide, packed].map(|decoder| loss(&mut Tape::inference(Processor::new(1)), &decoder).0.to_bits());
        assert_eq!(packed, wide, "{}", folder.display());
    }
    assert!(some);
}

#[test]
fn a_step_down_the_gradient_lowers_the_loss_of_every_family() {
    for folder in folders() {
        let (mut decoder, _) = Layout::open(&folder).unwrap();
        let (before, gradients) = loss(&mut Tape::new(Processor::new(1)), &decoder);
        let squares: f32 = gradients.iter().flatten().flatten().map(|x| x * x).sum();
        // So short that the loss falls by what the gradient says, up to a fifth.
        let rate = 2e-3 / squares;
        for (tensor, gradient) in decoder.parameters_mut().zip(&gradients) {
            let pairs = tensor.data_mut().iter_mut().zip(gradient.iter().flatten());
            pairs.for_each(|(x, slope)| *x -= rate * slope);
        }
        let (after, _) = loss(&mut Tape::inference(Processor::new(1)), &decoder);
        let fell = (before - after) / 2e-3;
        assert!((fell - 1.0).abs() < 0.2, "{}: fell by {fell} of what was predicted", folder.display());
    }
}

#[test]
fn models_that_do_not_continue_a_text_are_refused_with_the_reason() {
    for name in REFUSED {
        let why = Layout::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap_err().to_string();
        assert!(why.contains(": cannot be trained to predict a text: it"), "{why}");
    }
}
