//! Attention as PyTorch computed it in float64.

use crate::case::{Case, Plane, Sequenced, Spec};
use crate::check::{assert_close, bound, machines, shapes};
use attendant_kernels::Precision;
use attendant_kernels::attention::Visible;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// Tensors of one file, all as f32.
pub(crate) struct Oracle(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Oracle {
    pub(crate) fn read(name: &str) -> Oracle {
        let path = format!("{}/tests/data/attn_{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|why| panic!("{path}: {why}"));
        let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let values = match view.dtype() {
                Dtype::F32 => view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
                Dtype::I64 => view.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
                other => panic!("{path}: {name} is {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        };
        Oracle(file.tensors().into_iter().map(tensor).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(|(_, values)| values.as_slice())
    }

    pub(crate) fn shape(&self, name: &str) -> &[usize] {
        &self.0[name].0
    }

    /// A tensor `[B, H, T, D]` as rows `[B * T, H * D]`.
    pub(crate) fn rows(&self, name: &str) -> Vec<f32> {
        let (shape, values) = &self.0[name];
        let (t, h) = (shape[2], shape[1]);
        let d = shape.get(3).copied().unwrap_or(1);
        let mut rows = Vec::with_capacity(values.len());
        for b in 0..shape[0] {
            for row in 0..t {
                for head in 0..h {
                    rows.extend_from_slice(&values[((b * h + head) * t + row) * d..][..d]);
                }
            }
        }
        rows
    }
}

/// Each file with the visibility it was made with, the position of its first query, and the keys of each sequence; the smallest files
/// first.
pub(crate) const FILES: [(&str, Visible, usize, [usize; 2]); 14] = [
    ("decode", Visible::Causal, 18, [19, 19]),
    ("cross", Visible::All, 0, [19, 19]),
    ("alibi_mha", Visible::Causal, 0, [19, 19]),
    ("big_scores", Visible::Causal, 0, [19, 19]),
    ("causal_gqa", Visible::Causal, 0, [19, 19]),
    ("causal_mqa", Visible::Causal, 0, [19, 19]),
    ("chunk_gqa", Visible::Chunk(6), 0, [19, 19]),
    ("full_mha", Visible::All, 0, [19, 19]),
    ("lengths_full", Visible::All, 0, [19, 11]),
    ("prefix_gqa", Visible::Prefix(5), 0, [19, 19]),
    ("sink_gqa", Visible::Causal, 0, [19, 19]),
    ("softcap_gqa", Visible::Causal, 0, [19, 19]),
    ("tail", Visible::Causal, 13, [19, 19]),
    ("window_gqa", Visible::Window { window: 5, keep: 0 }, 0, [19, 19]),
];

pub(crate) fn spec(oracle: &Oracle, visible: Visible) -> Spec {
    let (q, v) = (oracle.shape("q"), oracle.shape("v"));
    let keys = v[2];
    // The bias of a key before or at its query, from the last row of the table of query by key.
    let bias = oracle.get("bias").map(|bias| {
        let last_rows = (0..q[1]).flat_map(|head| &bias[(head * q[2] + q[2] - 1) * keys..][..keys]);
        (last_rows.copied().collect(), 1 - keys as isize, keys)
    });
    Spec {
        heads: q[1],
        kv_heads: v[1],
        d_qk: q[3],
        d_v: v[3],
        scale: oracle.get("scale").expect("a scale")[0],
        visible,
        softcap: oracle.get("softcap").map(|cap| cap[0]),
        bias,
        sink: oracle.get("sink").map(<[f32]>::to_vec),
        precision: Precision::F32,
    }
}

#[test]
fn the_forward_pass_agrees_with_pytorch() {
    for (name, visible, q_first, k_ends) in shapes(FILES) {
        let oracle = Oracle::read(name);
        let spec = spec(&oracle, visible);
        let (t, keys) = (oracle.shape("q")[2], oracle.shape("k")[2]);
        check_mask(&oracle, visible, q_first, k_ends);
        let (k, v) = (oracle.rows("k"), oracle.rows("v"));
        let plane = |rows: &[f32], b: usize, width: usize| {
            let size = keys * spec.kv_heads * width;
            Plane::new(rows[b * size..][..size].to_vec(), spec.kv_heads, width)
        };
        let sequences = (0..2)
            .map(|b| Sequenced {
                rows: b * t..(b + 1) * t,
                q_first,
                k_end: k_ends[b],
                keys: plane(&k, b, spec.d_qk),
                values: plane(&v, b, spec.d_v),
            })
            .collect();
        let case = Case { q: oracle.rows("q"), sequences, spec };
        for machine in machines() {
            let (out, lse) = case.forward(machine);
            assert_close(&format!("out of {name} on {:?}", machine.isa), &out, &oracle.rows("out"), bound::ATTENTION);
            assert_close(&format!("lse of {name} on {:?}", machine.isa), &lse, &oracle.rows("lse"), bound::ATTENTION);
        }
    }
}

/// The mask in the file is the one that `visible` describes.
fn check_mask(oracle: &Oracle, visible: Visible, q_first: usize, k_ends: [usize; 2]) {
    let Some(mask) = oracle.get("mask") else { return };
    let &[batch, _, queries, keys] = oracle.shape("mask") else { panic!("a mask of {:?}", oracle.shape("mask")) };
    for b in 0..batch {
        for q in 0..queries {
            for k in 0..keys {
                let spans = visible.spans(q_first + q, k_ends[b]);
                let seen = spans.iter().any(|span| span.contains(&k));
                assert_eq!(mask[(b * queries + q) * keys + k] == 1.0, seen, "query {q}, key {k} of {visible:?}");
            }
        }
    }
}
