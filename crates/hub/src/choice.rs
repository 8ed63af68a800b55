//! Which files of a repository a model needs.

use crate::error::{Error, Result};
use crate::name::Name;
use attendant_formats::gguf::Part;
use attendant_formats::weights::{INDEX, WHOLE};
use std::fmt;

pub(crate) const CONFIG: &str = "config.json";
/// What stands beside the weights of a folder, and is short.
const BESIDE: [&str; 10] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "modules.json",
    "sentence_bert_config.json",
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
    /// One file at this path, or the first of its parts.
    Gguf(String),
}

impl Choice {
    /// Chooses among the paths of a repository.
    pub(crate) fn of(name: &Name, paths: &[&str]) -> Result<Choice> {
        let begins = |path: &&str| part(path).is_none_or(|part| part.is_first());
        let ggufs = paths.iter().copied().filter(|path| path.to_ascii_lowercase().ends_with(".gguf"));
        let ggufs: Vec<&str> = ggufs.filter(begins).collect();
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

    /// The paths of all parts of a GGUF file; of a whole one its own.
    pub(crate) fn parts(file: &str) -> Vec<String> {
        let folder = file.rfind('/').map_or("", |end| &file[..=end]);
        part(file).map_or_else(|| vec![file.into()], |part| part.names().map(|name| format!("{folder}{name}")).collect())
    }

    /// The files beside the weights that are there.
    pub(crate) fn beside<'a>(paths: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let modules = paths.iter().copied().filter(|path| of_module(path));
        BESIDE.into_iter().filter(|name| paths.contains(name)).chain(modules)
    }
}

/// Whether a path is the configuration of what follows an encoder's layers: `1_Pooling/config.json`.
fn of_module(path: &str) -> bool {
    path.split_once('/').is_some_and(|(folder, file)| file == CONFIG && folder.starts_with(|c: char| c.is_ascii_digit()))
}

/// Which part of how many the file at a path is, if it is one.
fn part(path: &str) -> Option<Part> {
    Part::of(path.rsplit('/').next()?)
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
    fn a_file_in_parts_is_chosen_once_and_whole() {
        let parts = ["q8/x-Q8_0-00001-of-00002.gguf", "q8/x-Q8_0-00002-of-00002.gguf"];
        let all = [&parts[..], &["x-Q4_0.gguf"]].concat();
        assert_eq!(choice("a/b", &parts), Ok(Choice::Gguf(parts[0].into())));
        assert_eq!(choice("a/b:q8_0", &all), Ok(Choice::Gguf(parts[0].into())));
        assert_eq!(Choice::parts(parts[0]), parts);
        assert_eq!(Choice::parts("q/x-Q4_0.gguf"), ["q/x-Q4_0.gguf"]);
        let line = choice(&format!("a/b:{}", parts[1]), &all).unwrap_err();
        assert!(line.contains("got no such file, wanted one of q8/x-Q8_0-00001-of-00002.gguf, x-Q4_0.gguf"), "{line}");
    }

    #[test]
    fn what_follows_the_layers_of_an_encoder_comes_with_it() {
        let paths = ["1_Pooling/config.json", "2_Normalize/x.bin", "README.md", "modules.json", "onnx/config.json", CONFIG];
        assert_eq!(Choice::beside(&paths).collect::<Vec<_>>(), [CONFIG, "modules.json", "1_Pooling/config.json"]);
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
