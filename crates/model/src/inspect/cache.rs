//! Bytes of what layers keep.

use attendant_state::{Dtype, Growth, Plane, StateLayout, Storage};
use serde::Serialize;

/// Bytes of what all layers keep, in every type that a store has.
#[derive(Clone, Debug, Serialize)]
pub struct Cache {
    /// Values that one more token adds before any ring is full.
    pub values_per_token: f64,
    /// Values that one more token adds once every ring is full.
    pub values_per_token_later: f64,
    /// Bytes that do not depend on the length.
    pub constant_bytes: usize,
    /// The contexts that bytes are stated for.
    pub contexts: Vec<usize>,
    /// One entry for each type.
    pub dtypes: Vec<CacheBytes>,
}

/// Bytes in one type.
#[derive(Clone, Debug, Serialize)]
pub struct CacheBytes {
    /// The type.
    pub dtype: &'static str,
    /// Bytes that one more token adds before any ring is full.
    pub per_token: f64,
    /// Bytes after each context.
    pub at: Vec<usize>,
    /// The longest context that fits and that the model can have, where memory was given and there is one.
    pub fits: Option<usize>,
}

/// What one step of decoding reads.
#[derive(Clone, Debug, Serialize)]
pub struct Decode {
    /// Tokens before it.
    pub context: usize,
    /// Bytes of weights.
    pub weight_bytes: f64,
    /// Bytes of the cache in bf16, if every row that is kept is read once.
    pub cache_bytes: usize,
    /// Tokens a second that the given bandwidth allows, at most.
    pub tokens_per_second: Option<f64>,
}

/// The longest context whose bytes are counted, and fit in 64 bits whatever plan passes its checks.
pub const MOST_TOKENS: usize = 1 << 37;

/// Types that reports are made for: those of equal size are one, the last of them.
pub fn dtypes() -> impl Iterator<Item = Dtype> {
    const ROW: usize = 256;
    let sizes = Dtype::ALL.iter().map(|dtype| dtype.row_bytes(1, ROW));
    let next = Dtype::ALL.iter().map(|dtype| dtype.row_bytes(1, ROW)).skip(1).map(Some).chain([None]);
    Dtype::ALL.iter().zip(sizes.zip(next)).filter(|(_, (size, next))| Some(*size) != *next).map(|(dtype, _)| *dtype)
}

/// Bytes of the rows that are kept after `tokens` tokens, without room for more; a source is as long as what is written of it.
pub fn bytes(layouts: &[StateLayout], tokens: usize, dtype: Dtype) -> usize {
    let storage = Storage::paged(1).dtype(dtype);
    layouts.iter().map(|layout| layout.bytes(tokens, tokens, storage)).sum()
}

/// Rows that a plane gains when `tokens` more tokens come after `position`, and as many of the source.
pub fn new_rows(plane: &Plane, position: usize, tokens: usize) -> usize {
    match plane.growth {
        Growth::PerToken | Growth::Ring { .. } | Growth::PerSource => tokens,
        Growth::PerBlock { tokens: block } => (position + tokens) / block - position / block,
        Growth::Constant => 0,
    }
}

impl Cache {
    /// Whether no layer keeps anything, as those of an encoder.
    pub fn keeps_nothing(&self) -> bool {
        self.values_per_token == 0.0 && self.constant_bytes == 0
    }

    /// `memory`: bytes that the cache may take. `most`: positions that the model has, where they are counted.
    pub fn new(layouts: &[StateLayout], contexts: &[usize], memory: Option<f64>, most: Option<usize>) -> Cache {
        let values = |rings: bool| {
            let planes = layouts.iter().flat_map(StateLayout::planes);
            let counted = planes.filter(|plane| rings || !matches!(plane.growth, Growth::Ring { .. }));
            // Not `sum`, which makes nothing of nothing to -0.
            counted.map(values_per_token).fold(0.0, |sum, values| sum + values)
        };
        let of = |dtype: Dtype| CacheBytes {
            dtype: dtype.name(),
            per_token: layouts.iter().map(|layout| layout.bytes_per_token(dtype)).fold(0.0, |sum, bytes| sum + bytes),
            at: contexts.iter().map(|&tokens| bytes(layouts, tokens, dtype)).collect(),
            fits: memory.and_then(|memory| longest(layouts, dtype, memory).into_iter().chain(most).min()),
        };
        Cache {
            values_per_token: values(true),
            values_per_token_later: values(false),
            constant_bytes: layouts.iter().map(StateLayout::constant_bytes).sum(),
            contexts: contexts.to_vec(),
            dtypes: dtypes().map(of).collect(),
        }
    }
}

/// Values that one more token adds before a ring is full.
fn values_per_token(plane: &Plane) -> f64 {
    match plane.growth {
        Growth::PerToken | Growth::Ring { .. } => plane.width as f64,
        Growth::PerBlock { tokens } => plane.width as f64 / tokens as f64,
        Growth::Constant | Growth::PerSource => 0.0,
    }
}

/// The most tokens whose rows fit; none where no length is too long.
fn longest(layouts: &[StateLayout], dtype: Dtype, memory: f64) -> Option<usize> {
    let fits = |tokens: usize| bytes(layouts, tokens, dtype) as f64 <= memory;
    if fits(MOST_TOKENS) {
        return None;
    }
    let (mut low, mut high) = (0, MOST_TOKENS);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

impl Decode {
    /// Of a step after `context` tokens.
    pub fn new(layouts: &[StateLayout], context: usize, weight_bytes: f64, bandwidth: Option<f64>) -> Decode {
        let cache_bytes = bytes(layouts, context, Dtype::Bf16);
        let tokens_per_second = bandwidth.map(|bandwidth| bandwidth / (weight_bytes + cache_bytes as f64));
        Decode { context, weight_bytes, cache_bytes, tokens_per_second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layouts() -> Vec<StateLayout> {
        let plane = |name, growth| Plane::new(name, 1024, growth).heads(8);
        let full = StateLayout::new([plane("k", Growth::PerToken), plane("v", Growth::PerToken)]);
        let near = StateLayout::new([plane("k", Growth::Ring { window: 511, keep: 0 })]);
        vec![full.clone(), full, near]
    }

    #[test]
    fn the_longest_context_is_the_last_that_fits() {
        for dtype in dtypes() {
            for memory in [1e3, 1e6, 3.7e9] {
                let tokens = longest(&layouts(), dtype, memory).unwrap();
                assert!(tokens == 0 || bytes(&layouts(), tokens, dtype) as f64 <= memory);
                assert!(bytes(&layouts(), tokens + 1, dtype) as f64 > memory);
            }
        }
        let constant = [StateLayout::new([Plane::new("state", 64, Growth::Constant)])];
        assert_eq!(longest(&constant, Dtype::F32, 1e6), None);
    }

    #[test]
    fn no_context_is_longer_than_the_model_can_have() {
        let fits = |memory, most| Cache::new(&layouts(), &[], Some(memory), most).dtypes[0].fits.unwrap();
        assert_eq!((fits(1e9, Some(512)), fits(0.0, Some(512))), (512, 0));
        assert!(fits(1e9, None) > 512);
        assert_eq!(Cache::new(&[], &[], Some(1e9), Some(512)).dtypes[0].fits, Some(512));
    }

    #[test]
    fn values_and_bytes_are_of_the_rows_that_stay() {
        let cache = Cache::new(&layouts(), &[100, 4096], None, None);
        assert_eq!((cache.values_per_token, cache.values_per_token_later), (5.0 * 1024.0, 4.0 * 1024.0));
        assert_eq!(cache.dtypes[0].at, [4 * 1024 * 5 * 100, 4 * 1024 * (4 * 4096 + 511)]);
    }

    #[test]
    fn types_of_equal_size_are_one() {
        let names: Vec<&str> = dtypes().map(Dtype::name).collect();
        assert!(names.starts_with(&["f32", "bf16", "int8"]), "{names:?}");
    }
}
