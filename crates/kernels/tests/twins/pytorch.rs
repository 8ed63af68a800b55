//! The recurrences whose states are matrices, against what PyTorch computed in float64 from zero states: outputs, final states,
//! and every gradient.

use crate::check::{assert_close, instruction_sets};
use crate::support::{any, dot};
use crate::{delta, selective};
use attendant_kernels::Machine;
use attendant_kernels::delta::{gated_delta, gated_delta_backward};
use attendant_kernels::scan::Scan;
use attendant_kernels::selective::{SelectiveScan, selective_scan, selective_scan_backward};
use safetensors::SafeTensors;

fn tensor(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).expect("a tensor").data().as_chunks::<4>().0;
    bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// A tensor `[1, H, T, width]`, or `[1, H, T]` for a width of 1, as rows `[T, H * width]`.
fn rows(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = file.tensor(name).expect("a tensor");
    let (heads, t) = (view.shape()[1], view.shape()[2]);
    let values = tensor(file, name);
    let width = values.len() / (heads * t);
    let places = (0..t).flat_map(|row| (0..heads).map(move |head| (head * t + row) * width));
    places.flat_map(|at| values[at..at + width].iter().copied()).collect()
}

fn times(x: Vec<f32>, factor: f32) -> Vec<f32> {
    x.into_iter().map(|x| x * factor).collect()
}

/// The gradient of vectors, from that of the same divided by their lengths: what is along a vector is lost.
fn before_division(d_unit: &[f32], unit: &[f32], norms: &[f64]) -> Vec<f32> {
    let width = unit.len() / norms.len();
    let vectors = d_unit.chunks_exact(width).zip(unit.chunks_exact(width)).zip(norms);
    let one = |((d, unit), norm): ((&[f32], &[f32]), &f64)| -> Vec<f32> {
        let along = dot(d, unit);
        d.iter().zip(unit).map(|(d, unit)| ((f64::from(*d) - along * f64::from(*unit)) / norm) as f32).collect()
    };
    vectors.flat_map(one).collect()
}

#[test]
fn gated_delta_rule() {
    let file = SafeTensors::deserialize(include_bytes!("../data/gated_delta_rule.safetensors")).expect("a safetensors file");
    let rows = |name| rows(&file, name);
    let scan = Scan { heads: 2, d_k: 6, d_v: 5 };
    // The file's keys are divided by their lengths, its output by the root of the width of a key. Both are the caller's here.
    let scale = 6f32.powf(-0.5);
    let keys = rows("k");
    let norms: Vec<f64> = keys.chunks_exact(6).map(|k| dot(k, k).sqrt()).collect();
    let unit = keys.iter().enumerate().map(|(i, k)| (f64::from(*k) / norms[i / 6]) as f32).collect();
    let case = delta::Case {
        scan,
        sequences: std::iter::once(0..21).collect(),
        rows: 21,
        q: times(rows("q"), scale),
        k: unit,
        v: rows("v"),
        decay: rows("decay"),
        beta: rows("beta"),
        initial: vec![0.0; 60],
        d_out: rows("dout"),
        d_final: vec![0.0; 60],
        old: vec![0.0; 21 * 12],
    };
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        let [out, state] = case.forward(gated_delta, machine);
        let [d_q, d_k, gradients @ .., _] = case.backward(gated_delta_backward, machine, &case.checkpoints(machine));
        assert_close(&format!("out on {isa:?}"), &out, &rows("out"), 1e-6);
        assert_close(&format!("final state on {isa:?}"), &state, &tensor(&file, "final_state"), 1e-6);
        assert_close(&format!("dq on {isa:?}"), &times(d_q, scale), &rows("dq"), 1e-6);
        assert_close(&format!("dk on {isa:?}"), &before_division(&d_k, &case.k, &norms), &rows("dk"), 1e-6);
        for (name, got) in ["dv", "ddecay", "dbeta"].into_iter().zip(gradients) {
            assert_close(&format!("{name} on {isa:?}"), &got, &rows(name), 1e-6);
        }
    }
}

#[test]
fn mamba() {
    let file = SafeTensors::deserialize(include_bytes!("../data/selective_scan.safetensors")).expect("a safetensors file");
    let tensor = |name| tensor(&file, name);
    let case = selective::Case {
        scan: SelectiveScan { channels: 5, state: 4, groups: 1 },
        sequences: std::iter::once(0..18).collect(),
        rows: 18,
        x: tensor("x"),
        dt: tensor("dt"),
        a: tensor("A"),
        b: tensor("B"),
        c: tensor("C"),
        skip: Some(tensor("D")),
        initial: vec![0.0; 20],
        d_y: tensor("dout"),
        d_final: vec![0.0; 20],
        old: vec![0.0; 18 * 5],
    };
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        let [y, state] = case.forward(selective_scan, machine);
        let gradients = case.backward(selective_scan_backward, machine, &case.checkpoints(machine));
        assert_close(&format!("out on {isa:?}"), &y, &tensor("out"), 1e-6);
        assert_close(&format!("final state on {isa:?}"), &state, &tensor("final_state"), 1e-6);
        for (name, got) in ["dx", "ddt", "dA", "dB", "dC", "dD"].into_iter().zip(gradients) {
            assert_close(&format!("{name} on {isa:?}"), &got, &tensor(name), 1e-6);
        }
    }
}
