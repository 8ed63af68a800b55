//! What an observer is told is what the layer did.

use attendant_core::{Processor, Random, Tape, Tensor};
use attendant_mech::mechanisms::{dsa::Dsa, gqa::Gqa, mla::Mla};
use attendant_mech::{Batch, Bound, Context, Init, Mechanism, Observer, Registered, Size, preset};
use attendant_state::{SequenceState, Storage};
use std::sync::Arc;

const SIZE: Size = Size { d_model: 16, heads: 4, d_head: 8 };
const ROWS: usize = 21;

fn tensors(mechanism: &dyn Mechanism) -> Vec<(&'static str, Arc<Tensor>)> {
    let tensor = |parameter: attendant_mech::Parameter| {
        let mut tensor = Tensor::zeros(&parameter.shape);
        match parameter.init {
            Init::Constant(value) => tensor.data_mut().fill(value),
            Init::Normal(deviation) => Random::new(7, parameter.name).fill_normal(tensor.data_mut(), deviation),
        }
        (parameter.name, Arc::new(tensor))
    };
    mechanism.params().into_iter().map(tensor).collect()
}

fn text() -> Vec<f32> {
    let mut x = vec![0.0; ROWS * SIZE.d_model];
    Random::new(7, "x").fill_normal(&mut x, 1.0);
    x
}

/// What is told of one sequence in chunks, and the outputs.
fn observe(mechanism: &dyn Mechanism, chunks: &[usize]) -> (Vec<Observer>, Vec<f32>) {
    let (parameters, x) = (tensors(mechanism), text());
    let mut state = SequenceState::new(&[mechanism.state()], Storage::paged(3));
    let (mut observers, mut outputs, mut first) = (Vec::new(), Vec::new(), 0);
    for &rows in chunks {
        let mut tape = Tape::inference(Processor::new(1));
        let batch = Batch::new([(rows, first)]);
        let width = SIZE.d_model;
        let rows_of_x = tape.constant(rows, width, &x[first * width..(first + rows) * width]);
        let bound = Bound::bind(&mut tape, parameters.iter().map(|(name, tensor)| (*name, tensor)));
        let mut observer = Observer::default();
        let mut states = [&mut state];
        let cx = Context::new(&mut tape, &batch, mechanism.state(), &mut states, 0, None).unwrap();
        let mut cx = cx.observed(&mut observer);
        let y = mechanism.mix(&mut cx, &bound, rows_of_x).unwrap();
        outputs.extend_from_slice(cx.value(y));
        cx.commit();
        state.advance(rows);
        observers.push(observer);
        first += rows;
    }
    (observers, outputs)
}

#[track_caller]
fn close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    let apart = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5, "{apart} apart");
}

/// The maps of a whole text have, at their last row, those of a decode step: over planes, rings and latents, expanded and absorbed.
#[test]
fn a_decode_step_sees_what_a_whole_text_sees() {
    for name in ["gqa", "swa", "mla", "diff", "dsa"] {
        let mechanism = preset(name, SIZE).unwrap().mechanism;
        let (whole, _) = observe(&*mechanism, &[ROWS]);
        let (steps, _) = observe(&*mechanism, &[ROWS - 1, 1]);
        for (map, step) in whole[0].maps.iter().zip(&steps[1].maps) {
            assert_eq!((map.sequence, map.rows, map.keys, step.rows, step.keys), (0, ROWS, ROWS, 1, ROWS), "{name}");
            let last = map.probs.chunks(ROWS * ROWS).flat_map(|head| &head[(ROWS - 1) * ROWS..]).copied().collect::<Vec<_>>();
            close(&step.probs, &last);
        }
        let heads: usize = whole[0].maps.iter().map(|map| map.heads).sum();
        assert_eq!((heads, whole[0].maps.len()), (SIZE.heads, steps[1].maps.len()), "{name}");
        for map in &whole[0].maps {
            for (i, row) in map.probs.chunks(ROWS).enumerate() {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}: row {i}");
                assert!(row[i % ROWS + 1..].iter().all(|&prob| prob == 0.0), "{name}: row {i} sees later keys");
            }
        }
    }
}

#[test]
fn probabilities_are_those_that_made_the_output() {
    let mechanism = Gqa { d_model: SIZE.d_model, ..Gqa::preset("mqa", Size { heads: 1, ..SIZE }) };
    let (observers, outputs) = observe(&mechanism, &[ROWS]);
    let (parameters, x) = (tensors(&mechanism), text());
    let matrix = |name| parameters.iter().find(|(known, _)| *known == name).unwrap().1.data();
    let product = |x: &[f32], weight: &[f32]| -> Vec<f32> {
        weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    };
    let values: Vec<Vec<f32>> = x.chunks(SIZE.d_model).map(|row| product(row, matrix("v_proj"))).collect();
    let mixed = |probs: &[f32]| -> Vec<f32> {
        (0..SIZE.d_head).map(|i| probs.iter().zip(&values).map(|(prob, value)| prob * value[i]).sum()).collect()
    };
    let want: Vec<f32> =
        observers[0].maps[0].probs.chunks(ROWS).flat_map(|probs| product(&mixed(probs), matrix("o_proj"))).collect();
    close(&outputs, &want);
}

#[test]
fn a_sparse_attention_sees_as_many_keys_as_it_may() {
    let mechanism = Dsa { top: 4, ..Dsa::preset("dsa", SIZE) };
    let (observers, _) = observe(&mechanism, &[ROWS]);
    for (i, row) in observers[0].maps[0].probs.chunks(ROWS).enumerate() {
        assert_eq!(row.iter().filter(|&&prob| prob > 0.0).count(), 4.min(i % ROWS + 1), "row {i}");
    }
}

#[test]
fn latents_are_shown() {
    let mechanism = Mla::preset("mla", SIZE);
    let (observers, _) = observe(&mechanism, &[ROWS]);
    let shown: Vec<_> = observers[0].rows.iter().map(|rows| (rows.name, rows.width, rows.values.len())).collect();
    let (r, both) = (mechanism.r_kv, mechanism.r_kv + mechanism.d_rope);
    assert_eq!(shown, [("kv_a", both, ROWS * both), ("latent", r, ROWS * r)]);
}
