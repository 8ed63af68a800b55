//! Which files of a repository a model needs.

use crate::error::{Error, Result};
use crate::name::Name;
use std::fmt;

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const WHOLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// What stands beside the weights of a folder, and is short.
const BESIDE: [&str; 8] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
];
/// How many names a message lists.
const SHOWN: usize = 12;

/// The form in which a repository holds a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A folder with weights in one file.
    Whole,
    /// A folder with weights in the files that an index names.
    Shards,
    /// One file, at this path.
    Gguf(String),
}

impl Choice {
    /// Chooses among the paths of a repository.
    pub(crate) fn of(name: &Name, paths: &[&str]) -> Result<Choice> {
        let ggufs: Vec<&str> = paths.iter().copied().filter(|path| path.to_ascii_lowercase().ends_with(".gguf")).collect();
        let Some(wanted) = name.file() else {
            return match ggufs[..] {
                _ if paths.contains(&WHOLE) => Ok(Choice::Whole),
                _ if paths.contains(&INDEX) => Ok(Choice::Shards),
                [one] => Ok(Choice::Gguf(one.into())),
                [] => Err(nothing(name, paths)),
                _ => {
                    let why = format_args!("got {}, wanted one of them: {name}:FILE", Names(&ggufs));
                    Err(Error::refused(name, why))
                }
            };
        };
        if ggufs.contains(&wanted) {
            return Ok(Choice::Gguf(wanted.into()));
        }
        let part = wanted.to_ascii_lowercase();
        let with_part: Vec<&str> = ggufs.iter().copied().filter(|path| path.to_ascii_lowercase().contains(&part)).collect();
        match with_part[..] {
            [one] => Ok(Choice::Gguf(one.into())),
            [] if ggufs.is_empty() => Err(Error::refused(name, "got no GGUF files, wanted one")),
            [] => Err(Error::refused(name, format_args!("got no such file, wanted one of {}", Names(&ggufs)))),
            _ => Err(Error::refused(name, format_args!("got {}, wanted a name that one of them has", Names(&with_part)))),
        }
    }

    /// The files beside the weights that are there.
    pub(crate) fn beside<'a>(paths: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        BESIDE.into_iter().filter(|name| paths.contains(name))
    }
}

/// What a repository has that holds nothing that is read here.
fn nothing(name: &Name, paths: &[&str]) -> Error {
    let unsafe_ones = paths.iter().any(|path| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| path.ends_with(end)));
    let got = if unsafe_ones { "weights as Python objects, which can run code when they are read" } else { "none" };
    Error::refused(name, format_args!("got {got}, wanted {WHOLE}, {INDEX} or a .gguf file"))
}

/// Some of these names.
struct Names<'a>(&'a [&'a str]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(SHOWN)].join(", "))?;
        if self.0.len() > SHOWN { write!(f, " and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(name: &str, paths: &[&str]) -> Result<Choice, String> {
        Choice::of(&Name::parse(name).unwrap().unwrap(), paths).map_err(|why| why.to_string())
    }

    #[test]
    fn a_folder_comes_before_a_file_and_one_file_before_several() {
        assert_eq!(choice("a/b", &["model.safetensors", INDEX, "x.gguf"]), Ok(Choice::Whole));
        assert_eq!(choice("a/b", &[INDEX, "x.gguf"]), Ok(Choice::Shards));
        assert_eq!(choice("a/b", &["README.md", "q/x.GGUF"]), Ok(Choice::Gguf("q/x.GGUF".into())));
        assert_eq!(choice("a/b:x.gguf", &["model.safetensors", "x.gguf", "xx.gguf"]), Ok(Choice::Gguf("x.gguf".into())));
        assert_eq!(choice("a/b:q4_k_m", &["x-Q4_K_M.gguf", "x-Q8_0.gguf"]), Ok(Choice::Gguf("x-Q4_K_M.gguf".into())));
    }

    #[test]
    fn what_is_not_one_model_is_refused_with_what_there_is() {
        for (name, paths, want) in [
            ("a/b", &["x-Q4_0.gguf", "x-Q8_0.gguf"][..], "a/b: got x-Q4_0.gguf, x-Q8_0.gguf, wanted one of them: a/b:FILE"),
            ("a/b:x", &["x-Q4_0.gguf", "x-Q8_0.gguf"], "wanted a name that one of them has"),
            ("a/b:y", &["x-Q4_0.gguf"], "got no such file, wanted one of x-Q4_0.gguf"),
            ("a/b:y", &["model.safetensors"], "got no GGUF files, wanted one"),
            ("a/b", &["pytorch_model.bin"], "got weights as Python objects"),
            ("a/b", &[], "got none, wanted model.safetensors"),
        ] {
            let line = choice(name, paths).unwrap_err();
            assert!(line.contains(want), "{line}");
        }
        let many: Vec<String> = (0..40).map(|number| format!("{number}.gguf")).collect();
        let line = choice("a/b", &many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err();
        assert!(line.contains("11.gguf and 28 more"), "{line}");
    }
}
