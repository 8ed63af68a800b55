//! The sizes that every configuration has, under whatever name.

use super::keys::Keys;
use crate::plan::{Embedding, Head, Layer, Norm, Plan};
use attendant_core::{Result, error::require};
use attendant_mech::mechanisms::cross::Cross;
use attendant_mech::mechanisms::gqa::Gqa;

/// A number in a file alone must not exhaust memory.
pub(super) const MOST_LAYERS: usize = 10_000;

/// Sizes of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) vocab_size: usize,
    pub(super) d_model: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) d_head: usize,
    pub(super) d_ff: usize,
    pub(super) context: usize,
}

impl Sizes {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Sizes> {
        let d_model = keys.size("hidden_size|n_embd|n_embed|d_model")?;
        let heads = keys.size("num_attention_heads|n_head|num_heads|n_heads|encoder_attention_heads")?;
        require(heads > 0, "num_attention_heads", || "got 0, wanted at least 1".into())?;
        let d_head = match keys.size_if("head_dim|d_kv")? {
            Some(d_head) => d_head,
            None => {
                let divides = d_model.is_multiple_of(heads);
                require(divides, "num_attention_heads", || format!("got {heads}, wanted a divisor of the width {d_model}"))?;
                d_model / heads
            }
        };
        let layers = keys.size("num_hidden_layers|n_layer|num_layers|n_layers|encoder_layers")?;
        require(layers <= MOST_LAYERS, "num_hidden_layers", || format!("got {layers}, wanted up to {MOST_LAYERS}"))?;
        Ok(Sizes {
            vocab_size: keys.size("vocab_size")?,
            d_model,
            layers,
            heads,
            kv_heads: keys.size_or("num_key_value_heads|num_kv_heads|n_head_kv", heads)?,
            d_head,
            d_ff: keys.size_or("intermediate_size|n_inner|ffn_dim|ffn_hidden_size|d_ff", d_model.saturating_mul(4))?,
            context: keys.size_or("max_position_embeddings|n_positions|max_seq_len|seq_length", 2048)?,
        })
    }

    /// Attention of these heads, causal and with nothing else.
    pub(super) fn attention(&self) -> Gqa {
        Gqa::plain(self.d_model, self.heads, self.kv_heads, self.d_head)
    }

    /// Attention of these heads to a source.
    pub(super) fn cross(&self) -> Cross {
        let Sizes { d_model, heads, kv_heads, d_head, .. } = *self;
        Cross { d_model, heads, kv_heads, d_head, bias: false, out_bias: false, scale: None }
    }

    /// A plan of these layers, with nothing special around them.
    pub(super) fn plan(&self, norm: Norm, layers: Vec<Layer>, tied: bool) -> Plan {
        Plan {
            vocab_size: self.vocab_size,
            d_model: self.d_model,
            context: self.context,
            norm,
            embedding: Embedding::default(),
            layers,
            head: Head { tied, ..Head::default() },
            encoder: None,
        }
    }
}
