//! What the same heads would keep if they shared keys otherwise.

use super::layer::{Layers, Mixer};
use attendant_state::{Dtype, Growth, Storage};
use serde::Serialize;

/// Key heads of the grouped alternative, as Llama 3, Mistral and Qwen have; fewer where they do not divide the heads.
const GROUPS: usize = 8;

/// Another way to keep keys and values.
#[derive(Clone, Debug, Serialize)]
pub struct Alternative {
    /// Its name.
    pub name: &'static str,
    /// What it keeps of a token in each layer, in words.
    pub rule: &'static str,
    /// Values that one more token adds, all layers together.
    pub values_per_token: usize,
    /// Bytes in bf16 at the model's own context, windows and states as they are.
    pub bytes: usize,
}

/// The shape of one mechanism's keys and values.
struct Heads {
    count: usize,
    d_qk: usize,
    d_v: usize,
}

impl Heads {
    /// The most groups of equal size, up to [`GROUPS`].
    fn groups(&self) -> usize {
        (1..=GROUPS).rev().find(|groups| self.count.is_multiple_of(*groups)).unwrap_or(1)
    }
}

type Width = fn(&Heads) -> usize;

const WAYS: [(&str, &str, Width); 4] = [
    ("MHA", "a key and a value for every query head", |heads| heads.count * (heads.d_qk + heads.d_v)),
    ("GQA", "a key and a value for each of up to 8 groups of heads", |heads| heads.groups() * (heads.d_qk + heads.d_v)),
    ("MQA", "one key and one value", |heads| heads.d_qk + heads.d_v),
    ("MLA", "a latent of four head widths and a rotated key of half a head (2405.04434, section 2.1.3)", |heads| {
        4 * heads.d_v + heads.d_v / 2
    }),
];

/// What the heads of these layers would keep in each way; layers whose heads are not known stay as they are.
pub fn all(layers: &Layers, context: usize) -> Vec<Alternative> {
    let way = |(name, rule, width): (&'static str, &'static str, Width)| {
        let mut alternative = Alternative { name, rule, values_per_token: 0, bytes: 0 };
        for (count, mixer) in layers.counted() {
            let (values, bytes) = one(mixer, width, context);
            alternative.values_per_token += count * values;
            alternative.bytes += count * bytes;
        }
        alternative
    };
    WAYS.into_iter().map(way).collect()
}

/// Values a token and bytes of one layer.
fn one(mixer: &Mixer, width: Width, context: usize) -> (usize, usize) {
    let heads = mixer.heads.zip(mixer.d_qk.zip(mixer.d_v)).map(|(count, (d_qk, d_v))| Heads { count, d_qk, d_v });
    let growing = mixer.layout.planes().iter().find(|plane| matches!(plane.growth, Growth::PerToken | Growth::Ring { .. }));
    let storage = Storage::paged(1).dtype(Dtype::Bf16);
    match heads.zip(growing) {
        Some((heads, plane)) => {
            let row = attendant_state::Plane { width: width(&heads), heads: 1, ..*plane };
            (row.width, row.bytes(context, context, storage))
        }
        None => (0, mixer.layout.bytes(context, context, storage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DeepSeek-V2's own words: its cache is that of GQA with 2.25 groups (2405.04434, table 1).
    #[test]
    fn latent_attention_is_two_and_a_quarter_groups() {
        let heads = Heads { count: 128, d_qk: 128, d_v: 128 };
        let width = |name: &str| WAYS.iter().find(|(known, ..)| *known == name).map(|(.., width)| width(&heads)).unwrap();
        assert_eq!((width("MLA"), width("MQA"), width("MHA")), (576, 256, 32_768));
        assert_eq!(width("MLA") as f64 / width("MQA") as f64, 2.25);
    }

    #[test]
    fn groups_divide_the_heads() {
        let groups = |count| Heads { count, d_qk: 64, d_v: 64 }.groups();
        assert_eq!([1, 4, 9, 32, 71, 100].map(groups), [1, 4, 3, 8, 1, 5]);
    }
}
