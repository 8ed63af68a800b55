//! Trains the vocabulary of the built-in text and writes it: `cargo run --example train_vocabulary -- PATH`.

use attendant_lab::corpus::Corpus;
use attendant_lab::vocabulary::Vocabulary;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("wanted a path")?;
    Ok(Vocabulary::train_bpe(&Corpus::austen().train, Vocabulary::AUSTEN_SIZE)?.save(path.as_ref())?)
}
