//! What other engines allocate for one sequence, where their rule differs from keeping what the planes declare.
//!
//! Rules are theirs as of 2026-11; each names the file that states it. Values are 16-bit everywhere, their common default.

use super::layer::{Layers, Mixer};
use attendant_state::{Dtype, Growth, Plane, Storage};
use serde::Serialize;

/// What an engine allocates.
#[derive(Clone, Debug, Serialize)]
pub struct Allocation {
    /// The engine.
    pub engine: &'static str,
    /// Its rule.
    pub rule: &'static str,
    /// Where the rule stands.
    pub source: &'static str,
    /// Bytes at the model's own context.
    pub bytes: usize,
    /// The same as a multiple of the bytes that the planes declare.
    pub ratio: f64,
}

/// An engine's rule: bytes of one mechanism in one layer after so many tokens.
struct Engine {
    name: &'static str,
    rule: &'static str,
    source: &'static str,
    bytes: fn(&Mixer, usize) -> usize,
}

/// Cells of llama.cpp's caches are allocated in multiples of this.
const CELLS: usize = 256;
/// Tokens that llama.cpp computes at once.
const MICROBATCH: usize = 512;
/// Tokens of a page of vLLM.
const PAGE: usize = 16;
/// Tokens that vLLM computes at once.
const BATCHED: usize = 2048;
/// Bytes of a value.
const VALUE: usize = 2;

const ENGINES: [Engine; 5] = [
    Engine {
        name: "llama.cpp",
        rule: "contexts in steps of 256; windows and 512 more, in steps of 256",
        source: "llama.cpp src/llama-kv-cache-iswa.cpp",
        bytes: |mixer, tokens| {
            let tokens = tokens.next_multiple_of(CELLS);
            planes(mixer, tokens, |window| (window + MICROBATCH).min(tokens).next_multiple_of(CELLS))
        },
    },
    Engine {
        name: "llama.cpp --swa-full",
        rule: "windows are kept whole, so that any prefix can be continued",
        source: "llama.cpp src/llama-kv-cache-iswa.cpp",
        bytes: |mixer, tokens| {
            let tokens = tokens.next_multiple_of(CELLS);
            planes(mixer, tokens, |_| tokens)
        },
    },
    Engine {
        name: "vLLM",
        rule: "pages of 16 tokens; windows, 2,048 more and a page",
        source: "vLLM vllm/v1/kv_cache_interface.py",
        bytes: |mixer, tokens| {
            let pages = |tokens: usize| tokens.next_multiple_of(PAGE);
            planes(mixer, pages(tokens), |window| pages((window - 1 + BATCHED).min(tokens)) + PAGE)
        },
    },
    Engine {
        name: "transformers",
        rule: "rows as they come, the last window - 1 of windows",
        source: "transformers src/transformers/cache_utils.py",
        bytes: |mixer, tokens| planes(mixer, tokens, |window| (window - 1).min(tokens)),
    },
    Engine {
        name: "transformers 4",
        rule: "as above, but latents expanded to keys and values of every head",
        source: "transformers 4 models/deepseek_v3/modeling_deepseek_v3.py",
        bytes: |mixer, tokens| match expanded(mixer) {
            Some(width) => width * tokens * VALUE,
            None => planes(mixer, tokens, |window| (window - 1).min(tokens)),
        },
    },
];

/// What each of them allocates; rules that change nothing for these layers are left out.
pub fn all(layers: &Layers, tokens: usize) -> Vec<Allocation> {
    let storage = Storage::paged(1).dtype(Dtype::Bf16);
    let declared: usize = layers.counted().map(|(count, mixer)| count * mixer.layout.bytes(tokens, tokens, storage)).sum();
    let windows = layers.counted().any(|(_, mixer)| mixer.window().is_some());
    let latents = layers.counted().any(|(_, mixer)| expanded(mixer).is_some());
    let differs = |engine: &&Engine| match engine.name {
        "llama.cpp --swa-full" => windows,
        "transformers 4" => latents,
        _ => true,
    };
    let allocation = |engine: &Engine| {
        let bytes = layers.counted().map(|(count, mixer)| count * (engine.bytes)(mixer, tokens)).sum();
        let ratio = if declared == 0 { 1.0 } else { bytes as f64 / declared as f64 };
        Allocation { engine: engine.name, rule: engine.rule, source: engine.source, bytes, ratio }
    };
    ENGINES.iter().filter(differs).map(allocation).collect()
}

/// Bytes of the planes of a mechanism: `tokens` rows, or what `ring` makes of a window.
fn planes(mixer: &Mixer, tokens: usize, ring: impl Fn(usize) -> usize) -> usize {
    let rows = |plane: &Plane| match plane.growth {
        Growth::PerToken | Growth::PerSource => tokens,
        Growth::PerBlock { tokens: block } => tokens / block,
        Growth::Ring { window, keep } => ring(window + keep + 1),
        Growth::Constant => 0,
    };
    let growing: usize = mixer.layout.planes().iter().map(|plane| rows(plane) * plane.width * VALUE).sum();
    growing + mixer.layout.constant_bytes()
}

/// Values of the keys and values of all heads, where less is kept of a token than one key of each head.
fn expanded(mixer: &Mixer) -> Option<usize> {
    let (heads, d_qk, d_v) = (mixer.heads?, mixer.d_qk?, mixer.d_v?);
    let latent = mixer.kv_heads.is_none()
        && mixer.layout.planes().iter().any(|plane| plane.heads == 1 && plane.growth == Growth::PerToken);
    latent.then_some(heads * (d_qk + d_v))
}
