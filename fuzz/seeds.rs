//! Writes the files that fuzzing begins with: `seeds FOLDER` makes FOLDER/TARGET/NAME.

#[path = "../crates/formats/tests/readers/valid.rs"]
mod valid;

use std::path::PathBuf;
use std::{env, fs, io};
use valid::Reader;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or_else(|| io::Error::other("wanted a folder"))?);
    for file in valid::files() {
        let target = folder.join(match file.reader {
            Reader::SafeTensors => "safetensors",
            Reader::Index => "index",
            Reader::Gguf => "gguf",
            Reader::Config => "config",
            Reader::Generation => "generation",
        });
        fs::create_dir_all(&target)?;
        fs::write(target.join(file.name.replace(' ', "_")), file.bytes)?;
    }
    Ok(())
}
