//! Falcon (Almazrouei et al. 2023, 2311.16867): multi-query or grouped, side by side with the feed-forward part; Falcon-RW with
//! ALiBi, which it scales as it scales the dot products.

use super::keys::Keys;
use super::rotation::Rotation;
use super::sizes::Sizes;
use super::{Published, bloom, gpt_neox, mixer};
use crate::plan::{Dense, Form, Layer, Norm, Reads, Step};
use crate::source::{Names, Step as Take, rows};
use attendant_core::{Result, error::require};
use attendant_mech::mechanisms::gqa::Gqa;
use attendant_mech::rotary::Pairs;
use attendant_mech::{Bias, Pattern};

/// How queries, keys and values share their matrix.
enum Fused {
    /// The queries of a group, then its key and its value.
    Grouped,
    /// Query, key and value of each head.
    PerHead,
    /// All queries, then one key and one value.
    One,
}

pub(super) fn read(keys: &Keys<'_>) -> Result<Published> {
    let mut sizes = Sizes::read(keys)?;
    let (newer, one) = (keys.flag("new_decoder_architecture", false)?, keys.flag("multi_query", true)?);
    let fused = match (newer, one) {
        (true, _) => Fused::Grouped,
        (false, true) => Fused::One,
        (false, false) => Fused::PerHead,
    };
    match fused {
        Fused::Grouped => {
            let divides = sizes.kv_heads > 0 && sizes.heads.is_multiple_of(sizes.kv_heads);
            let why = || format!("got {}, wanted a divisor of the {} query heads", sizes.kv_heads, sizes.heads);
            require(divides, "num_kv_heads", why)?;
        }
        Fused::PerHead => sizes.kv_heads = sizes.heads,
        Fused::One => sizes.kv_heads = 1,
    }
    let bias = keys.flag("bias", false)?;
    let alibi = keys.flag("alibi", false)?;
    let pattern = Pattern { bias: alibi.then_some(Bias::ScaledAlibi), ..Pattern::default() };
    let rotary = Rotation::read(keys, sizes.context)?.rotary(sizes.d_head, Pairs::Halves)?;
    let gqa = Gqa { rotary: (!alibi).then_some(rotary), bias, out_bias: bias, pattern, ..sizes.attention() };
    let form = Form::Plain(keys.activation("activation", "gelu")?);
    let two = newer && keys.size_or("num_ln_in_parallel_attn", 2)? == 2;
    let reads = match newer || keys.flag("parallel_attn", true)? {
        false => Reads::Result,
        true if two => Reads::Beside,
        true => Reads::Same,
    };
    let feed_forward = Step::feed_forward(Dense { d_ff: sizes.d_ff, form, bias }).reads(reads);
    let layer = Layer::new([Step::mixer(mixer(&gqa, None)?), feed_forward]);
    let norm = Norm::layer(keys.number_or("layer_norm_epsilon", 1e-5)? as f32);
    let plan = sizes.plan(norm, vec![layer; sizes.layers], keys.flag("tie_word_embeddings", true)?);
    let names = names(&sizes, &fused);
    let names = match two {
        true => names.rename("input_layernorm", "ln_attn").rename("post_attention_layernorm", "ln_mlp"),
        false => names,
    };
    Ok(Published { plan, names })
}

fn names(sizes: &Sizes, fused: &Fused) -> Names {
    let (d, heads) = (sizes.d_head, sizes.heads);
    let [q, k, v] = match fused {
        Fused::PerHead => return gpt_neox::per_head(bloom::words(), "self_attention", sizes),
        Fused::One => [rows(0, heads * d), rows(heads * d, d), rows((heads + 1) * d, d)],
        Fused::Grouped => {
            let group = heads / sizes.kv_heads;
            [(0, group), (group, 1), (group + 1, 1)].map(|(first, count)| Take::Rows {
                groups: sizes.kv_heads,
                stride: (group + 2) * d,
                first: first * d,
                count: count * d,
            })
        }
    };
    let matrix = "self_attention.query_key_value";
    bloom::words()
        .take("self_attn.q_proj", matrix, [q])
        .take("self_attn.k_proj", matrix, [k])
        .take("self_attn.v_proj", matrix, [v])
        .rename("self_attn.o_proj", "self_attention.dense")
}
