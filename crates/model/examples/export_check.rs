//! Writes small random decoders in published layouts, with tokens and the logits computed here, for another implementation
//! to open and compare: `export_check FOLDER`. docs/checkpoints.md says how.

use attendant_core::{Processor, Random, Tape};
use attendant_mech::{Batch, Size, preset};
use attendant_model::{Decoder, Dense, Embedding, Head, Layer, LogitRows, Norm, Plan, checkpoint};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::Path;

const SEQUENCES: usize = 2;
const TOKENS: usize = 40;
const VOCAB: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("wanted one argument, the folder to write to")?;
    let size = Size { d_model: 48, heads: 4, d_head: 12 };
    let gqa = preset("gqa", size)?.configuration;
    let halves = preset("mla", size)?.configuration;
    let mut adjacent = halves.clone();
    adjacent["pairs"] = "adjacent".into();
    adjacent["r_q"] = 10.into();
    for (name, layer, tied) in [("gqa", gqa, true), ("mla", adjacent, false), ("mla_halves", halves, false)] {
        write(&Path::new(&folder).join(name), layer, tied)?;
    }
    Ok(())
}

fn write(folder: &Path, mixer: Value, tied: bool) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let plan = Plan {
        vocab_size: VOCAB,
        d_model: 48,
        context: 64,
        norm: Norm::rms(1e-3),
        embedding: Embedding::default(),
        layers: vec![Layer::pre(mixer, Dense::swiglu(80).into()); 3],
        head: Head { tied, ..Head::default() },
        encoder: None,
    };
    let decoder = Decoder::new(plan, 7)?;
    checkpoint::save(&decoder, folder)?;

    let mut random = Random::new(7, "tokens");
    let ids: Vec<u32> = (0..SEQUENCES * TOKENS).map(|_| random.below(VOCAB) as u32).collect();
    let mut tape = Tape::inference(Processor::all());
    let bound = decoder.bind(&mut tape);
    let logits = decoder.forward(&mut tape, &bound, &Batch::even(SEQUENCES, TOKENS), &ids, &mut [], LogitRows::All)?;
    let id_bytes: Vec<u8> = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let logit_bytes: Vec<u8> = tape.value(logits).iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let views = [
        ("ids", TensorView::new(Dtype::I64, vec![SEQUENCES, TOKENS], &id_bytes)?),
        ("logits", TensorView::new(Dtype::F32, vec![SEQUENCES, TOKENS, VOCAB], &logit_bytes)?),
    ];
    safetensors::serialize_to_file(views, None, &folder.join("check.safetensors"))?;
    Ok(())
}
